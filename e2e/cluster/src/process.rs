//! A program of the control plane: started with its log in a file, stopped by pid.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How long a program may take to stop before it is killed: all its state is in memory anyway.
const GRACE: Duration = Duration::from_secs(5);

/// A running program.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program`, its output in `<logs>/<name>.log`. It is killed when dropped, and a Ctrl-C in the terminal does
    /// not reach it: stopping is ours to order.
    pub fn start(name: &str, logs: &Path, command: &mut Command) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// An error with the end of the log when the program has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("{} ended ({status}):\n{}", self.name, tail(&self.log))),
        }
    }

    /// `error` with the end of this program's log.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(format!("the end of {}'s log:\n{}", self.name, tail(&self.log)))
    }

    /// SIGTERM, and SIGKILL after [`GRACE`].
    pub async fn stop(mut self) {
        let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid as i32)) else {
            return;
        };
        let _ = kill_process(pid, Signal::TERM);
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
