//! The plan of a target group's targets.

use super::{Mutation, Plan, Step, StepId, TargetsIntent, TargetsObserved};
use crate::model::{Lane, Target};

/// Targets of one call; AWS gives no number, and has refused larger ones.
const BATCH: usize = 200;

/// What separates `observed` from `intent`: whoever is leaving goes first, since requests to it fail soonest.
pub fn plan(intent: &TargetsIntent, observed: &TargetsObserved) -> Plan {
    let leaving: Vec<Target> = observed.registered.difference(&intent.targets).cloned().collect();
    let coming: Vec<Target> = intent.targets.difference(&observed.registered).cloned().collect();
    let group = &intent.group;
    let away = leaving.chunks(BATCH).map(|targets| Mutation::DeregisterTargets {
        group: group.clone(),
        targets: targets.to_vec(),
    });
    let here = coming.chunks(BATCH).map(|targets| Mutation::RegisterTargets {
        group: group.clone(),
        targets: targets.to_vec(),
    });
    let steps = away.chain(here).zip(0..).map(|(call, id)| Step {
        id: StepId(id),
        lane: Lane::Targets,
        owner: None,
        call,
    });
    Plan {
        steps: steps.collect(),
        ..Plan::default()
    }
}

/// The same registration, one target a call, for when AWS refuses one of them and does not say which.
pub fn one_by_one(step: &Step) -> Vec<Step> {
    let Mutation::RegisterTargets { group, targets } = &step.call else {
        return Vec::new();
    };
    let single = |target: &Target| Step {
        call: Mutation::RegisterTargets {
            group: group.clone(),
            targets: vec![target.clone()],
        },
        ..step.clone()
    };
    targets.iter().map(single).collect()
}
