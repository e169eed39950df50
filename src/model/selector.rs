//! What users name instead of ids, and what it stood for when last looked up.

use super::{CertificateArn, ObjectKey, Scheme, SecurityGroupId, SubnetId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How subnets are chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SubnetSelector {
    /// By role tag (`kubernetes.io/role/elb`, `kubernetes.io/role/internal-elb`), else by reachability.
    Discover(Scheme),
    /// By id (`subnet-…`) or by the value of the `Name` tag, in the user's order.
    Named(Vec<String>),
    /// By tags: keys must all match, each with one of its values (`subnets.tags` of IngressClassParams).
    Tagged(BTreeMap<String, Vec<String>>),
}

/// Everything in an intent that only AWS can turn into ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selectors {
    /// Subnets of the load balancer, and whether they need an IPv6 block.
    pub subnets: SubnetSelector,
    /// Whether subnets need an IPv6 block (dual-stack load balancers).
    pub ipv6: bool,
    /// The user's security groups, by id (`sg-…`) or `Name` tag, in the user's order; empty for managed ones.
    pub security_groups: Vec<String>,
    /// Certificates, with the members that named them: one that does not exist blocks those members.
    pub certificates: BTreeMap<CertificateArn, BTreeSet<ObjectKey>>,
    /// The members that named subnets and security groups, whose problem it is when they cannot be found.
    pub subnets_by: BTreeSet<ObjectKey>,
    /// Likewise for security groups.
    pub security_groups_by: BTreeSet<ObjectKey>,
    /// The members because of which subnets need an IPv6 block.
    #[serde(default)]
    pub ipv6_by: BTreeSet<ObjectKey>,
}

/// What selectors stood for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// Sorted by id.
    pub subnets: Vec<SubnetId>,
    /// In the user's order.
    pub security_groups: Vec<SecurityGroupId>,
}
