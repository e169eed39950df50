//! Flags and environment → typed configuration. Every error of a bad configuration is told at once.

use crate::{
    aws::AwsConfig,
    budget::BudgetOverride,
    model::{Scheme, Settings, Tags, TargetType, VpcId, tags},
};
use clap::{ArgAction, Parser};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
};

/// Service ids of `--aws-api-endpoints`, as the SDKs name them.
const SERVICES: [&str; 4] = ["Elastic Load Balancing v2", "EC2", "ACM", "STS"];

/// Flags of ALBC that tune what albacore does by itself: taken, so that a Deployment can be switched over, and ignored.
const IGNORED: [&str; 25] = [
    "alb-gateway-max-concurrent-reconciles",
    "aws-api-throttle",
    "aws-max-retries",
    "enable-endpoint-slices",
    "enable-pod-readiness-gate-inject",
    "enable-shield",
    "enable-waf",
    "enable-wafv2",
    "gateway-class-max-concurrent-reconciles",
    "globalaccelerator-max-concurrent-reconciles",
    "globalaccelerator-max-exponential-backoff-delay",
    "ingress-max-concurrent-reconciles",
    "kube-ca-pem-filepath",
    "lb-stabilization-monitor-interval",
    "nlb-gateway-max-concurrent-reconciles",
    "service-max-concurrent-reconciles",
    "sync-period",
    "targetgroupbinding-max-concurrent-reconciles",
    "targetgroupbinding-max-exponential-backoff-delay",
    "targetgroupbinding-requeue-duration",
    "webhook-bind-port",
    "webhook-cert-dir",
    "webhook-cert-file",
    "webhook-key-file",
    "aws-vpc-tag-key",
];

/// What the command line and the environment say, as text. Each flag is also an environment variable: `ALBACORE_` and
/// its name in capitals.
#[derive(Debug, Parser)]
#[command(
    name = "albacore",
    version,
    about = "Turns Kubernetes Ingresses into AWS load balancers, inside an AWS API-call budget",
    disable_help_subcommand = true,
    args_override_self = true
)]
struct Flags {
    /// Name of the cluster, as tags of AWS resources carry it
    #[arg(long, env = "ALBACORE_CLUSTER_NAME", default_value = "", hide_default_value = true)]
    cluster_name: String,
    /// AWS region; found by instance metadata when not given
    #[arg(long, env = "ALBACORE_AWS_REGION")]
    aws_region: Option<String>,
    /// VPC of the cluster; found by instance metadata when not given
    #[arg(long, env = "ALBACORE_AWS_VPC_ID")]
    aws_vpc_id: Option<String>,
    /// Other endpoints of AWS services: `EC2=https://…,Elastic Load Balancing v2=https://…`
    #[arg(long, env = "ALBACORE_AWS_API_ENDPOINTS", value_delimiter = ',')]
    aws_api_endpoints: Vec<String>,
    /// Sizes of token buckets where the account has others than AWS documents: `elasticloadbalancing.register=4:20`
    #[arg(long, env = "ALBACORE_AWS_BUDGET", value_delimiter = ',')]
    aws_budget: Vec<String>,
    /// Value of the `kubernetes.io/ingress.class` annotation that is ours
    #[arg(long, env = "ALBACORE_INGRESS_CLASS", default_value = "alb")]
    ingress_class: String,
    /// Ignore the `kubernetes.io/ingress.class` annotation
    #[arg(long, env = "ALBACORE_DISABLE_INGRESS_CLASS_ANNOTATION", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    disable_ingress_class_annotation: bool,
    /// Refuse new uses of the `group.name` annotation
    #[arg(long, env = "ALBACORE_DISABLE_INGRESS_GROUP_NAME_ANNOTATION", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    disable_ingress_group_name_annotation: bool,
    /// Tags of every AWS resource: `team=web,stage=prod`
    #[arg(long, env = "ALBACORE_DEFAULT_TAGS", value_delimiter = ',')]
    default_tags: Vec<String>,
    /// Keys of tags that somebody else manages: neither set nor removed
    #[arg(long, env = "ALBACORE_EXTERNAL_MANAGED_TAGS", value_delimiter = ',')]
    external_managed_tags: Vec<String>,
    /// Target type of Ingresses that name none: `instance` or `ip`
    #[arg(long, env = "ALBACORE_DEFAULT_TARGET_TYPE", default_value = "instance")]
    default_target_type: String,
    /// Scheme of Ingresses that name none: `internal` or `internet-facing`
    #[arg(long, env = "ALBACORE_DEFAULT_LOAD_BALANCER_SCHEME", default_value = "internal")]
    default_load_balancer_scheme: String,
    /// Security policy of HTTPS listeners that name none
    #[arg(
        long,
        env = "ALBACORE_DEFAULT_SSL_POLICY",
        default_value = "ELBSecurityPolicy-2016-08"
    )]
    default_ssl_policy: String,
    /// Let load balancers reach targets through one shared security group
    #[arg(long, env = "ALBACORE_ENABLE_BACKEND_SECURITY_GROUP", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true)]
    enable_backend_security_group: bool,
    /// Open nodes and pods also to load balancers with security groups of their own
    #[arg(long, env = "ALBACORE_ENABLE_MANAGE_BACKEND_SECURITY_GROUP_RULES", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    enable_manage_backend_security_group_rules: bool,
    /// Watch one namespace only
    #[arg(long, env = "ALBACORE_WATCH_NAMESPACE")]
    watch_namespace: Option<String>,
    /// Path of a kubeconfig; the cluster's own service account when not given
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Take turns with other replicas (and with ALBC) through a Lease
    #[arg(long, env = "ALBACORE_ENABLE_LEADER_ELECTION", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true)]
    enable_leader_election: bool,
    /// Name of the Lease; ALBC's by default, so that only one of the two ever acts
    #[arg(
        long,
        env = "ALBACORE_LEADER_ELECTION_ID",
        default_value = "aws-load-balancer-controller-leader"
    )]
    leader_election_id: String,
    /// Namespace of the Lease; the pod's own when not given
    #[arg(long, env = "ALBACORE_LEADER_ELECTION_NAMESPACE")]
    leader_election_namespace: Option<String>,
    /// Namespace of this pod (downward API)
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pod_namespace: Option<String>,
    /// Name of this pod (downward API); identifies this process in the Lease and in Events
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,
    /// Where metrics are served
    #[arg(long, env = "ALBACORE_METRICS_BIND_ADDR", default_value = ":8080")]
    metrics_bind_addr: String,
    /// Where /healthz and /readyz are served
    #[arg(long, env = "ALBACORE_HEALTH_PROBE_BIND_ADDR", default_value = ":61779")]
    health_probe_bind_addr: String,
    /// `info`, `debug`, or a filter such as `info,albacore::plan=debug`
    #[arg(long, env = "ALBACORE_LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// `json` or `text`
    #[arg(long, env = "ALBACORE_LOG_FORMAT", default_value = "json")]
    log_format: String,
}

/// The configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// AWS.
    pub aws: AwsConfig,
    /// Buckets of another size than documented.
    pub budget: Vec<BudgetOverride>,
    /// `--watch-namespace`.
    pub watch_namespace: Option<String>,
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// The Lease; `None` for a process that leads alone.
    pub lease: Option<Lease>,
    /// What this process is called in the Lease and in Events.
    pub instance: String,
    /// `--metrics-bind-addr`.
    pub metrics: SocketAddr,
    /// `--health-probe-bind-addr`.
    pub health: SocketAddr,
    /// `--log-level`.
    pub log_filter: String,
    /// `--log-format=json`.
    pub log_json: bool,
    /// Flags of ALBC that were given and do nothing here.
    pub ignored: Vec<String>,
    settings: Settings,
}

/// Where replicas take turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong(Vec<String>);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.0.iter().try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}

impl std::error::Error for Wrong {}

impl Config {
    /// The configuration of this process; prints help and version, and exits, where these are asked for.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn from_environment() -> Result<Self, Wrong> {
        Self::parse(std::env::args())
    }

    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Wrong> {
        let mut wrong = Vec::new();
        let (arguments, ignored) = known(arguments, &mut wrong);
        let flags = match Flags::try_parse_from(arguments) {
            Ok(flags) => flags,
            Err(error) if error.use_stderr() => {
                wrong.push(
                    error
                        .render()
                        .to_string()
                        .trim_start_matches("error: ")
                        .trim_end()
                        .to_owned(),
                );
                return Err(Wrong(wrong));
            }
            Err(asked) => asked.exit(),
        };
        let config = flags.check(ignored, &mut wrong);
        match config {
            Some(config) if wrong.is_empty() => Ok(config),
            _ => Err(Wrong(wrong)),
        }
    }

    /// What pure code needs to know.
    pub fn settings(&self, vpc: VpcId) -> Settings {
        Settings {
            vpc,
            ..self.settings.clone()
        }
    }
}

/// Sorts out flags that are ALBC's and do nothing here, and those that nobody knows.
fn known(arguments: impl IntoIterator<Item = String>, wrong: &mut Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut ours, mut ignored) = (Vec::new(), Vec::new());
    let command = <Flags as clap::CommandFactory>::command();
    let names: BTreeSet<&str> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .chain(["help", "version"])
        .collect();
    let mut arguments = arguments.into_iter();
    ours.extend(arguments.next());
    let mut skip_value = false;
    for argument in arguments {
        if std::mem::take(&mut skip_value) && !argument.starts_with('-') {
            continue;
        }
        // Go's flag packages take one dash as well as two.
        let bare = argument.trim_start_matches('-');
        let (name, value) = bare
            .split_once('=')
            .map_or((bare, None), |(name, value)| (name, Some(value)));
        if !argument.starts_with('-') || names.contains(name) || argument == "-h" || argument == "-V" {
            let long = argument.starts_with('-') && !argument.starts_with("--") && names.contains(name);
            ours.push(if long { format!("-{argument}") } else { argument });
        } else if name == "feature-gates" {
            for gate in value.unwrap_or_default().split(',').filter(|gate| !gate.is_empty()) {
                ignored.push(format!("--feature-gates={gate}"));
            }
            skip_value = value.is_none();
        } else if IGNORED.contains(&name) {
            ignored.push(format!("--{name}"));
            skip_value = value.is_none();
        } else {
            wrong.push(format!(
                "--{name} is not a flag of albacore; `albacore --help` lists them"
            ));
            skip_value = value.is_none();
        }
    }
    (ours, ignored)
}

impl Flags {
    fn check(self, ignored: Vec<String>, wrong: &mut Vec<String>) -> Option<Config> {
        if self.cluster_name.is_empty() {
            wrong.push(
                "--cluster-name is missing: write the name that AWS resources of this cluster are tagged with"
                    .to_owned(),
            );
        }
        let endpoints = endpoints(&self.aws_api_endpoints, wrong);
        let default_tags = self.default_tags(wrong);
        let mut budget = Vec::new();
        for text in self.aws_budget.iter().filter(|text| !text.is_empty()) {
            match text.parse() {
                Ok(chosen) => budget.push(chosen),
                Err(error) => wrong.push(format!("--aws-budget: {error}")),
            }
        }
        let vpc = self.aws_vpc_id.filter(|id| !id.is_empty());
        if let Some(id) = vpc.as_ref().filter(|id| !id.starts_with("vpc-")) {
            wrong.push(format!("--aws-vpc-id={id} is not the id of a VPC: it starts with vpc-"));
        }
        let external_managed_tags: BTreeSet<String> = self
            .external_managed_tags
            .iter()
            .filter(|key| !key.is_empty())
            .cloned()
            .collect();
        for key in external_managed_tags.iter().filter(|key| is_tracking(key)) {
            wrong.push(format!(
                "--external-managed-tags={key}: albacore finds its resources by this tag; leave it out"
            ));
        }
        for key in external_managed_tags
            .iter()
            .filter(|key| default_tags.contains_key(*key))
        {
            wrong.push(format!(
                "{key} is in --default-tags and in --external-managed-tags: it can be only one of the two"
            ));
        }
        let default_target_type = one_of(
            "--default-target-type",
            &self.default_target_type,
            &[("instance", TargetType::Instance), ("ip", TargetType::Ip)],
            wrong,
        );
        let schemes = [
            ("internal", Scheme::Internal),
            ("internet-facing", Scheme::InternetFacing),
        ];
        let default_scheme = one_of(
            "--default-load-balancer-scheme",
            &self.default_load_balancer_scheme,
            &schemes,
            wrong,
        );
        if self.enable_manage_backend_security_group_rules && !self.enable_backend_security_group {
            wrong.push(
                "--enable-manage-backend-security-group-rules needs --enable-backend-security-group=true".to_owned(),
            );
        }
        let log_json = one_of(
            "--log-format",
            &self.log_format,
            &[("json", true), ("text", false)],
            wrong,
        );
        if let Err(error) = self.log_level.parse::<tracing_subscriber::filter::Targets>() {
            wrong.push(format!(
                "--log-level={}: {error}; write info, debug, or a filter such as info,albacore=debug",
                self.log_level
            ));
        }
        let metrics = address("--metrics-bind-addr", &self.metrics_bind_addr, wrong);
        let health = address("--health-probe-bind-addr", &self.health_probe_bind_addr, wrong);
        let lease = self.enable_leader_election.then(|| {
            let namespace = self.leader_election_namespace.or(self.pod_namespace).filter(|name| !name.is_empty());
            if namespace.is_none() {
                wrong.push(
                    "--leader-election-namespace is missing, and POD_NAMESPACE is not set: write the namespace of the Lease"
                        .to_owned(),
                );
            }
            Lease { namespace: namespace.unwrap_or_default(), name: self.leader_election_id }
        });
        let process = std::process::id();
        Some(Config {
            aws: AwsConfig {
                region: self.aws_region.filter(|region| !region.is_empty()),
                vpc: vpc.map(VpcId::from),
                endpoints,
            },
            budget,
            watch_namespace: self.watch_namespace.filter(|name| !name.is_empty()),
            kubeconfig: self.kubeconfig.filter(|path| !path.as_os_str().is_empty()),
            lease,
            instance: self
                .pod_name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| format!("albacore-{process}")),
            metrics: metrics?,
            health: health?,
            log_filter: self.log_level,
            log_json: log_json?,
            ignored,
            settings: Settings {
                cluster: self.cluster_name,
                vpc: VpcId::from(""),
                ingress_class: self.ingress_class,
                disable_class_annotation: self.disable_ingress_class_annotation,
                disable_group_name_annotation: self.disable_ingress_group_name_annotation,
                default_tags,
                external_managed_tags,
                default_target_type: default_target_type?,
                default_scheme: default_scheme?,
                default_ssl_policy: self.default_ssl_policy,
                backend_security_group: self.enable_backend_security_group,
                manage_backend_rules: self.enable_manage_backend_security_group_rules,
            },
        })
    }

    fn default_tags(&self, wrong: &mut Vec<String>) -> Tags {
        let mut all = Tags::new();
        for pair in self.default_tags.iter().filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((key, _)) if is_tracking(key.trim()) => {
                    wrong.push(format!(
                        "--default-tags: {key} is how albacore finds its resources; leave it out"
                    ));
                }
                Some((key, value)) if !key.trim().is_empty() => {
                    all.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                _ => wrong.push(format!("--default-tags: `{pair}` is not key=value")),
            }
        }
        all
    }
}

fn is_tracking(key: &str) -> bool {
    [tags::CLUSTER, tags::STACK, tags::RESOURCE, tags::SHARED_RESOURCE].contains(&key)
}

fn one_of<T: Copy>(flag: &str, value: &str, choices: &[(&str, T)], wrong: &mut Vec<String>) -> Option<T> {
    let chosen = choices
        .iter()
        .find(|(name, _)| *name == value)
        .map(|(_, choice)| *choice);
    if chosen.is_none() {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        wrong.push(format!("{flag}={value}: write {}", names.join(" or ")));
    }
    chosen
}

/// `:8080` means every address, as in Go.
fn address(flag: &str, text: &str, wrong: &mut Vec<String>) -> Option<SocketAddr> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    let parsed = full.parse();
    if parsed.is_err() {
        wrong.push(format!(
            "{flag}={text} is not an address: write :8080 or 127.0.0.1:8080"
        ));
    }
    parsed.ok()
}

fn endpoints(pairs: &[String], wrong: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut endpoints = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((service, url)) if SERVICES.contains(&service.trim()) && url.contains("://") => {
                endpoints.insert(service.trim().to_owned(), url.trim().to_owned());
            }
            _ => wrong.push(format!(
                "--aws-api-endpoints: `{pair}` is not service=URL; services are {}",
                SERVICES.join(", ")
            )),
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, Wrong> {
        let base = [
            "albacore",
            "--cluster-name=demo",
            "--leader-election-namespace=kube-system",
        ];
        Config::parse(base.iter().chain(arguments).map(|text| (*text).to_owned()))
    }

    #[test]
    fn defaults_are_those_of_albc() {
        let config = parse(&[]).unwrap();
        let settings = config.settings("vpc-1".into());
        assert_eq!(settings.default_target_type, TargetType::Instance);
        assert_eq!(settings.default_scheme, Scheme::Internal);
        assert_eq!(settings.ingress_class, "alb");
        assert!(settings.backend_security_group && !settings.manage_backend_rules);
        assert_eq!(config.metrics.to_string(), "0.0.0.0:8080");
        assert_eq!(
            config.lease,
            Some(Lease {
                namespace: "kube-system".into(),
                name: "aws-load-balancer-controller-leader".into()
            })
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = Config::parse(
            [
                "albacore",
                "--default-target-type=pod",
                "--default-load-balancer-scheme=public",
                "--default-tags=team=web,elbv2.k8s.aws/cluster=x,nonsense",
                "--external-managed-tags=team",
                "--aws-vpc-id=my-vpc",
                "--aws-api-endpoints=ELB=http://x",
                "--aws-budget=nothing",
                "--metrics-bind-addr=here",
                "--log-format=xml",
                "--ingres-class=x",
                "--enable-leader-election=false",
            ]
            .map(str::to_owned),
        )
        .unwrap_err()
        .to_string();
        for part in [
            "--cluster-name",
            "--default-target-type=pod: write instance or ip",
            "--default-load-balancer-scheme=public: write internal or internet-facing",
            "elbv2.k8s.aws/cluster",
            "`nonsense` is not key=value",
            "team is in --default-tags and in --external-managed-tags",
            "--aws-vpc-id=my-vpc",
            "`ELB=http://x`",
            "--aws-budget",
            "--metrics-bind-addr=here",
            "--log-format=xml: write json or text",
            "--ingres-class",
        ] {
            assert!(wrong.contains(part), "{part} is not in:\n{wrong}");
        }
    }

    #[test]
    fn flags_of_albc_are_taken() {
        let config = parse(&[
            "--enable-shield=false",
            "--ingress-max-concurrent-reconciles=10",
            "--sync-period",
            "1h",
            "-ingress-class=internal",
            "--feature-gates=ALBSingleSubnet=false,WeightedTargetGroups=true",
            "--aws-api-endpoints=EC2=http://127.0.0.1:1,Elastic Load Balancing v2=http://127.0.0.1:2",
            "--disable-ingress-class-annotation",
        ])
        .unwrap();
        assert_eq!(config.ignored.len(), 5, "{:?}", config.ignored);
        assert_eq!(config.aws.endpoints["Elastic Load Balancing v2"], "http://127.0.0.1:2");
        let settings = config.settings("vpc-1".into());
        assert_eq!(settings.ingress_class, "internal");
        assert!(settings.disable_class_annotation);
    }
}
