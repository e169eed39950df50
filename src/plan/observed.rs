//! What AWS holds for a unit, as last proven or written: the same words as an intent, with ARNs.

use crate::model::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What AWS holds for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Observed {
    /// The load balancer in use, and while it is being replaced its successor or its predecessor.
    pub load_balancers: Vec<ObservedLoadBalancer>,
    /// Target groups; while one is being replaced, two of them carry the same resource tag.
    pub target_groups: Vec<ObservedTargetGroup>,
    /// The managed security group.
    pub security_group: Option<ObservedSecurityGroup>,
    /// The load balancer that status and DNS names name; memory only, AWS does not know it. `None` when it is not known:
    /// then a predecessor counts as being in use.
    pub current: Option<LoadBalancerArn>,
    /// Load balancers that were current and are kept until nobody finds them by name; memory only.
    pub retired: BTreeSet<LoadBalancerArn>,
    /// Target groups made here that were never seen ready; memory only. Nothing is switched to them before.
    pub warming: BTreeSet<TargetGroupArn>,
    /// Keys of attributes that steps set, or may have set if they were never heard of again, by ARN, those of what was
    /// about to be made under no name; memory only. AWS tells all attributes, whoever set them: these are ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attempted: BTreeMap<String, BTreeSet<String>>,
}

impl Observed {
    /// Whether AWS holds nothing.
    pub fn is_nothing(&self) -> bool {
        self.load_balancers.is_empty() && self.target_groups.is_empty() && self.security_group.is_none()
    }

    /// How many things AWS holds that serve: load balancers, listeners, rules, target groups.
    pub fn size(&self) -> usize {
        let listeners = self.load_balancers.iter().flat_map(|lb| lb.listeners.values());
        let rules: usize = listeners.map(|listener| 1 + listener.rules.len()).sum();
        self.load_balancers.len() + rules + self.target_groups.len()
    }

    /// ARNs and ids of what lives by itself; listeners and rules go with their load balancer.
    pub fn ids(&self) -> BTreeSet<&str> {
        let load_balancers = self.load_balancers.iter().map(|lb| lb.arn.as_str());
        load_balancers
            .chain(self.target_groups.iter().map(|group| group.arn.as_str()))
            .chain(self.security_group.iter().map(|group| group.id.as_str()))
            .collect()
    }
}

/// A load balancer, its listeners and their rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedLoadBalancer {
    /// ARN.
    pub arn: LoadBalancerArn,
    /// DNS name, as AWS writes it.
    pub dns_name: String,
    /// Zone of that name.
    pub hosted_zone: HostedZoneId,
    /// What it is like.
    pub load_balancer: LoadBalancer<SecurityGroupId>,
    /// Whether somebody protects it from deletion, whoever that is.
    #[serde(default)]
    pub protected: bool,
    /// By port.
    pub listeners: BTreeMap<Port, ObservedListener>,
}

/// A listener. `listener.rules` is empty; its rules stand here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedListener {
    /// ARN.
    pub arn: ListenerArn,
    /// What it is like, without rules.
    pub listener: Listener<TargetGroupArn>,
    /// Its rules but the default one, by priority.
    pub rules: Vec<ObservedRule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedRule {
    /// ARN.
    pub arn: RuleArn,
    /// Its place.
    pub priority: Priority,
    /// What it is like.
    pub rule: Rule<TargetGroupArn>,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedTargetGroup {
    /// ARN.
    pub arn: TargetGroupArn,
    /// What it is like.
    pub group: TargetGroup,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedSecurityGroup {
    /// Id.
    pub id: SecurityGroupId,
    /// What it is like.
    pub group: SecurityGroup,
}

/// What AWS holds for the cluster network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkObserved {
    /// The shared backend security group.
    pub backend: Option<ObservedSecurityGroup>,
    /// Our rules (those with our description) on nodes' and pods' groups.
    pub endpoint_rules: BTreeMap<SecurityGroupId, BTreeSet<Permission>>,
}

impl NetworkObserved {
    /// Whether nothing of `other` is missing here.
    pub fn has_all_of(&self, other: &Self) -> bool {
        let of = |group: &SecurityGroupId| self.endpoint_rules.get(group).cloned().unwrap_or_default();
        (other.backend.is_none() || self.backend.is_some())
            && other
                .endpoint_rules
                .iter()
                .all(|(group, rules)| rules.is_subset(&of(group)))
    }
}

/// The targets of one target group, as last proven or written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetsObserved {
    /// Registered and not draining.
    pub registered: BTreeSet<Target>,
}
