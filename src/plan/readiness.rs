//! What a plan cannot see in intent and observed, and what it waits for.

use crate::model::{LoadBalancerArn, SecurityGroupId, TargetGroupArn, TargetGroupKey};
use std::{collections::BTreeSet, fmt};

/// What the planner is told beside intent and observed. Everything absent means "not yet": the plan then waits and
/// says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The cluster's shared backend security group; `None` while the cluster network has not made it.
    pub backend: Option<SecurityGroupId>,
    /// Target groups that can take traffic: a target is healthy, or there is none to wait for. Asked only of the
    /// groups that a plan waits for ([`Wait::Targets`]).
    pub ready: BTreeSet<TargetGroupArn>,
    /// Load balancers whose state is `active`. Asked only of those that a plan waits for ([`Wait::Active`]).
    pub active: BTreeSet<LoadBalancerArn>,
    /// Retired load balancers ([`Observed::retired`](super::Observed)) that nobody finds by name any more: time to live
    /// of their DNS name plus drain have passed since the switch.
    pub lingered: BTreeSet<LoadBalancerArn>,
    /// Security groups that no network interface has any more: those of a load balancer stay for minutes after it is
    /// deleted. Asked only of those that a plan waits for ([`Wait::Unused`]).
    pub unused: BTreeSet<SecurityGroupId>,
    /// Tag keys that somebody else manages (`--external-managed-tags`): neither set nor removed.
    pub external_tags: BTreeSet<String>,
}

/// What must happen before planning again can go further.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The cluster network makes the shared backend security group.
    Backend,
    /// The targets of a target group become healthy; what served before serves until then.
    Targets {
        /// Which part of the group it is.
        key: TargetGroupKey,
        /// The target group; `None` while it is still to be made.
        arn: Option<TargetGroupArn>,
    },
    /// A load balancer leaves the state `provisioning`.
    Active(LoadBalancerArn),
    /// Clients stop using a load balancer that was replaced.
    Linger(LoadBalancerArn),
    /// The network interfaces that have a security group go: AWS deletes none before.
    Unused(SecurityGroupId),
    /// The target group that still has the last of the possible names is deleted.
    Name(TargetGroupKey),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend => f.write_str("the shared backend security group of the cluster is not there yet"),
            Self::Targets { key, .. } => write!(
                f,
                "the targets of {key} are not healthy yet; what served before serves until then"
            ),
            Self::Active(arn) => write!(f, "the new load balancer {arn} is still being provisioned"),
            Self::Linger(arn) => write!(
                f,
                "clients may still use the replaced load balancer {arn} under its old name"
            ),
            Self::Unused(group) => write!(
                f,
                "network interfaces of deleted load balancers still have security group {group}; AWS removes them within minutes"
            ),
            Self::Name(key) => write!(
                f,
                "all names for the target group of {key} are taken by older ones that are still to be deleted"
            ),
        }
    }
}
