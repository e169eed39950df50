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

/// The same registration in two halves, for when AWS refuses a target and does not say which; `None` for a single one.
pub fn halves(step: &Step) -> Option<[Step; 2]> {
    let Mutation::RegisterTargets { group, targets } = &step.call else {
        return None;
    };
    let half = |targets: &[Target]| Step {
        call: Mutation::RegisterTargets {
            group: group.clone(),
            targets: targets.to_vec(),
        },
        ..step.clone()
    };
    let (first, second) = targets.split_at(targets.len() / 2);
    (!first.is_empty()).then(|| [half(first), half(second)])
}
