//! The cluster as its user sees it: start, `kubectl`, `helm`, wait, stop.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::control_plane::ControlPlane;
use crate::image::{DEMO_IMAGE, Image};
use crate::namespace::{self, STATE};
use crate::node::{NodeSpec, Player};
use crate::{kubelet, kwok, node_port};

const POLL: Duration = Duration::from_millis(100);

/// Name of the script, in the state folder, that all commands go through.
const DOOR: &str = "enter";

/// How long the nodes may take to become ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the cluster shall have.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes that run pods as processes.
    pub nodes: Vec<NodeSpec>,
    /// Nodes that kwok plays. Where there are real ones too, give them a taint or use node selectors (`kwok.x-k8s.io/node: fake`).
    pub fake_nodes: Vec<NodeSpec>,
    /// Which image, by full name or by name without tag, means which executable. [`crate::DEMO_IMAGE`] is always there.
    pub images: BTreeMap<String, Image>,
}

impl Default for Options {
    /// [`NodeSpec::three`] real nodes that know the demo image.
    fn default() -> Self {
        Self {
            nodes: NodeSpec::three(),
            fake_nodes: Vec::new(),
            images: BTreeMap::new(),
        }
    }
}

/// A running cluster.
pub struct Cluster {
    control_plane: ControlPlane,
    tools: PathBuf,
    state: PathBuf,
    /// The nodes and their ports; they end when this is dropped.
    parts: JoinSet<Result<()>>,
}

impl Cluster {
    /// Starts a cluster; needs [`crate::enter`] before. Ready (API server, controllers, nodes) when it returns.
    ///
    /// # Errors
    /// When a part does not become ready: which, why, and the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let tools = namespace::tools()?;
        let state = PathBuf::from(STATE);
        let mut images = BTreeMap::from([(DEMO_IMAGE.to_owned(), Image::demo()?)]);
        images.extend(options.images);
        // An earlier cluster of this process may have left its data.
        for folder in ["etcd", "pods"] {
            let _ = fs::remove_dir_all(state.join(folder));
        }
        let mut control_plane = ControlPlane::start(&tools, &state).await?;
        control_plane.attend(kwok::start(&tools, &state, &control_plane.kubeconfig)?);
        let mut parts = JoinSet::new();
        for node in &options.nodes {
            parts.spawn(kubelet::run(
                control_plane.client.clone(),
                node.clone(),
                images.clone(),
                state.clone(),
            ));
        }
        parts.spawn(node_port::run(control_plane.client.clone(), options.nodes.clone()));
        let mut cluster = Self {
            control_plane,
            tools,
            state,
            parts,
        };
        cluster.make_door()?;
        cluster.add_fake_nodes(&options.fake_nodes).await?;
        let count = options.nodes.len() + options.fake_nodes.len();
        let nodes: Api<Node> = Api::all(cluster.client());
        let ready = cluster.wait_for("the nodes to be ready", PATIENCE, async || {
            let ready = nodes
                .list(&ListParams::default())
                .await?
                .items
                .iter()
                .filter(|node| is_ready(node))
                .count();
            Ok((ready >= count).then_some(()))
        });
        if let Err(error) = ready.await {
            let reason = cluster.parts.try_join_next().and_then(|ended| ended.ok()?.err());
            return Err(reason.unwrap_or(error));
        }
        Ok(cluster)
    }

    /// Adds nodes that kwok plays.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn add_fake_nodes(&self, nodes: &[NodeSpec]) -> Result<()> {
        let api: Api<Node> = Api::all(self.client());
        for node in nodes {
            api.create(&PostParams::default(), &node.object(Player::Kwok)?).await?;
        }
        Ok(())
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.control_plane.client.clone()
    }

    /// Forgets every revision before this one (a `resourceVersion`), so that whoever goes on from there is told that it has expired.
    ///
    /// # Errors
    /// When etcd refuses.
    pub async fn forget(&self, revision: &str) -> Result<()> {
        let forgotten = self.control_plane.forget(revision).await;
        forgotten.with_context(|| format!("etcd does not forget what was before {revision}"))
    }

    /// The kubeconfig of that client.
    pub fn kubeconfig(&self) -> &Path {
        &self.control_plane.kubeconfig
    }

    /// The API server's audit log, one JSON object a line (`audit.k8s.io/v1`, level Metadata).
    pub fn audit_log(&self) -> &Path {
        &self.control_plane.audit
    }

    /// The command that enters the cluster's namespaces from another shell of this machine: a shell, or the command added to it,
    /// with kubectl and helm at hand.
    pub fn entrance(&self) -> String {
        let pid = namespace::entrance().map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
        let door = self.state.join(DOOR);
        format!(
            "nsenter --target {pid} --user --net --mount --pid --preserve-credentials {}",
            door.display()
        )
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
        let mut command = Command::new(self.state.join(DOOR));
        command.arg(program).kill_on_drop(true);
        command
    }

    /// A script that runs a command, or a shell, as a user of this cluster.
    fn make_door(&self) -> Result<()> {
        let state = self.state.display();
        let script = format!(
            "#!/bin/sh\n\
             export KUBECONFIG={} KUBECACHEDIR={state}/kubectl PATH={}:$PATH\n\
             export HELM_CACHE_HOME={state}/helm HELM_CONFIG_HOME={state}/helm HELM_DATA_HOME={state}/helm\n\
             exec \"${{@:-sh}}\"\n",
            self.kubeconfig().display(),
            self.tools.display(),
        );
        let door = self.state.join(DOOR);
        fs::write(&door, script)?;
        Ok(fs::set_permissions(&door, Permissions::from_mode(0o755))?)
    }

    async fn run(&self, tool: &str, args: &[&str], input: &str) -> Result<String> {
        let mut child = self
            .command(tool)
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
    /// When `patience` is over, with the last error if there was one.
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

    /// Everything that the containers of a pod on a real node have written, also after the pod is gone.
    ///
    /// # Errors
    /// When no such pod has run.
    pub fn pod_log(&self, namespace: &str, pod: &str) -> Result<String> {
        let folder = kubelet::logs(&self.state, namespace, pod);
        let entries = fs::read_dir(&folder).with_context(|| format!("no log of pod {namespace}/{pod}"))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        files
            .iter()
            .map(|file| Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned()))
            .collect()
    }

    /// Stops everything: pods, nodes, API server, etcd.
    pub async fn stop(mut self) {
        self.parts.shutdown().await;
        self.control_plane.stop().await;
    }
}

/// Ready, and free of the taint that keeps pods away until the node controller has seen it.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        && !taints
            .into_iter()
            .any(|taint| taint.key == "node.kubernetes.io/not-ready")
}
