//! Security groups and their ingress rules.

use super::{SecurityGroupId, Tags};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A security group of a load balancer, some of which may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecurityGroupRef {
    /// One that a user named, resolved.
    Id(SecurityGroupId),
    /// The group's own managed one.
    Managed,
    /// The cluster's shared backend group.
    Backend,
}

/// Where traffic comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Peer {
    /// An address range.
    Cidr(IpNet),
    /// Members of a security group.
    Group(SecurityGroupId),
    /// A prefix list, `pl-…`.
    PrefixList(String),
}

/// One ingress rule: exactly one peer and one port range, the finest grain AWS knows, so that sets compare.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// `tcp`, or as AWS told it.
    pub protocol: String,
    /// First and last port; `None` where the protocol has none.
    pub ports: Option<(u16, u16)>,
    /// Where traffic comes from.
    pub peer: Peer,
    /// Description; empty and absent are the same.
    pub description: String,
}

/// A security group with its ingress rules, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityGroup {
    /// Unique within the VPC; immutable.
    pub name: String,
    /// Immutable.
    pub description: String,
    /// Ingress rules, sorted, without duplicates.
    pub ingress: Vec<Permission>,
    /// All tags, tracking tags included.
    pub tags: Tags,
}

/// Description of a group's managed security group.
pub const MANAGED_DESCRIPTION: &str = "[k8s] Managed SecurityGroup for LoadBalancer";
/// Description of the shared backend security group.
pub const BACKEND_DESCRIPTION: &str = "[k8s] Shared Backend SecurityGroup for LoadBalancer";
/// Marks the rules on nodes' and pods' groups that are ours to revoke.
pub const ENDPOINT_RULE_DESCRIPTION: &str = "elbv2.k8s.aws/targetGroupBinding=shared";
