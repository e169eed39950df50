//! What one member wishes, complete and by itself: what is remembered of it while it is broken.

use crate::{
    model::{
        Action, CertificateArn, Condition, IpAddressType, ListenerProtocol, ObjectKey, Port, Scheme, SubnetSelector,
        TargetGroupKey,
    },
    plan::intent::IntendedTargetGroup,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The wishes of one Ingress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contribution {
    /// `group.order`.
    pub order: i32,
    /// What it says about the load balancer it shares.
    pub shared: Shared,
    /// Listeners, by port.
    pub listeners: BTreeMap<Port, ListenerWish>,
    /// Target groups that its rules name.
    pub target_groups: BTreeMap<TargetGroupKey, IntendedTargetGroup>,
}

impl Contribution {
    /// A Service whose addresses are IPv6, which only a dual-stack load balancer reaches.
    pub fn ipv6_service(&self) -> Option<&ObjectKey> {
        let wanted = self.target_groups.values().find(|wanted| wanted.group.is_ipv6())?;
        Some(&wanted.binding.service)
    }

    /// How many things AWS holds for it alone, at most: rules, target groups.
    pub fn size(&self) -> usize {
        let rules: usize = self.listeners.values().map(|listener| listener.rules.len()).sum();
        rules + self.target_groups.len()
    }

    /// Whether the load balancer needs IPv6 addresses because of it.
    pub fn wants_ipv6(&self) -> bool {
        self.shared.ip_address_type.is_some_and(IpAddressType::has_ipv6) || self.ipv6_service().is_some()
    }
}

/// What a member says about what the group shares. `None` is no opinion; two opinions are a conflict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shared {
    /// `load-balancer-name`.
    pub name: Option<String>,
    /// `scheme`.
    pub scheme: Option<Scheme>,
    /// `ip-address-type`.
    pub ip_address_type: Option<IpAddressType>,
    /// `subnets`.
    pub subnets: Option<SubnetSelector>,
    /// `security-groups`.
    pub security_groups: Option<Vec<String>>,
    /// `manage-backend-security-group-rules`.
    pub manage_backend_rules: Option<bool>,
    /// `ssl-redirect`.
    pub ssl_redirect: Option<Port>,
    /// `load-balancer-attributes`.
    pub attributes: BTreeMap<String, String>,
    /// `loadBalancerAttributes` of the class; those of the first member's class count, over all annotations.
    pub class_attributes: BTreeMap<String, String>,
    /// `tags`, those of the class first.
    pub tags: BTreeMap<String, String>,
    /// `albacore.dev/replace: delete-first`.
    pub delete_first: bool,
}

/// A member's part of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerWish {
    /// HTTP or HTTPS.
    pub protocol: ListenerProtocol,
    /// Certificates in the user's order; HTTPS only.
    pub certificates: Vec<CertificateArn>,
    /// `ssl-policy`; HTTPS only.
    pub ssl_policy: Option<String>,
    /// `inbound-cidrs`.
    pub inbound: Option<BTreeSet<IpNet>>,
    /// `spec.defaultBackend`.
    pub default_actions: Option<Vec<Action<TargetGroupKey>>>,
    /// Rules in their order.
    pub rules: Vec<RuleWish>,
}

/// A rule without its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleWish {
    /// Host before path.
    pub conditions: Vec<Condition>,
    /// What is done.
    pub actions: Vec<Action<TargetGroupKey>>,
}
