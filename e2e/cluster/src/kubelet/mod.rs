//! A small kubelet: runs the pods bound to a real node as processes.
//!
//! ```text
//!   watch of the node's pods ──► one worker per pod ──► one runner per container ──► process
//!                                     │  status              │  state, probes
//!   Lease, renewed                    ▼                      ▼
//!                                 API server ◄───────────────┘
//! ```
//! What a process in a user namespace cannot be is left out: there is one user id, so `runAsUser` and `runAsNonRoot` do nothing;
//! `readOnlyRootFilesystem` makes the container's own root (`/`, `/tmp`, `/run`) read-only, but not the machine's folders bound
//! into it; resource limits and `dnsPolicy` are not enforced. Host networking, sidecars, HTTPS and gRPC probes and volumes other
//! than ConfigMap, Secret, projected, downward API, emptyDir and hostPath are refused: the pod fails and says why.

mod container;
mod environment;
mod launch;
mod pod;
mod probe;
mod server;
mod status;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

pub(crate) use server::PORT;

use crate::image::Image;
use crate::node::{NodeSpec, Player};

/// How often a node's lease is renewed, and how long it lasts (a kubelet's own values).
const HEARTBEAT: Duration = Duration::from_secs(10);
const LEASE_SECONDS: u32 = 40;

/// What all pods of a node share.
struct Host {
    client: Client,
    node: NodeSpec,
    images: BTreeMap<String, Image>,
    state: PathBuf,
    addresses: Pool,
}

/// Runs `node` until dropped: its processes end with it.
pub(crate) async fn run(client: Client, node: NodeSpec, images: BTreeMap<String, Image>, state: PathBuf) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    nodes
        .create(&PostParams::default(), &node.object(Player::Kubelet)?)
        .await?;
    let addresses = Pool::new(node.pod_cidr);
    let host = Arc::new(Host {
        client,
        node,
        images,
        state,
        addresses,
    });
    tokio::try_join!(
        heartbeat(&host),
        pods(&host),
        server::serve(host.node.address, &host.state)
    )?;
    Ok(())
}

async fn heartbeat(host: &Host) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(host.client.clone(), "kube-node-lease");
    let name = &host.node.name;
    loop {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()}});
        // A renewal that fails is made up for by the next one.
        let renewed = leases
            .patch(
                name,
                &PatchParams::apply("albacore-cluster").force(),
                &Patch::Apply(lease),
            )
            .await;
        sleep(if renewed.is_ok() {
            HEARTBEAT
        } else {
            Duration::from_secs(1)
        })
        .await;
    }
}

/// Keeps one worker per pod of the node.
async fn pods(host: &Arc<Host>) -> Result<()> {
    let watched = watcher::Config::default().fields(&format!("spec.nodeName={}", host.node.name));
    let events = kube::runtime::watcher(Api::<Pod>::all(host.client.clone()), watched).default_backoff();
    tokio::pin!(events);
    let mut known: BTreeMap<String, watch::Sender<Option<Arc<Pod>>>> = BTreeMap::new();
    let mut listed = BTreeSet::new();
    let mut workers = JoinSet::new();
    loop {
        // An error ends nothing: the watch begins again by itself.
        let Ok(Some(event)) = events.try_next().await else {
            continue;
        };
        while workers.try_join_next().is_some() {}
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) | Event::Apply(pod) => {
                let uid = pod.uid().unwrap_or_default();
                listed.insert(uid.clone());
                let pod = Arc::new(pod);
                if let Some(worker) = known.get(&uid) {
                    worker.send_replace(Some(pod));
                } else {
                    let (news, updates) = watch::channel(Some(pod.clone()));
                    workers.spawn(pod::run(host.clone(), pod, updates));
                    known.insert(uid, news);
                }
            }
            Event::Delete(pod) => {
                if let Some(worker) = known.remove(&pod.uid().unwrap_or_default()) {
                    worker.send_replace(None);
                }
            }
            Event::InitDone => known.retain(|uid, worker| {
                let there = listed.contains(uid);
                if !there {
                    worker.send_replace(None);
                }
                there
            }),
        }
    }
}

/// A node's free pod addresses; one given back is used again last.
struct Pool {
    free: Mutex<VecDeque<Ipv4Addr>>,
}

impl Pool {
    fn new(range: Ipv4Net) -> Self {
        Self {
            free: Mutex::new(range.hosts().collect()),
        }
    }

    fn take(&self) -> Option<Ipv4Addr> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn give_back(&self, address: Ipv4Addr) {
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(address);
    }
}

/// The folder of a pod's logs, one file a container.
pub(crate) fn logs(state: &Path, namespace: &str, pod: &str) -> PathBuf {
    state.join("log/pods").join(format!("{namespace}_{pod}"))
}

/// This moment as Kubernetes writes it.
pub(crate) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[test]
fn an_address_given_back_is_the_last_to_be_used_again() {
    let pool = Pool::new(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 10, 64), 30));
    let first = pool.take().unwrap();
    assert_eq!(first, Ipv4Addr::new(10, 0, 10, 65));
    pool.give_back(first);
    assert_eq!(pool.take(), Some(Ipv4Addr::new(10, 0, 10, 66)));
    assert_eq!(pool.take(), Some(first));
    assert_eq!(pool.take(), None);
}
