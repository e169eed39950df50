//! Intent × observed → plan. Pure.
//!
//! ```text
//! security group ─► load balancer ─► target groups ─► listeners ─► rules      build: create, switch
//! rules, listeners ◄─ load balancers ◄─ target groups ◄─ security group       remove: in reverse
//! tags that only follow a rule's place                                        tidy
//! ```
//! A load balancer comes first among what is built, because AWS grants one in five seconds and takes minutes to provision it:
//! everything else is made meanwhile. Create, switch, delete: every prefix of a plan is safe to stop at, and planning anew from where it stopped ends in
//! the same state.

mod apply;
pub mod group;
pub mod intent;
mod listener;
mod load_balancer;
pub mod network;
pub mod observed;
mod order;
mod readiness;
mod results;
mod rule;
mod security_group;
pub mod step;
mod tags;
mod target_group;
pub mod targets;
#[cfg(test)]
mod tests;

pub use intent::{IntendedTargetGroup, Intent, NetworkIntent, TargetsIntent};
pub use observed::*;
pub use readiness::{Readiness, Wait};
pub use results::{MadeBy, Results};
pub use step::{Made, Mutation, Ref, Step, StepId};

use crate::model::{LoadBalancerArn, Problem};

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// AWS calls, in order.
    pub steps: Vec<Step>,
    /// What the next plan waits for.
    pub waits: Vec<Wait>,
    /// What cannot be done, and what somebody has to write for it.
    pub problems: Vec<Problem>,
    /// The load balancer that status and DNS names should name from now on; `None` for no change.
    pub current: Option<LoadBalancerArn>,
}
