//! Target groups and targets.

use super::{InstanceId, ObjectKey, SecurityGroupRef, Tags};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::IpAddr};

/// A TCP port; never 0.
pub type Port = u16;

/// Identity of a target group within its group: the value of its `ingress.k8s.aws/resource` tag,
/// `<namespace>/<ingress>-<service>:<port>` with the port as the Ingress spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetGroupKey(pub String);

impl fmt::Display for TargetGroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What targets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// Nodes, at the Service's node port.
    Instance,
    /// Pods, at their own address.
    Ip,
}

impl TargetType {
    /// As AWS and the annotation spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Ip => "ip",
        }
    }
}

/// How targets are checked. Seconds and counts as AWS takes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// `traffic-port` or a number.
    pub port: String,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Path, or the method of a gRPC check.
    pub path: String,
    /// Seconds between two checks.
    pub interval_seconds: i32,
    /// Seconds until a check has failed.
    pub timeout_seconds: i32,
    /// Passed checks until an unhealthy target is healthy.
    pub healthy_threshold: i32,
    /// Failed checks until a healthy target is unhealthy.
    pub unhealthy_threshold: i32,
    /// Status codes of a passed check (`200`, `200-299`), or gRPC codes where the version is `GRPC`.
    pub success_codes: String,
}

/// A target group as it should be or is; targets stand beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetGroup {
    /// Counts only when it is created.
    pub name: String,
    /// Nodes or pods; immutable.
    pub target_type: TargetType,
    /// `HTTP` or `HTTPS`; immutable.
    pub protocol: String,
    /// `HTTP1`, `HTTP2` or `GRPC`; immutable.
    pub protocol_version: String,
    /// Its own port, immutable and of no effect: each target is registered with a port.
    pub port: Port,
    /// `ipv4` or `ipv6`; immutable.
    pub ip_address_type: String,
    /// Health check.
    pub health_check: HealthCheck,
    /// The attributes that somebody set.
    pub attributes: BTreeMap<String, String>,
    /// All tags, tracking tags included.
    pub tags: Tags,
}

/// `IpAddressType` of a target group whose targets have IPv4 addresses.
pub const IPV4: &str = "ipv4";
/// `IpAddressType` of a target group whose targets have IPv6 addresses.
pub const IPV6: &str = "ipv6";

impl TargetGroup {
    /// Whether its targets have IPv6 addresses, which only a dual-stack load balancer reaches ("Target groups for your
    /// Application Load Balancers", IP address type).
    pub fn is_ipv6(&self) -> bool {
        self.ip_address_type == IPV6
    }

    /// Whether `self` can become `other` without being replaced.
    pub fn can_become(&self, other: &Self) -> bool {
        self.target_type == other.target_type
            && self.protocol == other.protocol
            && self.protocol_version == other.protocol_version
            && self.ip_address_type == other.ip_address_type
    }
}

/// One target as it is registered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A node and its node port.
    Instance(InstanceId, Port),
    /// A pod and its port.
    Ip(IpAddr, Port),
}

/// What a TargetGroupBinding of a group's own says about a target group: the Service whose endpoints are its targets,
/// and who may reach them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// The Service; the binding stands in its namespace.
    pub service: ObjectKey,
    /// The Service's port, as the Ingress spells it (a number, or a name).
    pub service_port: PortRef,
    /// Labels that a node must have (`target-node-labels`); `None` for all nodes.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Ports that `source` may reach on the targets (target port, health-check port), sorted; `None` when albacore keeps
    /// its hands off the nodes' security groups.
    pub networking: Option<BindingNetworking>,
}

/// Who may reach which ports of the targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BindingNetworking {
    /// The security group the load balancer's requests come from.
    pub source: SecurityGroupRef,
    /// The ports.
    pub ports: Vec<PortRef>,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// A number.
    Number(Port),
    /// A name.
    Name(String),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
