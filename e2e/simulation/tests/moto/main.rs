//! The whole controller against moto, an AWS that nobody here wrote, over HTTP at the endpoints that its settings name: an
//! Ingress becomes a load balancer, is changed, and is gone. Where moto's answers are not AWS', `server.py` puts them right.

use albacore::{
    aws::{Aws, AwsConfig},
    budget::{Budget, BudgetConfig},
    telemetry::Clock,
};
use albacore_aws::Options;
use albacore_cluster::python;
use albacore_simulation::{
    bed::Bed,
    objects::{self, Ingress},
    world::{self, REGION},
};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_elasticloadbalancingv2::types::Rule;
use serde_json::Value;
use std::{collections::BTreeMap, net::TcpListener, path::Path, process::Stdio, time::Duration};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

/// How long anything may take; real seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A moto server, until dropped.
struct Moto {
    url: String,
    _server: Child,
}

impl Moto {
    async fn start() -> Self {
        // Tests run in the folder of their package.
        let python = python(Path::new("tests/moto/requirements.txt")).expect("a virtualenv with moto");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let server = Command::new(python)
            .args([
                "tests/moto/server.py",
                "-H",
                "127.0.0.1",
                "-p",
                &address.port().to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("moto starts");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "moto does not answer");
            sleep(Duration::from_millis(100)).await;
        }
        Self {
            url: format!("http://{address}"),
            _server: server,
        }
    }

    async fn config(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .region(REGION)
            .credentials_provider(Credentials::for_tests())
            .endpoint_url(&self.url)
            .load()
            .await
    }
}

/// What stands in moto.
#[derive(Debug, Default, PartialEq)]
struct Held {
    load_balancers: usize,
    ports: Vec<i32>,
    /// Paths of rules, in their order, with the names of the target groups they forward to.
    rules: Vec<(String, String)>,
    /// Target groups, and how many targets are in each.
    targets: BTreeMap<String, usize>,
    /// Security groups but the world's own.
    security_groups: usize,
}

struct Eyes {
    elb: aws_sdk_elasticloadbalancingv2::Client,
    ec2: aws_sdk_ec2::Client,
}

impl Eyes {
    /// What stands there; an error where something is deleted while it is looked at.
    async fn look(&self) -> anyhow::Result<Held> {
        let mut held = Held::default();
        let groups = self.elb.describe_target_groups().send().await?;
        let mut names = BTreeMap::new();
        for group in groups.target_groups() {
            let (Some(arn), Some(name)) = (group.target_group_arn(), group.target_group_name()) else {
                continue;
            };
            let health = self.elb.describe_target_health().target_group_arn(arn).send().await?;
            held.targets
                .insert(name.to_owned(), health.target_health_descriptions().len());
            names.insert(arn.to_owned(), name.to_owned());
        }
        let balancers = self.elb.describe_load_balancers().send().await?;
        held.load_balancers = balancers.load_balancers().len();
        for balancer in balancers.load_balancers() {
            let listeners = self.elb.describe_listeners();
            let listeners = listeners.set_load_balancer_arn(balancer.load_balancer_arn.clone());
            for listener in listeners.send().await?.listeners() {
                held.ports.extend(listener.port());
                let rules = self.elb.describe_rules();
                let rules = rules.set_listener_arn(listener.listener_arn.clone()).send().await?;
                let mut rules: Vec<Rule> = rules.rules.unwrap_or_default();
                rules.retain(|rule| rule.is_default() != Some(true));
                rules.sort_by_key(|rule| rule.priority().and_then(|priority| priority.parse::<u32>().ok()));
                held.rules.extend(rules.iter().map(|rule| told(rule, &names)));
            }
        }
        held.ports.sort_unstable();
        let groups = self.ec2.describe_security_groups().send().await?;
        let own = |name: Option<&str>| matches!(name, Some("default" | "nodes"));
        let groups = groups.security_groups().iter();
        held.security_groups = groups.filter(|group| !own(group.group_name())).count();
        Ok(held)
    }

    /// Waits until what stands there is as wanted.
    async fn until(&self, what: &str, bed: &Bed, wanted: impl Fn(&Held) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = self.look().await;
            if held.as_ref().is_ok_and(&wanted) {
                return;
            }
            let status = |object: &Value| object["status"].clone();
            assert!(
                Instant::now() < deadline,
                "{what}: {held:#?}; {:#?}",
                bed.list("albacore.dev/v1alpha1", "LoadBalancer")
                    .iter()
                    .map(status)
                    .collect::<Vec<_>>()
            );
            sleep(Duration::from_millis(500)).await;
        }
    }
}

fn told(rule: &Rule, names: &BTreeMap<String, String>) -> (String, String) {
    let paths = rule
        .conditions()
        .iter()
        .filter_map(|condition| condition.path_pattern_config());
    let paths: Vec<&str> = paths.flat_map(|config| config.values()).map(String::as_str).collect();
    let forwards = rule.actions().iter().filter_map(|action| action.forward_config());
    let groups = forwards
        .flat_map(|config| config.target_groups())
        .filter_map(|group| group.target_group_arn());
    let groups: Vec<&str> = groups.filter_map(|arn| names.get(arn).map(String::as_str)).collect();
    (paths.join(","), groups.join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_becomes_a_load_balancer_is_changed_and_is_gone() {
    let moto = Moto::start().await;
    let config = moto.config().await;
    let eyes = Eyes {
        elb: aws_sdk_elasticloadbalancingv2::Client::new(&config),
        ec2: aws_sdk_ec2::Client::new(&config),
    };
    let mut bed = Bed::new(Options::instant()).await;
    bed.world = world::build_at(&config).await.expect("a world");
    bed.settings.vpc = bed.world.vpc.as_str().into();
    objects::nodes(&bed.world).into_iter().for_each(|node| bed.apply(node));
    let services = ["Elastic Load Balancing v2", "EC2", "ACM"];
    let aws = AwsConfig {
        endpoints: services.map(|name| (name.to_owned(), moto.url.clone())).into(),
        ..AwsConfig::default()
    };
    let credentials = SharedCredentialsProvider::new(Credentials::for_tests());
    let budget = Budget::new(BudgetConfig::default());
    bed.start_with(Aws::at(&aws, &bed.place(), credentials, budget, Clock::system()));

    let ingress = Ingress::new("shop", "web").annotated("scheme", "internet-facing");
    let two = [("/a", "a"), ("/b", "b")];
    bed.apply(ingress.clone().host("shop.example.com", &two).object());
    let paths = |held: &Held| held.rules.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    eyes.until("two paths are served", &bed, |held| {
        held.load_balancers == 1
            && held.ports == [80]
            && paths(held) == ["/a,/a/*", "/b,/b/*"]
            && held.rules.iter().all(|(_, group)| held.targets.get(group) == Some(&3))
    })
    .await;

    let certificate = bed.world.certificate.clone();
    let more = ingress
        .annotated("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 443}]"#)
        .annotated("certificate-arn", &certificate);
    let other = [("/b", "b"), ("/c", "c")];
    bed.apply(more.host("shop.example.com", &other).object());
    eyes.until("other paths are served, on one more port", &bed, |held| {
        held.load_balancers == 1
            && held.ports == [80, 443]
            && paths(held) == ["/b,/b/*", "/c,/c/*", "/b,/b/*", "/c,/c/*"]
            && held.targets.len() == 2
            && held.targets.values().all(|targets| *targets == 3)
    })
    .await;

    bed.delete_ingress("shop", "web");
    eyes.until("nothing is left", &bed, |held| *held == Held::default())
        .await;
    bed.stop().await;
}
