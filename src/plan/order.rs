//! The order of a plan's steps: what serves is built and switched to, then what served is removed, then tags follow.

use super::{Mutation, Step, StepId};
use crate::model::{Lane, LoadBalancerArn, ObjectKey};

/// Steps being gathered. Only steps that build are referred to by others, so their ids are final at once.
#[derive(Debug, Default)]
pub(super) struct Order {
    build: Vec<Step>,
    remove: Vec<Step>,
    tidy: Vec<Step>,
}

impl Order {
    /// Makes or changes something.
    pub fn build(&mut self, owner: Option<&ObjectKey>, call: Mutation) -> StepId {
        let id = place(self.build.len());
        self.build.push(step(id, Lane::Change, owner, call));
        id
    }

    /// Removes something that nothing needs once all that is built stands.
    pub fn remove(&mut self, call: Mutation) {
        self.remove.push(step(StepId(0), Lane::Change, None, call));
    }

    /// Changes what nobody waits for.
    pub fn tidy(&mut self, owner: Option<&ObjectKey>, call: Mutation) {
        self.tidy.push(step(StepId(0), Lane::Tidy, owner, call));
    }

    /// The load balancers that are to be deleted so far.
    pub fn deleted_load_balancers(&self) -> impl Iterator<Item = &LoadBalancerArn> {
        self.remove.iter().filter_map(|step| match &step.call {
            Mutation::DeleteLoadBalancer { arn } => Some(arn),
            _ => None,
        })
    }

    /// How many steps build something so far.
    pub fn built(&self) -> usize {
        self.build.len()
    }

    /// All steps, each with its place.
    pub fn finish(self) -> Vec<Step> {
        let mut steps = self.build;
        for mut step in self.remove.into_iter().chain(self.tidy) {
            step.id = place(steps.len());
            steps.push(step);
        }
        steps
    }
}

fn step(id: StepId, lane: Lane, owner: Option<&ObjectKey>, call: Mutation) -> Step {
    Step {
        id,
        lane,
        owner: owner.cloned(),
        call,
    }
}

fn place(index: usize) -> StepId {
    StepId(u32::try_from(index).expect("a plan has far fewer than four billion steps"))
}
