//! One pod's life: address, volumes, init containers, containers, and an end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::Host;
use super::container::{Phase, Restart, Runner, State};
use super::environment::Addresses;
use super::launch;
use super::probe::Target;
use super::status::Status;
use super::volumes::Volumes;
use crate::sandbox::Sandbox;

/// How long until something that was missing is looked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often volumes are compared with the ConfigMaps, Secrets and tokens behind them.
const REFRESH: Duration = Duration::from_secs(20);

/// What the watch says about a pod.
pub(super) type Updates = watch::Receiver<Option<Arc<Pod>>>;

/// A container under way: what it is, what it does, and the task that runs it.
struct Member {
    spec: Spec,
    state: watch::Receiver<State>,
    task: Option<AbortOnDropHandle<()>>,
}

struct Worker {
    host: Arc<Host>,
    pod: Arc<Pod>,
    updates: Updates,
    status: Status,
    init: Vec<Member>,
    members: Vec<Member>,
    /// Tells containers the grace period.
    stop: watch::Sender<Option<Duration>>,
    /// A container's state changed.
    changed: Arc<Notify>,
}

/// Runs `pod` from its arrival on the node until its object is gone.
pub(super) async fn run(host: Arc<Host>, pod: Arc<Pod>, updates: Updates) {
    let address = match launch::unsupported(&pod) {
        Some(what) => Err(anyhow!("{what} is not supported by albacore-cluster")),
        None => host.addresses.take().context("the node has no address left"),
    };
    let (stop, _) = watch::channel(None);
    let status = Status::new(host.node.address, address.as_ref().ok().copied());
    let mut worker = Worker {
        pod,
        updates,
        status,
        init: Vec::new(),
        members: Vec::new(),
        stop,
        changed: Arc::new(Notify::new()),
        host: host.clone(),
    };
    match address {
        Err(error) => worker.refuse(&error).await,
        Ok(pod) => {
            let folder = host.state.join("pods").join(worker.pod.uid().unwrap_or_default());
            let addresses = Addresses {
                node: host.node.address,
                pod,
            };
            let object = Pod::clone(&worker.pod);
            let mut volumes = Volumes::new(host.client.clone(), object, addresses, folder.join("volumes"));
            match Sandbox::start(pod).await {
                Err(error) => worker.refuse(&error).await,
                Ok(sandbox) => {
                    let sandbox = Arc::new(sandbox);
                    worker.live(&mut volumes, &sandbox, &folder, addresses).await;
                    worker.end().await;
                    drop((worker.init, worker.members));
                    if let Some(sandbox) = Arc::into_inner(sandbox) {
                        sandbox.stop().await;
                    }
                }
            }
            volumes.remove();
            let _ = fs::remove_dir_all(&folder);
            host.addresses.give_back(pod);
        }
    }
}

impl Worker {
    /// Brings the pod up and keeps it, until it is to end.
    async fn live(&mut self, volumes: &mut Volumes, sandbox: &Arc<Sandbox>, folder: &Path, addresses: Addresses) {
        self.report().await;
        while let Err(error) = volumes.write().await {
            self.status.waiting = format!("{error:#}");
            if self.pause(AGAIN).await {
                return;
            }
        }
        self.status.waiting.clear();
        let spec = self.pod.spec.clone().unwrap_or_default();
        for container in spec.init_containers.into_iter().flatten() {
            let restart = if spec.restart_policy.as_deref() == Some("Never") {
                Restart::Never
            } else {
                Restart::OnFailure
            };
            let Some(member) = self
                .begin(container, restart, volumes, sandbox, folder, addresses)
                .await
            else {
                return;
            };
            self.init.push(member);
            loop {
                match self.init.last().and_then(|member| member.state.borrow().over()) {
                    Some(0) => break,
                    // The pod failed; only its deletion is left to wait for.
                    Some(_) => {
                        while !self.pause(REFRESH).await {}
                        return;
                    }
                    None if self.pause(REFRESH).await => return,
                    None => {}
                }
            }
        }
        self.status.initialized = true;
        let restart = match spec.restart_policy.as_deref() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        for container in spec.containers {
            let Some(member) = self
                .begin(container, restart, volumes, sandbox, folder, addresses)
                .await
            else {
                return;
            };
            self.members.push(member);
        }
        let mut refresh = Instant::now() + REFRESH;
        loop {
            self.report().await;
            if self.pause(refresh.saturating_duration_since(Instant::now())).await {
                return;
            }
            if Instant::now() >= refresh {
                refresh = Instant::now() + REFRESH;
                // What is missing for a moment keeps its old content.
                let _ = volumes.write().await;
            }
        }
    }

    /// Starts a container, as soon as all it needs is there; `None` when the pod is to end before.
    async fn begin(
        &mut self,
        spec: Spec,
        restart: Restart,
        volumes: &Volumes,
        sandbox: &Arc<Sandbox>,
        folder: &Path,
        addresses: Addresses,
    ) -> Option<Member> {
        loop {
            match launch::container(&self.host, &self.pod, &spec, volumes, folder, addresses).await {
                Ok((launch, log)) => {
                    self.status.waiting.clear();
                    let (state, seen) = watch::channel(State::default());
                    let runner = Runner {
                        launch,
                        file: folder.join(format!("{}.json", spec.name)),
                        log,
                        restart,
                        sandbox: sandbox.clone(),
                        target: Target {
                            node: addresses.node,
                            pod: addresses.pod,
                            process: 0,
                            container: spec.clone(),
                        },
                        state,
                        stop: self.stop.subscribe(),
                        spec: spec.clone(),
                    };
                    let (changed, mut states) = (self.changed.clone(), seen.clone());
                    let task = tokio::spawn(async move {
                        let tell = async {
                            while states.changed().await.is_ok() {
                                changed.notify_one();
                            }
                            std::future::pending::<()>().await;
                        };
                        tokio::select! {
                            () = runner.run() => {}
                            () = tell => {}
                        }
                        changed.notify_one();
                    });
                    return Some(Member {
                        spec,
                        state: seen,
                        task: Some(AbortOnDropHandle::new(task)),
                    });
                }
                Err(error) => {
                    self.status.waiting = format!("{error:#}");
                    if self.pause(AGAIN).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for news of the pod or its containers, at most for `time`, reports them, and says whether the pod is to end.
    async fn pause(&mut self, time: Duration) -> bool {
        self.report().await;
        tokio::select! {
            () = sleep(time) => {}
            () = self.changed.notified() => {}
            _ = self.updates.changed() => {}
        }
        self.leaving()
    }

    /// Takes in what the watch says; true when the pod is to end.
    fn leaving(&mut self) -> bool {
        match self.updates.borrow_and_update().clone() {
            None => true,
            Some(pod) => {
                self.pod = pod;
                self.pod.metadata.deletion_timestamp.is_some()
            }
        }
    }

    /// Ends all containers, reporting to the last, and gives the object free.
    async fn end(&mut self) {
        let spec = self.pod.spec.as_ref();
        let seconds = self
            .pod
            .metadata
            .deletion_grace_period_seconds
            .or(spec.and_then(|spec| spec.termination_grace_period_seconds));
        let grace = Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30));
        let _ = self.stop.send(Some(grace));
        let tasks: Vec<_> = self
            .init
            .iter_mut()
            .chain(&mut self.members)
            .filter_map(|member| member.task.take())
            .collect();
        let ended = join_all(tasks);
        tokio::pin!(ended);
        loop {
            self.report().await;
            tokio::select! {
                _ = &mut ended => break,
                () = self.changed.notified() => {}
                changed = self.updates.changed() => {
                    // Without the watch's word nothing more can be learned; the containers are ending anyway.
                    if changed.is_err() {
                        ended.as_mut().await;
                        break;
                    }
                    self.leaving();
                }
            }
        }
        self.report().await;
        self.release().await;
    }

    /// A pod that cannot be run: failed, with the reason, until it is deleted.
    async fn refuse(&mut self, error: &anyhow::Error) {
        self.status.refused = Some(format!("{error:#}"));
        while !self.pause(REFRESH).await {}
        self.release().await;
    }

    /// The kubelet's last word: the object goes, provided that it is still the same pod.
    async fn release(&self) {
        let mut gone = DeleteParams::default().grace_period(0);
        gone.preconditions = Some(Preconditions {
            uid: self.pod.uid(),
            resource_version: None,
        });
        while let Err(error) = self.pods().delete(&self.pod.name_any(), &gone).await {
            match error {
                kube::Error::Api(status) if [404, 409].contains(&status.code) => return,
                _ => sleep(AGAIN).await,
            }
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.host.client.clone(), &self.pod.namespace().unwrap_or_default())
    }

    /// Writes the status, if it changed.
    async fn report(&mut self) {
        let states = |members: &[Member]| -> BTreeMap<String, State> {
            members
                .iter()
                .map(|member| (member.spec.name.clone(), member.state.borrow().clone()))
                .collect()
        };
        let (init, members) = (states(&self.init), states(&self.members));
        let Some(status) = self.status.next(&self.pod, &init, &members) else {
            return;
        };
        let patch: Value = json!({"metadata": {"uid": self.pod.uid()}, "status": status});
        let written = self
            .pods()
            .patch_status(&self.pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        if let Err(kube::Error::Api(status)) = &written
            && [404, 409].contains(&status.code)
        {
            return;
        }
        if written.is_err() {
            self.status.forget();
            self.changed.notify_one();
            sleep(AGAIN).await;
        }
    }
}

/// Whether a container that has not begun is waited for, for which reason.
pub(super) fn waiting(message: &str) -> State {
    let reason = if message.starts_with("no executable is known") {
        "ErrImagePull"
    } else {
        "ContainerCreating"
    };
    State {
        now: Phase::Waiting {
            reason,
            message: message.to_owned(),
        },
        ..State::default()
    }
}
