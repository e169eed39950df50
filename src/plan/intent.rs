//! What should be, complete and resolved.

use crate::model::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A group's load balancer as its members asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// The VPC everything is made in.
    pub vpc: VpcId,
    /// The load balancer; `None` for a group whose last member has left: everything goes.
    pub load_balancer: Option<LoadBalancer>,
    /// The managed security group; `None` where the user named groups.
    pub security_group: Option<SecurityGroup>,
    /// Listeners with their rules, by port.
    pub listeners: BTreeMap<Port, Listener<TargetGroupKey>>,
    /// Target groups with what fills them.
    pub target_groups: BTreeMap<TargetGroupKey, IntendedTargetGroup>,
    /// Consent to delete the old load balancer before the new one exists (`albacore.dev/replace: delete-first`).
    pub delete_first: bool,
    /// Attributes of load balancer and target groups, listeners … that AWS keeps although nobody sets them any more are
    /// put back to these defaults (key → AWS' documented default).
    pub attribute_defaults: BTreeMap<String, String>,
}

/// A target group of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntendedTargetGroup {
    /// What it is like. `name` is that of the first generation.
    pub group: TargetGroup,
    /// Its name when it must exist beside its predecessor of the same inputs: next generations in order.
    pub next_names: Vec<String>,
    /// The same backend spelled the other way (port by name or by number): a group with that resource tag is this one,
    /// unless the intent has it too.
    pub alias: Option<TargetGroupKey>,
    /// What fills it.
    pub binding: Binding,
    /// The Ingress that asked for it.
    pub owner: ObjectKey,
}

/// What the cluster network should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkIntent {
    /// The VPC.
    pub vpc: VpcId,
    /// The shared backend security group; `None` when no load balancer needs it.
    pub backend: Option<SecurityGroup>,
    /// Ports that the backend group (or another source) may reach, per security group of nodes and pods.
    pub endpoint_rules: BTreeMap<SecurityGroupId, BTreeSet<Permission>>,
    /// Whether every binding has been computed once since the start; nothing is revoked before.
    pub complete: bool,
}

/// What a target group's targets should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetsIntent {
    /// The target group.
    pub group: TargetGroupArn,
    /// Its targets.
    pub targets: BTreeSet<Target>,
}
