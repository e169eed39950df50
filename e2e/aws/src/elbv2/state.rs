//! What elbv2 keeps, as the data plane and the tests may look at it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Attributes of a load balancer, listener or target group, by key; complete, with AWS' defaults.
pub type Attributes = BTreeMap<String, String>;

/// All of elbv2 in one region of one account, by ARN.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Load balancers.
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    /// Target groups.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// Listeners.
    pub listeners: BTreeMap<String, Listener>,
    /// Rules, default rules among them.
    pub rules: BTreeMap<String, Rule>,
    /// Tags of all of these.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Quotas that differ from AWS' defaults, by name.
    pub quotas: BTreeMap<String, u64>,
}

/// An Application Load Balancer.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct LoadBalancer {
    pub arn: String,
    pub name: String,
    pub dns_name: String,
    pub scheme: String,
    pub vpc: String,
    /// One subnet per zone, sorted by zone.
    pub zones: Vec<Zone>,
    pub security_groups: Vec<String>,
    pub ip_address_type: String,
    pub created: Timestamp,
    /// `provisioning` before, `active` from then on.
    pub active_at: Timestamp,
    pub attributes: Attributes,
}

impl LoadBalancer {
    /// Whether it serves traffic.
    pub fn is_active(&self, now: Timestamp) -> bool {
        now >= self.active_at
    }
}

/// Where a load balancer has a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Such as `eu-west-1a`.
    pub name: String,
    /// The subnet in that zone.
    pub subnet: String,
    /// The node's network interface in that subnet; its address is in ec2.
    pub interface: String,
}

/// A listener; its default actions are those of its default rule.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Listener {
    pub arn: String,
    pub load_balancer: String,
    pub port: u16,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    pub ssl_policy: Option<String>,
    /// ARN of the default certificate.
    pub certificate: Option<String>,
    /// ARNs of the certificate list (for SNI), in the order they were added.
    pub certificate_list: Vec<String>,
    /// As given, with `Mode`.
    pub mutual_authentication: Option<Value>,
    pub attributes: Attributes,
    /// ARN of the rule without priority.
    pub default_rule: String,
}

/// A rule of a listener.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Rule {
    pub arn: String,
    pub listener: String,
    /// None for the default rule.
    pub priority: Option<u32>,
    pub conditions: Vec<Condition>,
    /// By their order; the last one routes.
    pub actions: Vec<Action>,
    pub transforms: Vec<Value>,
}

/// A condition in the form in which AWS answers it: `Values` mirrors the configuration of hosts and paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Condition {
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_values: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_header_config: Option<Strings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_pattern_config: Option<Strings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_header_config: Option<HttpHeader>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_string_config: Option<QueryString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_request_method_config: Option<Strings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip_config: Option<Strings>,
}

/// Strings, any of which matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Strings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_values: Option<Vec<String>>,
}

/// A header and strings, any of which matches its value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct HttpHeader {
    pub http_header_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_values: Option<Vec<String>>,
}

/// Keys and values of a query string, any of which matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueryString {
    /// Pairs, any of which matches.
    #[serde(default)]
    pub values: Vec<KeyValue>,
}

/// A key and value of a query string; without a key, any key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct KeyValue {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// An action in the form in which AWS answers it: defaults filled in, `TargetGroupArn` mirrors a forward to one group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Action {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_group_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_config: Option<Forward>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_config: Option<Redirect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_response_config: Option<FixedResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate_oidc_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticate_cognito_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_validation_config: Option<Value>,
}

/// Target groups that share the requests of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Forward {
    #[serde(default)]
    pub target_groups: Vec<Weighted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_group_stickiness_config: Option<Stickiness>,
}

/// A target group and its share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Weighted {
    #[serde(default)]
    pub target_group_arn: String,
    /// 0 to 999; always there once stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

/// Whether a client stays with a target group of a weighted forward.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Stickiness {
    #[serde(default)]
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,
}

/// Where a redirect leads; all parts are there once stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct Redirect {
    pub protocol: Option<String>,
    pub port: Option<String>,
    pub host: Option<String>,
    pub path: Option<String>,
    pub query: Option<String>,
    pub status_code: String,
}

/// What a fixed response says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct FixedResponse {
    pub status_code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_body: Option<String>,
}

/// A target group with its targets.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct TargetGroup {
    pub arn: String,
    pub name: String,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// `HTTP1`, `HTTP2` or `GRPC`.
    pub protocol_version: String,
    pub port: u16,
    pub vpc: String,
    /// `instance` or `ip`.
    pub target_type: String,
    pub ip_address_type: String,
    pub health_check: HealthCheck,
    pub attributes: Attributes,
    pub targets: BTreeMap<TargetKey, Target>,
    /// The load balancer whose rules forward to it; there is one at most.
    pub load_balancer: Option<String>,
    /// Since when.
    pub in_use_since: Option<Timestamp>,
}

/// How targets are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub struct HealthCheck {
    #[serde(rename = "HealthCheckProtocol")]
    pub protocol: String,
    /// `traffic-port` or a number.
    #[serde(rename = "HealthCheckPort")]
    pub port: String,
    #[serde(rename = "HealthCheckPath")]
    pub path: String,
    #[serde(rename = "HealthCheckIntervalSeconds")]
    pub interval: u32,
    #[serde(rename = "HealthCheckTimeoutSeconds")]
    pub timeout: u32,
    pub healthy_threshold_count: u32,
    pub unhealthy_threshold_count: u32,
    /// `{"HttpCode": "200"}` or `{"GrpcCode": "12"}`.
    pub matcher: BTreeMap<String, String>,
}

/// What makes a target: the same id may be registered with several ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetKey {
    /// Instance id or address.
    pub id: String,
    /// The port it listens on.
    pub port: u16,
}

/// A registered or draining target.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Zone, for addresses; `all` for one outside the VPC.
    pub zone: Option<String>,
    /// When it was registered.
    pub registered: Timestamp,
    /// When it was deregistered, if it was; it drains from then on.
    pub deregistered: Option<Timestamp>,
    /// The last word on its health, if anybody said one.
    pub report: Option<HealthReport>,
    /// When that was said.
    pub reported: Option<Timestamp>,
}

/// What health checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthReport {
    /// Checks pass.
    Healthy,
    /// Checks fail.
    Unhealthy {
        /// Such as `Target.ResponseCodeMismatch`, `Target.Timeout`, `Target.FailedHealthChecks`.
        reason: String,
        /// Such as `Health checks failed with these codes: [500]`.
        description: String,
    },
}

impl TargetGroup {
    /// How long a deregistered target drains.
    pub fn deregistration_delay(&self) -> Duration {
        let seconds = self.attributes.get("deregistration_delay.timeout_seconds");
        Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(300))
    }

    /// Notes what health checks found; whether that is news.
    pub fn report(&mut self, target: &TargetKey, report: HealthReport, now: Timestamp) -> bool {
        let used = self.in_use_since;
        let Some(target) = self.targets.get_mut(target) else {
            return false;
        };
        let known = target.counted(used).is_some_and(|before| *before == report);
        (target.report, target.reported) = (Some(report), Some(now));
        !known
    }
}

impl Target {
    /// Whether health checks found it healthy before it drained.
    pub fn was_healthy(&self, group: &TargetGroup) -> bool {
        self.counted(group.in_use_since) == Some(&HealthReport::Healthy)
    }

    /// The last word on its health, unless that was said before the target group came into its present use.
    pub fn counted(&self, in_use_since: Option<Timestamp>) -> Option<&HealthReport> {
        self.report.as_ref().filter(|_| self.reported >= in_use_since)
    }
}
