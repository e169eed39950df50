//! The cluster as its user sees it: start, `kubectl`, `helm`, wait, stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::control_plane::ControlPlane;
use crate::namespace::{self, STATE};

const POLL: Duration = Duration::from_millis(100);

/// What the cluster shall have.
#[derive(Clone, Debug, Default)]
pub struct Options {}

/// A running cluster.
pub struct Cluster {
    control_plane: ControlPlane,
    tools: PathBuf,
    state: PathBuf,
}

impl Cluster {
    /// Starts a cluster; needs [`crate::enter`] before. Ready (API server, controllers, nodes) when it returns.
    ///
    /// # Errors
    /// When a part does not become ready: which, why, and the end of its log.
    pub async fn start(_options: Options) -> Result<Self> {
        let tools = namespace::tools()?;
        let state = PathBuf::from(STATE);
        let _ = fs::remove_dir_all(state.join("etcd"));
        let control_plane = ControlPlane::start(&tools, &state).await?;
        Ok(Self {
            control_plane,
            tools,
            state,
        })
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.control_plane.client.clone()
    }

    /// The kubeconfig of that client.
    pub fn kubeconfig(&self) -> &Path {
        &self.control_plane.kubeconfig
    }

    /// The API server's audit log, one JSON object a line (`audit.k8s.io/v1`, level Metadata).
    pub fn audit_log(&self) -> &Path {
        &self.control_plane.audit
    }

    /// The folder of kubectl, helm and the other programs.
    pub fn tools(&self) -> &Path {
        &self.tools
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// With what it wrote to stderr, when it does not succeed.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.run("kubectl", args, "").await
    }

    /// `kubectl apply` of YAML or JSON text.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        self.run("kubectl", &["apply", "-f", "-"], manifest).await
    }

    /// Runs helm and returns what it printed.
    ///
    /// # Errors
    /// As [`Cluster::kubectl`].
    pub async fn helm(&self, args: &[&str]) -> Result<String> {
        self.run("helm", args, "").await
    }

    /// A command that finds the cluster and its tools, and writes its own files (helm's and kubectl's caches) to the state folder.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(self.tools.clone()).chain(std::env::split_paths(&path)));
        command.env("PATH", path.unwrap_or_default());
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", self.state.join("kubectl"));
        for kind in ["CACHE", "CONFIG", "DATA"] {
            command.env(
                format!("HELM_{kind}_HOME"),
                self.state.join("helm").join(kind.to_lowercase()),
            );
        }
        command.kill_on_drop(true);
        command
    }

    async fn run(&self, tool: &str, args: &[&str], input: &str) -> Result<String> {
        let program = self.tools.join(tool);
        let mut child = self
            .command(&program.to_string_lossy())
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {tool}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!(
                "{tool} {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks until the answer is `Some`.
    ///
    /// # Errors
    /// When `patience` is over, with the last error if there was one, or at once when a part of the control plane ended.
    pub async fn wait_for<T>(
        &self,
        what: &str,
        patience: Duration,
        ask: impl AsyncFn() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match ask().await {
                Ok(Some(answer)) => return Ok(answer),
                outcome if tokio::time::Instant::now() > deadline => {
                    let error = outcome.err().unwrap_or_else(|| anyhow::anyhow!("it is not so yet"));
                    return Err(error.context(format!("waited {patience:?} for {what}")));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Stops everything and forgets all state.
    pub async fn stop(self) {
        self.control_plane.stop().await;
    }
}
