//! The load balancer itself.

use super::{SecurityGroupRef, SubnetId, Tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a load balancer has public addresses. Immutable in AWS: a change replaces the load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Private addresses only.
    Internal,
    /// Public addresses.
    InternetFacing,
}

impl Scheme {
    /// As AWS and the annotation spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::InternetFacing => "internet-facing",
        }
    }
}

/// Which IP versions clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpAddressType {
    /// IPv4 only.
    Ipv4,
    /// IPv4 and IPv6.
    Dualstack,
    /// Public IPv6 and private IPv4.
    DualstackWithoutPublicIpv4,
}

impl IpAddressType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ipv4, Self::Dualstack, Self::DualstackWithoutPublicIpv4];

    /// Whether the load balancer has IPv6 addresses: for clients that may use them, and for targets that have no others.
    pub fn has_ipv6(self) -> bool {
        self != Self::Ipv4
    }

    /// As AWS and the annotation spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Dualstack => "dualstack",
            Self::DualstackWithoutPublicIpv4 => "dualstack-without-public-ipv4",
        }
    }
}

/// An Application Load Balancer without its listeners. `S` is how its security groups are named: by
/// [`SecurityGroupRef`] where some are still to be made, by id where AWS answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer<S = SecurityGroupRef> {
    /// Up to 32 characters; counts only when it is created.
    pub name: String,
    /// Public or not.
    pub scheme: Scheme,
    /// IP versions.
    pub ip_address_type: IpAddressType,
    /// One subnet a zone, sorted by id.
    pub subnets: Vec<SubnetId>,
    /// In the order in which AWS was told: the managed or the user's groups, then the backend group.
    pub security_groups: Vec<S>,
    /// The attributes that somebody set; others are AWS' business.
    pub attributes: BTreeMap<String, String>,
    /// All tags, tracking tags included.
    pub tags: Tags,
}

/// The attribute that forbids AWS to delete a load balancer ("Deletion protection", Application Load Balancers user guide).
pub const DELETION_PROTECTION: &str = "deletion_protection.enabled";

impl<S> LoadBalancer<S> {
    /// Whether its attributes protect it from deletion.
    pub fn is_protected(&self) -> bool {
        self.attributes
            .get(DELETION_PROTECTION)
            .is_some_and(|value| value == "true")
    }
}
