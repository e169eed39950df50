//! One container's life: started, probed, stopped, started again.
//!
//! ```text
//!   Waiting ─start─► Running ─exit, or liveness failed─► Terminated ─restartPolicy─► Waiting (CrashLoopBackOff) ─► …
//!                       └── stop: preStop, SIGTERM, grace period, SIGKILL ──► Terminated, for good
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container as Spec, Probe};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::probe::{self, Target};
use crate::sandbox::{self, Sandbox};

/// The first pause before a restart; it doubles up to [`LONGEST_PAUSE`]. A kubelet begins with 10 s and ends with 5 min: too slow for tests.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A container that ran this long starts afresh with the first pause (a kubelet waits for 10 min).
const FORGIVEN: Duration = Duration::from_secs(60);

/// What a container is doing, as its status tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub now: Phase,
    pub last: Option<Ended>,
    pub restarts: u32,
    pub ready: bool,
    pub started: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Waiting {
        reason: &'static str,
        message: String,
    },
    Running {
        since: String,
    },
    /// Ended; `for_good` when it will not be started again.
    Terminated {
        ended: Ended,
        for_good: bool,
    },
}

impl Default for Phase {
    fn default() -> Self {
        Self::Waiting {
            reason: "ContainerCreating",
            message: String::new(),
        }
    }
}

/// How a container's process ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub code: i32,
    reason: &'static str,
    message: String,
    from: String,
    to: String,
}

impl Ended {
    fn json(&self) -> Value {
        json!({"terminated": {
            "exitCode": self.code, "reason": self.reason, "message": self.message, "startedAt": self.from, "finishedAt": self.to}})
    }
}

impl State {
    /// The container's entry in the pod's status.
    pub fn json(&self, spec: &Spec) -> Value {
        let now = match &self.now {
            Phase::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            Phase::Running { since } => json!({"running": {"startedAt": since}}),
            Phase::Terminated { ended, .. } => ended.json(),
        };
        json!({
            "name": spec.name, "image": spec.image, "imageID": "", "ready": self.ready, "started": self.started,
            "restartCount": self.restarts, "state": now, "lastState": self.last.as_ref().map_or_else(|| json!({}), Ended::json)})
    }

    /// The exit code, when the container ended for good.
    pub fn over(&self) -> Option<i32> {
        match &self.now {
            Phase::Terminated { ended, for_good: true } => Some(ended.code),
            _ => None,
        }
    }
}

/// When to start a container again.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// A container ready to be run.
pub(super) struct Runner {
    pub spec: Spec,
    pub launch: sandbox::Container,
    pub file: PathBuf,
    pub log: PathBuf,
    pub restart: Restart,
    pub sandbox: Arc<Sandbox>,
    /// `process` is set anew at each start.
    pub target: Target,
    pub state: watch::Sender<State>,
    /// The grace period, once the pod is to end.
    pub stop: watch::Receiver<Option<Duration>>,
}

impl Runner {
    /// Runs the container until it ends for good.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let since = tokio::time::Instant::now();
            let ended = match self.once().await {
                Ok(ended) => ended,
                Err(error) => {
                    let now = super::now();
                    Ended {
                        code: 128,
                        reason: "StartError",
                        message: format!("{error:#}"),
                        from: now.clone(),
                        to: now,
                    }
                }
            };
            let again = match self.restart {
                Restart::Always => true,
                Restart::OnFailure => ended.code != 0,
                Restart::Never => false,
            };
            let again = again && self.stop.borrow().is_none();
            self.state.send_modify(|state| {
                state.ready = false;
                state.started = false;
                state.now = Phase::Terminated {
                    ended: ended.clone(),
                    for_good: !again,
                };
            });
            if !again {
                return;
            }
            if since.elapsed() > FORGIVEN {
                pause = FIRST_PAUSE;
            }
            self.state.send_modify(|state| {
                state.last = Some(ended);
                let message = format!("back-off {pause:?} restarting failed container");
                state.now = Phase::Waiting {
                    reason: "CrashLoopBackOff",
                    message,
                };
            });
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.stop.wait_for(Option::is_some) => {
                    self.state.send_modify(|state| {
                        if let Some(ended) = state.last.clone() {
                            state.now = Phase::Terminated { ended, for_good: true };
                        }
                    });
                    return;
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.state.send_modify(|state| state.restarts += 1);
        }
    }

    async fn once(&mut self) -> Result<Ended> {
        let from = super::now();
        let mut child = self.spawn()?;
        self.target.process = child.id().context("the container ended at once")?;
        self.state
            .send_modify(|state| state.now = Phase::Running { since: from.clone() });
        let _group = Group(self.target.process);
        let mut message = String::new();
        let outcome = {
            let probes = self.probes();
            let mut stop = self.stop.clone();
            tokio::select! {
                status = child.wait() => Some(status?),
                reason = probes => {
                    message = format!("{reason:#}");
                    None
                }
                _ = stop.wait_for(Option::is_some) => None,
            }
        };
        let status = match outcome {
            Some(status) => status,
            None => self.end(&mut child).await?,
        };
        let code = code(status);
        let reason = if code == 0 { "Completed" } else { "Error" };
        Ok(Ended {
            code,
            reason,
            message,
            from,
            to: super::now(),
        })
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command: Command = self.sandbox.command(&self.launch, &self.file)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().context("cannot start nsenter")
    }

    /// Startup, then liveness and readiness; returns why the container must be ended.
    async fn probes(&self) -> anyhow::Error {
        if let Some(startup) = &self.spec.startup_probe
            && let Err(error) = probe::started(startup, &self.target).await
        {
            return error.context("startup probe failed");
        }
        self.state.send_modify(|state| {
            state.started = true;
            state.ready = self.spec.readiness_probe.is_none();
        });
        let alive = async {
            match &self.spec.liveness_probe {
                Some(liveness) => probe::until_failed(liveness, &self.target)
                    .await
                    .context("liveness probe failed"),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = alive => error,
            () = self.readiness() => anyhow::anyhow!("readiness is watched for as long as the container runs"),
        }
    }

    async fn readiness(&self) {
        match &self.spec.readiness_probe {
            Some(probe) => {
                let up = self.state.borrow().ready;
                probe::readiness(probe, &self.target, up, |ready| {
                    self.state.send_modify(|state| state.ready = ready)
                })
                .await;
            }
            None => std::future::pending().await,
        }
    }

    /// preStop, SIGTERM, and SIGKILL when the grace period is over; readiness is watched to the end.
    async fn end(&self, child: &mut Child) -> Result<ExitStatus> {
        let grace = self.stop.borrow().unwrap_or_else(|| grace(&self.spec.liveness_probe));
        let gently = async {
            self.pre_stop().await;
            if let Some(pid) = Pid::from_raw(self.target.process as i32) {
                let _ = kill_process(pid, Signal::TERM);
            }
            child.wait().await
        };
        let ended = tokio::select! {
            ended = timeout(grace, gently) => ended,
            () = self.readiness() => Ok(Err(std::io::Error::other("readiness is watched for as long as the container runs"))),
        };
        match ended {
            Ok(status) => Ok(status?),
            Err(_) => {
                child.start_kill()?;
                Ok(child.wait().await?)
            }
        }
    }

    async fn pre_stop(&self) {
        let Some(hook) = self
            .spec
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        else {
            return;
        };
        // A hook that fails does not keep the container from being ended.
        if let Some(pause) = &hook.sleep {
            sleep(Duration::from_secs(u64::try_from(pause.seconds).unwrap_or_default())).await;
        } else if let Some(action) = &hook.exec {
            let _ = probe::exec(action, &self.target).await;
        } else if let Some(get) = &hook.http_get {
            let _ = probe::http_get(get, &self.target).await;
        }
    }
}

/// The processes of a container. When it goes, also because the node does, none is left to hold its ports.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.0 as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// A shell's convention, and a kubelet's: 128 and the signal.
fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn grace(probe: &Option<Probe>) -> Duration {
    let own = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
    Duration::from_secs(own.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30))
}
