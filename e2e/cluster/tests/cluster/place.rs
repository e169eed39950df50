//! A Kubernetes namespace of a fact's own, and what is asked of pods in it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use albacore_cluster::{Cluster, DEMO_IMAGE};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Generous: others may be building on the same two cores.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// An address of nobody's, to be recognised as a source.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);

/// A namespace with its pods.
pub struct Place<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    /// Its pods.
    pub pods: Api<Pod>,
}

impl<'a> Place<'a> {
    pub async fn new(cluster: &'a Cluster, name: &'a str) -> Result<Self> {
        cluster.kubectl(&["create", "namespace", name]).await?;
        Ok(Self {
            cluster,
            name,
            pods: Api::namespaced(cluster.client(), name),
        })
    }

    pub async fn apply(&self, mut object: serde_json::Value) -> Result<()> {
        object["metadata"]["namespace"] = json!(self.name);
        self.cluster.apply(&object.to_string()).await.map(|_| ())
    }

    /// Applies a pod of one container `c`; `container` and `spec` are merged over the defaults.
    pub async fn pod(&self, name: &str, container: serde_json::Value, spec: serde_json::Value) -> Result<()> {
        let mut whole = json!({"name": "c", "image": DEMO_IMAGE});
        whole
            .as_object_mut()
            .context("an object")?
            .extend(container.as_object().cloned().unwrap_or_default());
        let mut pod = json!({"containers": [whole], "terminationGracePeriodSeconds": 5});
        pod.as_object_mut()
            .context("an object")?
            .extend(spec.as_object().cloned().unwrap_or_default());
        self.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": pod})).await
    }

    /// Waits until `fact` holds of the pod.
    pub async fn until(&self, name: &str, what: &str, fact: impl Fn(&Pod) -> bool) -> Result<Pod> {
        let what = format!("{}/{name}: {what}", self.name);
        let seen = self.cluster.wait_for(&what, PATIENCE, async || {
            let pod = self.pods.get(name).await?;
            ensure!(fact(&pod), "it is {}", serde_json::to_string(&pod.status)?);
            Ok(Some(pod))
        });
        seen.await.with_context(|| format!("its log: {}", self.log(name)))
    }

    pub fn log(&self, name: &str) -> String {
        self.cluster.pod_log(self.name, name).unwrap_or_default()
    }
}

pub fn is(pod: &Pod, condition: &str, status: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|found| found.type_ == condition && found.status == status)
}

pub fn ready(pod: &Pod) -> bool {
    is(pod, "Ready", "True")
}

pub fn restarts_of(pod: &Pod) -> i32 {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .map(|status| status.restart_count)
        .sum()
}

pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

pub fn address(pod: &Pod) -> Result<Ipv4Addr> {
    let address = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref())
        .context("a pod without an address")?;
    Ok(address.parse()?)
}

/// A GET from `source`; the answer with its head.
pub async fn get(source: Ipv4Addr, target: SocketAddrV4, path: &str) -> Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(source, 0).into())?;
    let mut stream = tokio::time::timeout(Duration::from_secs(5), socket.connect(target.into()))
        .await
        .context("no connection")??;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .context("no answer")??;
    Ok(answer)
}

pub fn probe(path: &str) -> serde_json::Value {
    json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 1})
}
