//! Everything that a scenario plays on: AWS, a cluster in it, and albacore installed with helm.

use crate::{
    client::Client,
    pod_identity_webhook::{AGENT, Webhook},
};
use albacore_aws::{
    Double, Options as AwsOptions,
    call::Service,
    dataplane::{DataPlane, Options as DataPlaneOptions, Reach},
    dns, iam,
    identity::{Provider, token::Keys},
    journal::Entry,
    metadata, pod_identity,
    world::{ACCOUNT, HealthMode},
};
use albacore_cluster::{Cluster, ISSUER, Image, NodeSpec, Options, RESOLVER};
use albacore_simulation::{
    permissions,
    world::{self, World},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};

/// Where AWS answers.
pub(crate) const AWS: &str = "10.0.0.5:4566";
/// Where every instance finds its metadata.
const METADATA: &str = "169.254.169.254:80";
/// Where the EKS Pod Identity webhook answers the API server.
const WEBHOOK: &str = "10.0.0.6:443";
/// The image of the chart.
const IMAGE: &str = "ghcr.io/albacore/albacore";
/// Namespace of the chart.
pub const NAMESPACE: &str = "kube-system";
/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// AWS is at rest when it was not called for so long.
const QUIET: Duration = Duration::from_secs(6);

/// A stage.
pub struct Stage {
    /// AWS.
    pub double: Double,
    /// What was in it from the start.
    pub world: World,
    /// Kubernetes.
    pub cluster: Cluster,
    /// A user of the load balancers.
    pub client: Client,
    _data_plane: DataPlane,
    _servers: JoinSet<()>,
}

impl Stage {
    /// Starts AWS and the cluster; needs [`albacore_cluster::enter`] before. `say` hears what is being done.
    ///
    /// # Errors
    /// What does not start, and why.
    pub async fn start(say: impl Fn(&str)) -> Result<Self> {
        say("AWS: a VPC over three zones, a node in each, a certificate");
        let double = Double::new(AwsOptions {
            epoch: jiff::Timestamp::now(),
            provisioning: Duration::from_secs(2),
            interface_linger: Duration::from_secs(5),
            throttling: false,
            health: HealthMode::Probed,
            ..AwsOptions::default()
        });
        let world = world::build(&double).await?;
        double.configure(|options| {
            options.throttling = true;
            options.strict_credentials = true;
        });
        // The world is made; from now on albacore is the only caller, with whatever role it has.
        permissions::attach(&double, iam::EVERYBODY, permissions::document());
        let data_plane = DataPlane::start(double.clone(), DataPlaneOptions::new(Reach::namespace()?));
        let mut servers = JoinSet::new();
        let aws = TcpListener::bind(AWS).await.context("AWS")?;
        let served = double.clone();
        servers.spawn(async move {
            let Err(error) = served.serve(aws).await;
            eprintln!("AWS stopped: {error}");
        });
        let names = dns::Server::bind(double.clone(), (RESOLVER, 53).into(), dns::Records::new())
            .await
            .context("DNS")?;
        servers.spawn(async move { drop(names.serve().await) });
        let role = metadata::Options {
            role: "albacore".to_owned(),
            ..metadata::Options::default()
        };
        let told = metadata::Server::bind(double.clone(), METADATA.parse()?, role)
            .await
            .context("instance metadata")?;
        servers.spawn(async move { drop(told.serve().await) });
        say("Kubernetes: API server, controllers, three nodes");
        let mut nodes = Vec::new();
        for node in &world.nodes {
            let provider_id = format!("aws:///{}/{}", node.zone, node.instance);
            nodes.push(NodeSpec::new(
                &node.name,
                &provider_id,
                node.address,
                node.pod_cidr.parse()?,
                &node.zone,
            ));
        }
        let binary = std::env::current_exe()?.with_file_name("albacore");
        let images = BTreeMap::from([(IMAGE.to_owned(), Image::new(binary))]);
        let cluster = Cluster::start(Options {
            nodes,
            images,
            ..Options::default()
        })
        .await?;
        identities(&double, &cluster, &mut servers).await?;
        let client = Client::new(&world.certificate_pem)?;
        Ok(Self {
            double,
            world,
            cluster,
            client,
            _data_plane: data_plane,
            _servers: servers,
        })
    }

    /// `helm install`, with region, VPC and credentials left to instance metadata.
    ///
    /// # Errors
    /// What helm or the pods say.
    pub async fn install(&self, chart: &Path) -> Result<()> {
        self.install_with(chart, &[]).await
    }

    /// `helm install` with these flags too.
    ///
    /// # Errors
    /// What helm or the pods say.
    pub async fn install_with(&self, chart: &Path, flags: &[&str]) -> Result<()> {
        self.helm(&["install"], chart, &Value::Null, flags).await
    }

    /// `helm upgrade --install`, with further values.
    ///
    /// # Errors
    /// What helm or the pods say.
    pub async fn upgrade(&self, chart: &Path, values: &Value) -> Result<()> {
        self.helm(&["upgrade", "--install"], chart, values, &[]).await
    }

    async fn helm(&self, what: &[&str], chart: &Path, more: &Value, flags: &[&str]) -> Result<()> {
        let url = format!("http://{AWS}");
        let mut values = serde_json::json!({
            "clusterName": world::CLUSTER,
            "logFormat": "text",
            "logLevel": "info,albacore=debug",
            "awsApiEndpoints": {"Elastic Load Balancing v2": url, "EC2": url, "ACM": url, "STS": url},
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            values[name] = value.clone();
        }
        let file = Path::new(albacore_cluster::STATE).join("values.json");
        std::fs::write(&file, values.to_string())?;
        let (chart, file) = (chart.to_string_lossy(), file.to_string_lossy());
        let mut arguments = what.to_vec();
        arguments.extend([
            "albacore",
            &chart,
            "--namespace",
            NAMESPACE,
            "--values",
            &file,
            "--wait",
            "--timeout",
            "90s",
        ]);
        arguments.extend(flags);
        let installed = self.cluster.helm(&arguments).await;
        if installed.is_err() {
            self.show_logs().await;
        }
        installed.map(drop)
    }

    /// Names of albacore's pods that are not being deleted.
    ///
    /// # Errors
    /// What kubectl says.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let arguments = [
            "get",
            "pods",
            "-n",
            NAMESPACE,
            "-l",
            "app.kubernetes.io/name=albacore",
            "-o",
            "json",
        ];
        let pods: Value = serde_json::from_str(&self.cluster.kubectl(&arguments).await?)?;
        let alive = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(alive
            .filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned()))
            .collect())
    }

    /// The end of what albacore's pods wrote, for whoever looks for what went wrong.
    pub async fn show_logs(&self) {
        for pod in self.pods().await.unwrap_or_default() {
            let log = self
                .cluster
                .pod_log(NAMESPACE, &pod)
                .unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {pod}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }

    /// Requests for instance metadata and credentials that the leader made so far, as its metrics tell.
    ///
    /// # Errors
    /// There is no leader, or it does not tell.
    pub async fn credential_requests(&self) -> Result<u64> {
        let leader = self.leader().await?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{leader}:8080/proxy/metrics");
        let metrics = self.cluster.kubectl(&["get", "--raw", &path]).await?;
        let told = metrics
            .lines()
            .find_map(|line| line.strip_prefix("albacore_aws_credential_requests_total "));
        told.context("the metric is not told")?.parse().context("a number")
    }

    /// The pod that leads.
    ///
    /// # Errors
    /// Nobody leads.
    pub async fn leader(&self) -> Result<String> {
        let arguments = [
            "get",
            "lease",
            "-n",
            NAMESPACE,
            "aws-load-balancer-controller-leader",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ];
        let holder = self.cluster.kubectl(&arguments).await?;
        let pods = self.pods().await?;
        pods.into_iter()
            .find(|pod| holder.starts_with(pod.as_str()))
            .with_context(|| format!("`{holder}` is no pod"))
    }

    /// Applies the manifests in a folder, with the world's certificate in them.
    ///
    /// # Errors
    /// What kubectl says.
    pub async fn apply_folder(&self, folder: &Path) -> Result<()> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .with_context(|| folder.display().to_string())?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        for file in files {
            self.apply(&std::fs::read_to_string(file)?).await?;
        }
        Ok(())
    }

    /// Applies manifests, with the world's certificate in them.
    ///
    /// # Errors
    /// What kubectl says.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.cluster
            .apply(&manifests.replace("{certificate}", &self.world.certificate))
            .await
            .map(drop)
    }

    /// The DNS name in an Ingress' status, once it is there.
    ///
    /// # Errors
    /// It does not come.
    pub async fn hostname(&self, namespace: &str, ingress: &str) -> Result<String> {
        let path = "jsonpath={.status.loadBalancer.ingress[0].hostname}";
        let ask = async || {
            let name = self
                .cluster
                .kubectl(&["get", "ingress", "-n", namespace, ingress, "-o", path])
                .await?;
            Ok(Some(name).filter(|name| !name.is_empty()))
        };
        self.cluster.wait_for("an address of the Ingress", PATIENCE, ask).await
    }

    /// Waits until every target that is registered is healthy, and AWS is at rest.
    ///
    /// # Errors
    /// That does not happen.
    pub async fn settle(&self) -> Result<()> {
        let healthy = async || Ok(self.is_healthy().then_some(()));
        self.cluster
            .wait_for("all targets to be healthy", PATIENCE, healthy)
            .await?;
        self.rest().await
    }

    /// Waits until AWS is at rest.
    ///
    /// # Errors
    /// It never is.
    pub async fn rest(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let last = || self.double.journal().last().map(|entry| entry.n);
        let (mut before, mut since) = (last(), Instant::now());
        while since.elapsed() < QUIET {
            ensure!(Instant::now() < deadline, "AWS is called on and on: {:?}", self.told());
            sleep(Duration::from_millis(200)).await;
            let now = last();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Does something in AWS that albacore may not; it must be at rest meanwhile.
    pub async fn as_administrator<T>(&self, work: impl Future<Output = T>) -> T {
        let mut before = None;
        self.double.configure(|options| {
            before = Some(options.clone());
            options.strict_credentials = false;
            options.policies.clear();
        });
        let done = work.await;
        self.double.configure(|options| {
            if let Some(before) = before {
                *options = before;
            }
        });
        done
    }

    /// Load balancers and target groups that are there.
    pub fn held(&self) -> (usize, usize) {
        let world = self.double.world();
        let elb = world.regions.values().map(|region| &region.elbv2);
        let count = elb.map(|elb| (elb.load_balancers.len(), elb.target_groups.len()));
        count.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Targets that are registered, and not draining, in all target groups of a type.
    pub fn targets(&self, kind: &str) -> usize {
        let world = self.double.world();
        let now = self.double.now();
        let mut sum = 0;
        for region in world.regions.values() {
            for group in region
                .elbv2
                .target_groups
                .values()
                .filter(|group| group.target_type == kind)
            {
                let state = |key| region.target_health(&world.options, group, key, now).state;
                sum += group.targets.keys().filter(|key| state(key) != "draining").count();
            }
        }
        sum
    }

    fn is_healthy(&self) -> bool {
        let world = self.double.world();
        let now = self.double.now();
        for region in world.regions.values() {
            for group in region
                .elbv2
                .target_groups
                .values()
                .filter(|group| group.load_balancer.is_some())
            {
                let state = |key| region.target_health(&world.options, group, key, now).state;
                let well = group
                    .targets
                    .keys()
                    .all(|key| matches!(state(key), "healthy" | "draining"));
                // Nobody is registered yet: not ready either.
                if !well || group.targets.is_empty() {
                    return false;
                }
            }
        }
        true
    }

    /// Calls since the last time this was asked, by service and operation.
    pub fn take_calls(&self) -> BTreeMap<(Service, String), usize> {
        let calls = self.double.journal();
        self.double.clear_journal();
        let mut sum = BTreeMap::new();
        for call in calls {
            *sum.entry((call.service, call.operation)).or_default() += 1;
        }
        sum
    }

    /// What calls said, for messages.
    pub fn told(&self) -> Vec<String> {
        let told = |call: &Entry| format!("{} {}", call.operation, call.params);
        self.double.journal().iter().map(told).collect()
    }

    /// Waits until AWS is empty; then no object of ours may be left either.
    ///
    /// # Errors
    /// What is left.
    pub async fn nothing_is_left(&self, patience: Duration) -> Result<()> {
        let gone = async || Ok(self.leftovers().is_empty().then_some(()));
        let gone = self.cluster.wait_for("AWS to be empty", patience, gone).await;
        gone.with_context(|| format!("{:?}", self.leftovers()))?;
        let list = ["get", "loadbalancers,targetgroupbindings", "-A", "-o", "name"];
        let gone = async || Ok(self.cluster.kubectl(&list).await?.trim().is_empty().then_some(()));
        self.cluster.wait_for("the objects to be gone", PATIENCE, gone).await
    }

    /// What of Elastic Load Balancing, and which security groups beyond the world's own, is there.
    pub fn leftovers(&self) -> Vec<String> {
        let world = self.double.world();
        let mut all = Vec::new();
        for region in world.regions.values() {
            all.extend(region.elbv2.load_balancers.keys().cloned());
            all.extend(region.elbv2.target_groups.keys().cloned());
            let own = BTreeSet::from(["default", "nodes"]);
            let groups = region.ec2.security_groups.values().map(|group| group.name.clone());
            all.extend(groups.filter(|name| !own.contains(name.as_str())));
        }
        all
    }
}

/// How long credentials of the Pod Identity agent last: albacore renews them five minutes before they end, half a minute after
/// they were given.
const POD_IDENTITY_LIFE: jiff::SignedDuration = jiff::SignedDuration::from_secs(330);

/// What pods get credentials of roles by: AWS knows the cluster as an issuer of tokens, the agent answers on every node, and
/// the webhook tells pods of both.
async fn identities(double: &Double, cluster: &Cluster, servers: &mut JoinSet<()>) -> Result<()> {
    let keys: Keys = serde_json::from_str(&cluster.kubectl(&["get", "--raw", "/openid/v1/jwks"]).await?)?;
    let provider = Provider {
        url: ISSUER.to_owned(),
        audiences: vec!["sts.amazonaws.com".to_owned()],
        keys: keys.clone(),
    };
    double.world().identity.add_provider(ACCOUNT, provider);
    let options = pod_identity::Options {
        cluster: world::CLUSTER.to_owned(),
        issuer: ISSUER.to_owned(),
        keys,
        life: POD_IDENTITY_LIFE,
    };
    let address = format!("{AGENT}:80").parse()?;
    let agent = pod_identity::Server::bind(double.clone(), address, options).await;
    let agent = agent.context("the Pod Identity agent")?;
    servers.spawn(async move { drop(agent.serve().await) });
    let place = (world::CLUSTER, world::REGION);
    let webhook = Webhook::bind(WEBHOOK.parse()?, cluster.client(), double.clone(), place).await;
    let webhook = webhook.context("the Pod Identity webhook")?;
    cluster.apply(&webhook.configuration().to_string()).await?;
    servers.spawn(async move { drop(webhook.serve().await) });
    Ok(())
}
