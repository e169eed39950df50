//! Flags and environment → typed configuration. Every error of a bad configuration is told at once.
//!
//! ```text
//!  arguments ─► sort: ours, ALBC's that do nothing, wrong ─► flags (text, with environment and defaults) ─► check ─► Config
//!                                                 └────────────────────────────────────────────────────────┴─► Wrong
//! ```

mod albc;
mod command;
mod flags;
mod value;
mod webhook;

pub use command::Command;
pub use webhook::{Certificate, SECONDS as DEREGISTER_SECONDS, Webhook};

use crate::{
    aws::AwsConfig,
    budget::BudgetOverride,
    model::{Scheme, Settings, TargetType, VpcId},
};
use clap::{CommandFactory, Parser};
use flags::Flags;
use std::{
    collections::BTreeSet,
    fmt,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    path::PathBuf,
};
use tracing_subscriber::filter::{LevelFilter, Targets};
use value::Check;

/// Where a pod finds its namespace ("Accessing the Kubernetes API from a Pod", Kubernetes documentation).
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// AWS.
    pub aws: AwsConfig,
    /// Buckets of another size than documented.
    pub budget: Vec<BudgetOverride>,
    /// `--audit`.
    pub audits: bool,
    /// `--watch-namespace`.
    pub watch_namespace: Option<String>,
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// The Lease; `None` for a process that leads alone.
    pub lease: Option<Lease>,
    /// The webhook; `None` where there is none.
    pub webhook: Option<Webhook>,
    /// What this process is called in the Lease and in Events: the pod, and what tells one of its processes from the next.
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
    /// What this process is to do, and how; prints help and version, and exits, where these are asked for.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn from_environment() -> Result<(Command, Self), Wrong> {
        let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        let namespace = std::fs::read_to_string(POD_NAMESPACE).unwrap_or_default();
        let (command, arguments) = Command::take(arguments.collect())?;
        Ok((command, Self::parse(arguments, namespace.trim())?))
    }

    /// `namespace` is the pod's, where nothing else says it; empty outside a pod.
    fn parse(arguments: impl IntoIterator<Item = String>, namespace: &str) -> Result<Self, Wrong> {
        let (mut check, mut ignored) = (Check::default(), Vec::new());
        let arguments = sort(arguments, &mut check, &mut ignored);
        let flags = match Flags::try_parse_from(arguments) {
            Ok(flags) => flags,
            Err(error) if error.use_stderr() => {
                let text = error.render().to_string();
                check.wrong(text.trim_start_matches("error: ").trim_end().to_owned());
                return Err(Wrong(check.0));
            }
            Err(asked) => asked.exit(),
        };
        let config = flags.check(namespace, ignored, &mut check);
        if check.0.is_empty() {
            Ok(config)
        } else {
            Err(Wrong(check.0))
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

/// Our flags as `--name=value`; others are ALBC's that do nothing, or wrong.
fn sort(arguments: impl IntoIterator<Item = String>, check: &mut Check, ignored: &mut Vec<String>) -> Vec<String> {
    let command = Flags::command();
    let names: BTreeSet<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let mut arguments = arguments.into_iter().peekable();
    let mut ours: Vec<String> = arguments.next().into_iter().collect();
    while let Some(argument) = arguments.next() {
        // Go's flags take one dash as well as two.
        let Some(bare) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            check.wrong(format!("`{argument}` belongs to no flag; write --FLAG=VALUE"));
            continue;
        };
        if ["h", "help", "V", "version"].contains(&bare) {
            ours.push(argument);
            continue;
        }
        let is_ours = |name: &str| names.contains(name);
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None if flags::SWITCHES.contains(&bare) || (!is_ours(bare) && albc::is_switch(bare)) => {
                (bare, "true".to_owned())
            }
            None => match arguments.next_if(|next| !next.starts_with('-')) {
                Some(value) => (bare, value),
                None if is_ours(bare) => {
                    check.wrong(format!("--{bare} has no value; write --{bare}=VALUE"));
                    continue;
                }
                None => (bare, String::new()),
            },
        };
        if is_ours(name) {
            ours.push(format!("--{name}={value}"));
        } else if let Err(wrong) = albc::take(name, &value, ignored) {
            wrong.into_iter().for_each(|wrong| check.wrong(wrong));
        }
    }
    ours
}

impl Flags {
    /// What it all means; what means nothing is noted in `check`, and stands for nothing in the result.
    fn check(self, namespace: &str, mut ignored: Vec<String>, check: &mut Check) -> Config {
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let of_pod = filled(self.pod_namespace.clone()).or_else(|| filled(Some(namespace.to_owned())));
        let webhook = self.webhook(of_pod.as_deref(), check);
        if self.cluster_name.is_empty() {
            check.wrong(
                "--cluster-name is missing: write the name that AWS resources of this cluster are tagged with"
                    .to_owned(),
            );
        }
        let endpoints = check.endpoints(&self.aws_api_endpoints, &mut ignored);
        let default_tags = check.default_tags(&self.default_tags);
        let external_managed_tags = check.external_tags(&self.external_managed_tags, &default_tags);
        let mut budget = Vec::new();
        for text in self.aws_budget.iter().filter(|text| !text.is_empty()) {
            match text.parse() {
                Ok(chosen) => budget.push(chosen),
                Err(error) => check.wrong(format!("--aws-budget: {error}")),
            }
        }
        let vpc = filled(self.aws_vpc_id);
        if let Some(id) = vpc.as_ref().filter(|id| !is_vpc(id)) {
            check.wrong(format!(
                "--aws-vpc-id={id} is not the id of a VPC: write one such as vpc-0123456789abcdef0"
            ));
        }
        let types = [("instance", TargetType::Instance), ("ip", TargetType::Ip)];
        let default_target_type = check.one_of("default-target-type", &self.default_target_type, types);
        let schemes = [Scheme::Internal, Scheme::InternetFacing].map(|scheme| (scheme.name(), scheme));
        let scheme = &self.default_load_balancer_scheme;
        let default_scheme = check.one_of("default-load-balancer-scheme", scheme, schemes);
        let shared = "enable-backend-security-group";
        let backend_security_group = check.switch(shared, &self.enable_backend_security_group);
        let managed = "enable-manage-backend-security-group-rules";
        let manage_backend_rules = check.switch(managed, &self.enable_manage_backend_security_group_rules);
        if manage_backend_rules && !backend_security_group {
            check.wrong(format!("--{managed}=true needs --{shared}=true; change one of them"));
        }
        if !is_filter(&self.log_level) {
            check.wrong(format!(
                "--log-level={}: write info, debug, or a filter such as info,albacore::plan=debug",
                self.log_level
            ));
        }
        let elects = check.switch("enable-leader-election", &self.enable_leader_election);
        let lease = elects.then(|| Lease {
            namespace: filled(self.leader_election_namespace).or(of_pod).unwrap_or_else(|| {
                check.wrong(
                    "--leader-election-namespace is missing, and this is not a pod: write the namespace of the Lease, \
                     or --enable-leader-election=false for a process by itself"
                        .to_owned(),
                );
                String::new()
            }),
            name: self.leader_election_id,
        });
        // A container that is started again keeps the pod's name, and two containers without one are both process 1.
        let unique = RandomState::new().hash_one(std::process::id()) as u32;
        let name = filled(self.pod_name).or_else(|| filled(self.hostname));
        Config {
            aws: AwsConfig {
                region: filled(self.aws_region),
                vpc: vpc.map(VpcId::from),
                endpoints,
            },
            budget,
            audits: check.switch("audit", &self.audit),
            watch_namespace: filled(self.watch_namespace),
            kubeconfig: filled(self.kubeconfig).map(PathBuf::from),
            lease,
            webhook,
            instance: format!("{}_{unique:08x}", name.as_deref().unwrap_or("albacore")),
            metrics: check.address("metrics-bind-addr", &self.metrics_bind_addr),
            health: check.address("health-probe-bind-addr", &self.health_probe_bind_addr),
            log_filter: self.log_level,
            log_json: check.one_of("log-format", &self.log_format, [("json", true), ("text", false)]),
            ignored,
            settings: Settings {
                cluster: self.cluster_name,
                vpc: VpcId::from(""),
                ingress_class: self.ingress_class,
                disable_class_annotation: check.switch(
                    "disable-ingress-class-annotation",
                    &self.disable_ingress_class_annotation,
                ),
                disable_group_name_annotation: check.switch(
                    "disable-ingress-group-name-annotation",
                    &self.disable_ingress_group_name_annotation,
                ),
                default_tags,
                external_managed_tags,
                default_target_type,
                default_scheme,
                default_ssl_policy: self.default_ssl_policy,
                backend_security_group,
                manage_backend_rules,
            },
        }
    }
}

fn is_vpc(id: &str) -> bool {
    id.strip_prefix("vpc-")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether a text is a filter of logs. A word by itself is a level: as a target it would silence everything else.
fn is_filter(text: &str) -> bool {
    text.parse::<Targets>().is_ok()
        && text.split(',').any(|part| !part.is_empty())
        && text
            .split(',')
            .all(|part| part.contains('=') || part.parse::<LevelFilter>().is_ok())
}

#[cfg(test)]
mod tests;
