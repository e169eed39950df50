//! Where cases run: a control plane with fake nodes, the AWS double with the recorded world, and albacore as a process.

use crate::case::{Action, Case, Step};
use albacore_aws::{Double, Options as AwsOptions, World, iam::Policy};
use albacore_cluster::{Cluster, NodeSpec, Options};
use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::{Instant, sleep},
};

const ENDPOINT: &str = "127.0.0.1:4566";
const CLUSTER_NAME: &str = "demo";
const REGION: &str = "us-east-1";
/// The access key of albacore, which may do what its policy says; everybody else is an administrator.
const ALBACORE: &str = "AKIDALBACORE";

/// A step is over when AWS was not called for so long. The recordings waited three seconds; albacore gathers events for
/// a third of one.
const QUIET: Duration = Duration::from_millis(1500);
/// … and at the latest after this.
const PATIENCE: Duration = Duration::from_secs(150);

/// Everything a case needs.
pub struct Bed {
    cluster: Cluster,
    double: Double,
    door: JoinHandle<()>,
    python: Python,
    scratch: PathBuf,
    binary: PathBuf,
    /// The world as every case finds it.
    pristine: World,
    /// Its parts: alias → id.
    pub aliases: Value,
    /// Where what differs is written to, if it is.
    pub accept: Option<PathBuf>,
    controller: Option<Controller>,
    nodes: Vec<NodeSpec>,
}

struct Controller {
    process: Child,
    log: PathBuf,
    /// Where in the log its own words begin.
    since: usize,
}

/// boto3, kept running.
struct Python {
    interpreter: PathBuf,
    script: PathBuf,
    _process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Bed {
    /// Starts everything but albacore.
    ///
    /// # Errors
    /// What did not start, and why.
    pub async fn start(interpreter: &Path, project: &Path, binary: &Path) -> Result<Self> {
        let listener = TcpListener::bind(ENDPOINT).await?;
        let double = Double::new(AwsOptions {
            epoch: jiff::Timestamp::now(),
            ..AwsOptions::instant()
        });
        let policy = fs::read_to_string(project.join("docs/iam-policy.json")).context("docs/iam-policy.json")?;
        let policy: Policy = serde_json::from_str(&policy)?;
        double.configure(|options| {
            options.policies.insert(ALBACORE.to_owned(), policy);
        });
        let served = double.clone();
        let door = tokio::spawn(async move {
            let Err(error) = served.serve(listener).await;
            eprintln!("the AWS double stopped: {error}");
        });
        let mut python = Python::start(interpreter, &project.join("e2e/parity/python/golden.py"))?;
        let aliases = python
            .ask(&json!({ "do": "world", "certificates": certificates()? }))
            .await?;
        let mut nodes = Vec::new();
        for (net, zone) in (10..).zip(["a", "b", "c"]) {
            let instance = aliases[format!("i-node-{zone}")].as_str().unwrap_or_default();
            let provider_id = format!("aws:///{REGION}{zone}/{instance}");
            let address = format!("10.0.{net}.10").parse()?;
            let pods = format!("10.0.{net}.64/27").parse()?;
            nodes.push(NodeSpec::new(
                &format!("node-{zone}"),
                &provider_id,
                address,
                pods,
                &format!("{REGION}{zone}"),
            ));
        }
        let options = Options {
            nodes: Vec::new(),
            fake_nodes: nodes.clone(),
            ..Options::default()
        };
        let cluster = Cluster::start(options).await?;
        let scratch = std::env::temp_dir().join("parity");
        fs::create_dir_all(&scratch)?;
        let bed = Self {
            pristine: double.snapshot(),
            cluster,
            double,
            door,
            python,
            scratch,
            binary: binary.to_owned(),
            aliases,
            accept: None,
            controller: None,
            nodes,
        };
        bed.install(project).await?;
        Ok(bed)
    }

    /// The CRDs as the chart brings them, and the class that the manifests name.
    async fn install(&self, project: &Path) -> Result<()> {
        let chart = project.join("chart");
        let crds = chart.join("crds");
        self.cluster
            .kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()])
            .await?;
        let rendered = self
            .cluster
            .helm(&[
                "template",
                "albacore",
                &chart.to_string_lossy(),
                "--set",
                "clusterName=demo",
                "--namespace",
                "kube-system",
                "--kube-version",
                "1.36",
            ])
            .await?;
        let own: Vec<&str> = rendered
            .split("\n---")
            .filter(|text| text.contains("kind: CustomResourceDefinition"))
            .collect();
        self.cluster.apply(&own.join("\n---")).await?;
        let class = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": "alb" },
            "spec": { "controller": "ingress.k8s.aws/alb" },
        });
        self.cluster.apply(&class.to_string()).await?;
        fs::write(self.scratch.join("aliases.json"), self.aliases.to_string())?;
        Ok(())
    }

    /// AWS.
    pub fn double(&self) -> &Double {
        &self.double
    }

    /// A client of the API server.
    pub fn client(&self) -> kube::Client {
        self.cluster.client()
    }

    /// Puts the world and the nodes back and forgets the calls.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn reset(&self) -> Result<()> {
        self.double.restore(self.pristine.clone());
        self.double.clear_journal();
        let there: Vec<String> = Api::<Node>::all(self.client())
            .list(&ListParams::default())
            .await?
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        for node in &self.nodes {
            if !there.contains(&node.name) {
                self.cluster.add_fake_nodes(std::slice::from_ref(node)).await?;
            }
        }
        let uncordon = ["uncordon"]
            .into_iter()
            .chain(self.nodes.iter().map(|node| node.name.as_str()));
        self.cluster.kubectl(&uncordon.collect::<Vec<_>>()).await.map(drop)
    }

    /// Starts albacore as the recordings started ALBC, and waits until it knows the cluster.
    ///
    /// # Errors
    /// When the process cannot be started, or is not ready in time.
    pub async fn start_controller(&mut self, case: &str) -> Result<()> {
        self.spawn(case, &["--enable-leader-election=false"])?;
        self.await_leader().await
    }

    /// Starts albacore while another process holds the Lease, and waits until it knows the cluster.
    ///
    /// # Errors
    /// When the process cannot be started, or is not ready in time.
    pub async fn start_standby(&mut self, case: &str) -> Result<()> {
        self.spawn(
            case,
            &[&format!("--leader-election-namespace={}", crate::swap::NAMESPACE)],
        )?;
        self.await_words("albacore to know the cluster", "everything was told once")
            .await
    }

    /// What `albacore migrate check` says as JSON, and its exit code.
    ///
    /// # Errors
    /// When it cannot be run, or says nothing that can be read.
    pub async fn check(&self) -> Result<(Option<i32>, Value)> {
        let mut command = self.albacore(&["migrate", "check"]);
        let output = command.arg("--output=json").output().await?;
        let told = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok((output.status.code(), told))
    }

    /// Waits until albacore leads.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn await_leader(&self) -> Result<()> {
        self.await_words("albacore to lead", "this process leads").await
    }

    async fn await_words(&self, what: &str, words: &str) -> Result<()> {
        let controller = self.controller.as_ref().context("albacore was started")?;
        let said = async || {
            let log = fs::read_to_string(&controller.log).unwrap_or_default();
            Ok(log
                .get(controller.since..)
                .is_some_and(|log| log.contains(words))
                .then_some(()))
        };
        self.cluster.wait_for(what, PATIENCE, said).await
    }

    fn spawn(&mut self, case: &str, more: &[&str]) -> Result<()> {
        let log = self.scratch.join(format!("{case}.log"));
        let file = fs::File::options().create(true).append(true).open(&log)?;
        let since = usize::try_from(file.metadata()?.len())?;
        let mut command = self.albacore(&[]);
        let process = command
            .args(more)
            .args([
                "--log-level=info,albacore=debug",
                "--metrics-bind-addr=127.0.0.1:18080",
                "--health-probe-bind-addr=127.0.0.1:18081",
            ])
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.controller = Some(Controller { process, log, since });
        Ok(())
    }

    /// albacore's binary with the words, flags and environment that lead it to this cluster and AWS.
    fn albacore(&self, words: &[&str]) -> Command {
        let vpc = self.aliases["vpc"].as_str().unwrap_or_default();
        let url = format!("http://{ENDPOINT}");
        let endpoints: Vec<String> = ["Elastic Load Balancing v2", "EC2", "ACM", "STS"]
            .map(|s| format!("{s}={url}"))
            .into();
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .arg(format!("--cluster-name={CLUSTER_NAME}"))
            .arg(format!("--aws-region={REGION}"))
            .arg(format!("--aws-vpc-id={vpc}"))
            .arg(format!("--aws-api-endpoints={}", endpoints.join(",")))
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("AWS_ACCESS_KEY_ID", ALBACORE)
            .env("AWS_SECRET_ACCESS_KEY", "testing")
            .stdin(Stdio::null());
        command
    }

    /// Stops albacore.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn stop_controller(&mut self) -> Result<()> {
        if let Some(mut controller) = self.controller.take() {
            controller.process.kill().await?;
        }
        Ok(())
    }

    /// The end of albacore's log.
    pub fn controller_log(&self, case: &str) -> String {
        let text = fs::read_to_string(self.scratch.join(format!("{case}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Removes what albacore keeps in Kubernetes for itself, and the Lease.
    ///
    /// # Errors
    /// What kubectl said.
    pub async fn forget_albacore(&self) -> Result<()> {
        for object in [
            &["loadbalancers", "--all"][..],
            &["clusternetworks", "--all"],
            &["leases", "-n", "kube-system", "--all"],
        ] {
            self.cluster
                .kubectl(&[&["delete", "--ignore-not-found"], object].concat())
                .await?;
        }
        Ok(())
    }

    /// Does what a step says.
    ///
    /// # Errors
    /// What kubectl or the script said.
    pub async fn perform(&mut self, case: &Case, step: &Step) -> Result<()> {
        match &step.action {
            Action::Apply(path) => {
                let objects = self.substituted(&fs::read_to_string(path)?)?;
                if step.name == "step1" && !case.starts_late {
                    let (world, ours): (Vec<&str>, Vec<&str>) = documents(&objects).partition(|text| !is_ours(text));
                    self.cluster.apply(&world.join("\n---\n")).await?;
                    self.await_pods(case).await?;
                    if !ours.is_empty() {
                        self.cluster.apply(&ours.join("\n---\n")).await?;
                    }
                } else {
                    self.cluster.apply(&objects).await?;
                    self.await_pods(case).await?;
                }
                Ok(())
            }
            Action::Shell(path) => self.run_script(case, path).await,
            Action::Delete => {
                for namespace in namespaces(case)? {
                    self.cluster
                        .kubectl(&["delete", "ingress", "--all", "--wait=false", "--namespace", &namespace])
                        .await?;
                }
                Ok(())
            }
        }
    }

    async fn run_script(&mut self, case: &Case, path: &Path) -> Result<()> {
        let mut script = self.substituted(&fs::read_to_string(path)?)?;
        if script.lines().any(|line| line == "restart-albc") {
            if self.controller.is_some() {
                self.stop_controller().await?;
                self.start_controller(&case.name).await?;
            }
            script = script.replace("restart-albc\n", "");
        }
        if drifts(case)? {
            // ALBC repairs drift when anything is edited; albacore when it is asked to.
            script = script.replace("touch=1", "albacore.dev/verify=1");
        }
        let aws = format!(
            "aws() {{ '{}' '{}' http://{ENDPOINT} exec '{}' \"$@\"; }}\n",
            self.python.interpreter.display(),
            self.python.script.display(),
            self.scratch.join("aliases.json").display(),
        );
        let output = self
            .cluster
            .command("sh")
            .args(["-ec", &format!("{aws}{script}")])
            .output()
            .await?;
        if !output.status.success() {
            bail!("{}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        if self.controller.is_none() {
            return Ok(());
        }
        // What Kubernetes ends slowly, namespaces, ends before albacore can have seen it all.
        self.await_ended_namespaces().await
    }

    /// Waits until no namespace is being deleted.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn await_ended_namespaces(&self) -> Result<()> {
        let ended = async || {
            let namespaces = Api::<Namespace>::all(self.client())
                .list(&ListParams::default())
                .await?;
            Ok((!namespaces
                .iter()
                .any(|namespace| namespace.metadata.deletion_timestamp.is_some()))
            .then_some(()))
        };
        self.cluster.wait_for("namespaces to end", PATIENCE, ended).await
    }

    /// `{alias}` → id.
    fn substituted(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        for (alias, id) in self.aliases.as_object().context("a world is a map")? {
            text = text.replace(&format!("{{{alias}}}"), id.as_str().unwrap_or_default());
        }
        Ok(text)
    }

    /// Waits until the Deployments of a case have the pods they should have.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn await_rollouts(&self, case: &Case) -> Result<()> {
        for namespace in namespaces(case)? {
            let deployments = self
                .cluster
                .kubectl(&["get", "deployments", "-n", &namespace, "-o", "name"])
                .await?;
            for deployment in deployments.lines() {
                self.cluster
                    .kubectl(&["rollout", "status", "-n", &namespace, deployment, "--timeout=60s"])
                    .await?;
            }
        }
        Ok(())
    }

    /// Waits until the EndpointSlices of a case's Services say of its pods what these say of themselves: Kubernetes writes
    /// them later.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn await_endpoints(&self, case: &Case) -> Result<()> {
        let namespaces = namespaces(case)?;
        self.cluster
            .wait_for("the EndpointSlices to name the pods", PATIENCE, async || {
                for namespace in &namespaces {
                    let list = ListParams::default();
                    let pods = Api::<Pod>::namespaced(self.client(), namespace).list(&list).await?;
                    let services = Api::<Service>::namespaced(self.client(), namespace).list(&list).await?;
                    let slices = Api::<EndpointSlice>::namespaced(self.client(), namespace)
                        .list(&list)
                        .await?;
                    if !services
                        .iter()
                        .all(|service| is_told(service, &pods.items, &slices.items))
                    {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            })
            .await
    }

    async fn await_pods(&self, case: &Case) -> Result<()> {
        let namespaces = namespaces(case)?;
        self.cluster
            .wait_for("the pods to be ready", PATIENCE, async || {
                for namespace in &namespaces {
                    let pods = self
                        .cluster
                        .kubectl(&["get", "pods", "-n", namespace, "-o", "json"])
                        .await?;
                    let pods: Value = serde_json::from_str(&pods)?;
                    let waiting = pods["items"].as_array().into_iter().flatten().any(|pod| {
                        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                        let ready = conditions
                            .filter(|c| c["type"] == "ContainersReady")
                            .any(|c| c["status"] == "True");
                        !ready || pod["status"]["podIP"].is_null()
                    });
                    if waiting {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            })
            .await
    }

    /// Waits until AWS is not called any more.
    ///
    /// # Errors
    /// When albacore ended meanwhile.
    pub async fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut calls = usize::MAX;
        let mut since = Instant::now();
        while since.elapsed() < QUIET && Instant::now() < deadline {
            let now = self.double.journal().len();
            if now != calls {
                (calls, since) = (now, Instant::now());
            }
            if let Some(controller) = &mut self.controller
                && let Some(status) = controller.process.try_wait()?
            {
                let log = fs::read_to_string(&controller.log).unwrap_or_default();
                bail!(
                    "albacore ended with {status}: {}",
                    log.lines().last().unwrap_or_default()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// What AWS holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn state(&mut self) -> Result<Value> {
        let order = json!({ "do": "state", "world": self.aliases });
        self.python.ask(&order).await
    }

    /// The calls since the last reset, by operation.
    pub fn calls(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for entry in self.double.journal() {
            *calls.entry(entry.operation.clone()).or_default() += 1;
        }
        calls
    }

    /// Stops everything.
    pub async fn stop(mut self) {
        if let Err(error) = self.stop_controller().await {
            eprintln!("albacore could not be stopped: {error}");
        }
        self.cluster.stop().await;
        self.door.abort();
    }
}

impl Python {
    fn start(interpreter: &Path, script: &Path) -> Result<Self> {
        let mut process = Command::new(interpreter)
            .arg(script)
            .args([&format!("http://{ENDPOINT}"), "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", interpreter.display()))?;
        let orders = process.stdin.take().context("standard input is a pipe")?;
        let answers = BufReader::new(process.stdout.take().context("standard output is a pipe")?).lines();
        Ok(Self {
            interpreter: interpreter.to_owned(),
            script: script.to_owned(),
            _process: process,
            orders,
            answers,
        })
    }

    async fn ask(&mut self, order: &Value) -> Result<Value> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        let line = self.answers.next_line().await?.context("the Python side ended")?;
        let answer: Value = serde_json::from_str(&line)?;
        match answer["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(answer),
        }
    }
}

/// Certificates of the world, made anew: alias → certificate and key.
fn certificates() -> Result<Value> {
    let mut made = serde_json::Map::new();
    for (alias, names) in [
        ("cert-example", vec!["example.com"]),
        ("cert-wild", vec!["*.example.com"]),
        ("cert-app", vec!["app.example.com"]),
        ("cert-other", vec!["other.org", "www.other.org"]),
    ] {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let certified = rcgen::generate_simple_self_signed(names)?;
        made.insert(
            alias.to_owned(),
            json!([certified.cert.pem(), certified.signing_key.serialize_pem()]),
        );
    }
    Ok(Value::Object(made))
}

/// The documents of a YAML stream.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n---").filter(|document| document.contains("kind:"))
}

/// Whether the EndpointSlices of a Service have all of its pods, ready or not as they are.
fn is_told(service: &Service, pods: &[Pod], slices: &[EndpointSlice]) -> bool {
    let spec = service.spec.clone().unwrap_or_default();
    let Some(selector) = spec.selector.filter(|_| spec.type_.as_deref() != Some("ExternalName")) else {
        return true;
    };
    let of_service =
        |slice: &&EndpointSlice| slice.labels().get("kubernetes.io/service-name") == Some(&service.name_any());
    let endpoints = slices.iter().filter(of_service).flat_map(|slice| &slice.endpoints);
    let told: BTreeMap<&String, Option<bool>> = endpoints
        .flat_map(|endpoint| {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            endpoint.addresses.iter().map(move |address| (address, ready))
        })
        .collect();
    let selected = |pod: &&Pod| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
    let staying = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    pods.iter().filter(selected).filter(staying).all(|pod| {
        let status = pod.status.clone().unwrap_or_default();
        let mut conditions = status.conditions.unwrap_or_default().into_iter();
        let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
            || spec.publish_not_ready_addresses == Some(true);
        status
            .pod_ip
            .is_none_or(|address| told.get(&address) == Some(&Some(ready)))
    })
}

/// Whether the recordings applied this document only when everything else was there.
fn is_ours(document: &str) -> bool {
    document
        .lines()
        .any(|line| line == "kind: Ingress" || line == "kind: TargetGroupBinding")
}

/// Whether something is changed behind the controller's back.
pub(crate) fn drifts(case: &Case) -> Result<bool> {
    for step in &case.steps {
        if let Action::Shell(path) = &step.action
            && fs::read_to_string(path)?.lines().any(|line| line.starts_with("aws '"))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The namespaces that a case makes.
///
/// # Errors
/// A manifest that cannot be read.
pub fn namespaces(case: &Case) -> Result<Vec<String>> {
    let objects = crate::scope::manifests(case)?;
    let made = objects.iter().filter(|object| object["kind"] == "Namespace");
    let mut names: Vec<String> = made
        .filter_map(|object| Some(object["metadata"]["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}
