//! The flags, as text.

use clap::Parser;

/// What the command line and the environment say, as text: what a text means, and whether it means anything, is decided
/// for all of them at once afterwards. Each flag is also an environment variable: `ALBACORE_` and its name in capitals.
#[derive(Debug, Parser)]
#[command(
    name = "albacore",
    version,
    about = "Turns Kubernetes Ingresses into AWS load balancers, inside an AWS API-call budget",
    after_help = "`albacore migrate check`, with the same flags and --output=text or json, tells what would change if albacore \
                  took over from the AWS Load Balancer Controller, and changes nothing.\n\n\
                  Flags of the AWS Load Balancer Controller that only tune it are taken and do nothing; a flag that would \
                  change what is made, and that albacore does not have, is refused.",
    disable_help_subcommand = true,
    args_override_self = true
)]
pub(super) struct Flags {
    /// Name of the cluster, as tags of AWS resources carry it
    #[arg(long, env = "ALBACORE_CLUSTER_NAME", default_value = "", hide_default_value = true)]
    pub cluster_name: String,
    /// AWS region; found by instance metadata when not given
    #[arg(long, env = "ALBACORE_AWS_REGION")]
    pub aws_region: Option<String>,
    /// VPC of the cluster; found by instance metadata when not given
    #[arg(long, env = "ALBACORE_AWS_VPC_ID")]
    pub aws_vpc_id: Option<String>,
    /// Other endpoints of AWS services: `EC2=https://…,Elastic Load Balancing v2=https://…`; that of STS is set by
    /// $AWS_ENDPOINT_URL_STS, because the SDK's credential providers read no flag
    #[arg(long, env = "ALBACORE_AWS_API_ENDPOINTS", value_delimiter = ',')]
    pub aws_api_endpoints: Vec<String>,
    /// Sizes of token buckets where the account has others than AWS documents, as tokens a second and tokens at most:
    /// `elasticloadbalancing.register=4:20`; or as a share of that: `elasticloadbalancing.account=50%`
    #[arg(long, env = "ALBACORE_AWS_BUDGET", value_delimiter = ',')]
    pub aws_budget: Vec<String>,
    /// Look in the background, with calls that nobody else wants, for what somebody else changed in AWS
    #[arg(long, env = "ALBACORE_AUDIT", default_value = "true")]
    pub audit: String,
    /// Value of the `kubernetes.io/ingress.class` annotation that is ours; when empty, Ingresses without a class are too
    #[arg(long, env = "ALBACORE_INGRESS_CLASS", default_value = "alb")]
    pub ingress_class: String,
    /// Ignore new uses of the `kubernetes.io/ingress.class` annotation
    #[arg(long, env = "ALBACORE_DISABLE_INGRESS_CLASS_ANNOTATION", default_value = "false")]
    pub disable_ingress_class_annotation: String,
    /// Refuse new uses of the `group.name` annotation
    #[arg(
        long,
        env = "ALBACORE_DISABLE_INGRESS_GROUP_NAME_ANNOTATION",
        default_value = "false"
    )]
    pub disable_ingress_group_name_annotation: String,
    /// Tags of every AWS resource: `team=web,stage=prod`
    #[arg(long, env = "ALBACORE_DEFAULT_TAGS", value_delimiter = ',')]
    pub default_tags: Vec<String>,
    /// Keys of tags that somebody else manages: neither set nor removed
    #[arg(long, env = "ALBACORE_EXTERNAL_MANAGED_TAGS", value_delimiter = ',')]
    pub external_managed_tags: Vec<String>,
    /// Target type of Ingresses that name none: `instance` or `ip`
    #[arg(long, env = "ALBACORE_DEFAULT_TARGET_TYPE", default_value = "instance")]
    pub default_target_type: String,
    /// Scheme of Ingresses that name none: `internal` or `internet-facing`
    #[arg(long, env = "ALBACORE_DEFAULT_LOAD_BALANCER_SCHEME", default_value = "internal")]
    pub default_load_balancer_scheme: String,
    /// Security policy of HTTPS listeners that name none
    #[arg(
        long,
        env = "ALBACORE_DEFAULT_SSL_POLICY",
        default_value = "ELBSecurityPolicy-2016-08"
    )]
    pub default_ssl_policy: String,
    /// Let load balancers reach targets through one shared security group
    #[arg(long, env = "ALBACORE_ENABLE_BACKEND_SECURITY_GROUP", default_value = "true")]
    pub enable_backend_security_group: String,
    /// Open nodes and pods also to load balancers with security groups of their own
    #[arg(
        long,
        env = "ALBACORE_ENABLE_MANAGE_BACKEND_SECURITY_GROUP_RULES",
        default_value = "false"
    )]
    pub enable_manage_backend_security_group_rules: String,
    /// Watch one namespace only
    #[arg(long, env = "ALBACORE_WATCH_NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// Path of a kubeconfig; else that of $KUBECONFIG, else the pod's service account
    #[arg(long, env = "ALBACORE_KUBECONFIG")]
    pub kubeconfig: Option<String>,
    /// Take turns with other replicas (and with the AWS Load Balancer Controller) through a Lease
    #[arg(long, env = "ALBACORE_ENABLE_LEADER_ELECTION", default_value = "true")]
    pub enable_leader_election: String,
    /// Name of the Lease; the AWS Load Balancer Controller's by default, so that only one of the two ever acts
    #[arg(
        long,
        env = "ALBACORE_LEADER_ELECTION_ID",
        default_value = "aws-load-balancer-controller-leader"
    )]
    pub leader_election_id: String,
    /// Namespace of the Lease; the pod's own when not given
    #[arg(long, env = "ALBACORE_LEADER_ELECTION_NAMESPACE")]
    pub leader_election_namespace: Option<String>,
    /// Namespace of this pod (downward API)
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,
    /// Name of this pod (downward API); says in the Lease and in Events who it was
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Name of this machine, where the pod's is not told
    #[arg(long, env = "HOSTNAME", hide = true)]
    pub hostname: Option<String>,
    /// Where metrics are served
    #[arg(long, env = "ALBACORE_METRICS_BIND_ADDR", default_value = ":8080")]
    pub metrics_bind_addr: String,
    /// Where /healthz and /readyz are served
    #[arg(long, env = "ALBACORE_HEALTH_PROBE_BIND_ADDR", default_value = ":61779")]
    pub health_probe_bind_addr: String,
    /// Port of the webhook
    #[arg(long, env = "ALBACORE_WEBHOOK_BIND_PORT", default_value = "9443")]
    pub webhook_bind_port: String,
    /// Name of the MutatingWebhookConfiguration whose webhooks are answered, with a certificate that albacore makes itself:
    /// it is kept in the Secret of that name and `-keys`, and is one of the Service of that name and `-service`
    #[arg(long, env = "ALBACORE_WEBHOOK_NAME")]
    pub webhook_name: Option<String>,
    /// Folder with the webhook's certificate, where somebody else makes it; read again when it changes
    #[arg(long, env = "ALBACORE_WEBHOOK_CERT_DIR")]
    pub webhook_cert_dir: Option<String>,
    /// File of that folder with the certificate
    #[arg(long, env = "ALBACORE_WEBHOOK_CERT_FILE", default_value = "tls.crt")]
    pub webhook_cert_file: String,
    /// File of that folder with its key
    #[arg(long, env = "ALBACORE_WEBHOOK_KEY_FILE", default_value = "tls.key")]
    pub webhook_key_file: String,
    /// Let pods be ready only when their load balancers find them healthy, where the label for it is set
    #[arg(long, env = "ALBACORE_ENABLE_POD_READINESS_GATE_INJECT", default_value = "true")]
    pub enable_pod_readiness_gate_inject: String,
    /// Seconds for which pods go on serving after they are deleted, where albacore.dev/deregister-before-terminate is set
    #[arg(long, env = "ALBACORE_DEREGISTER_SECONDS", default_value = "30")]
    pub deregister_seconds: String,
    /// `info`, `debug`, or a filter such as `info,albacore::plan=debug`
    #[arg(long, env = "ALBACORE_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// `json` or `text`
    #[arg(long, env = "ALBACORE_LOG_FORMAT", default_value = "json")]
    pub log_format: String,
}

/// Flags that say yes or no; given without a value, they say yes.
pub(super) const SWITCHES: [&str; 7] = [
    "audit",
    "disable-ingress-class-annotation",
    "disable-ingress-group-name-annotation",
    "enable-backend-security-group",
    "enable-manage-backend-security-group-rules",
    "enable-leader-election",
    "enable-pod-readiness-gate-inject",
];
