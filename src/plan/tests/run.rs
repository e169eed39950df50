//! A controller that does nothing but plan and perform, and answers what plans wait for.

use super::world::World;
use crate::plan::*;

/// Plans with steps in a row, with nothing that was waited for coming true between them: where it was forgotten which
/// target groups are new, those of a full forward action take over one after the other.
const IN_A_ROW: usize = 8;

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to be done or waited for, after so many steps; with the problems of the last plan.
    Settled { steps: usize, problems: usize },
    /// It was stopped after as many steps as it was given.
    Stopped,
}

/// Who watches after each step, and after each change of what is in use.
pub type Watch<'a> = &'a mut dyn FnMut(&World) -> Result<(), String>;

/// Nobody.
pub fn unwatched(_: &World) -> Result<(), String> {
    Ok(())
}

/// Plans and performs until nothing is left, or `fuel` steps were done. What is waited for comes true one by one, the first
/// of them first.
pub fn run(world: &mut World, intent: &Intent, fuel: usize, watch: Watch) -> Result<End, String> {
    let mut readiness = Readiness {
        backend: world.backend.clone(),
        ..Readiness::default()
    };
    let mut done = 0;
    let mut in_a_row = 0;
    loop {
        let plan = group::plan(intent, &world.observed, &readiness);
        world.observed.note(&plan, &readiness);
        watch(world)?;
        if plan.steps.is_empty() {
            if answer(world, &plan.waits, &mut readiness)? {
                in_a_row = 0;
                continue;
            }
            return match plan.waits.as_slice() {
                [] => Ok(End::Settled {
                    steps: done,
                    problems: plan.problems.len(),
                }),
                waits => Err(format!("waits for what will never come: {waits:?}")),
            };
        }
        in_a_row += 1;
        if in_a_row > IN_A_ROW {
            return Err(format!("plans without end: {:?}", plan.steps));
        }
        let mut results = Results::default();
        for (step, place) in plan.steps.iter().zip(0..) {
            if done == fuel {
                return Ok(End::Stopped);
            }
            if step.id != StepId(place) {
                return Err(format!("{place} is not the place of {step:?}"));
            }
            world.perform(step, &mut results)?;
            done += 1;
            watch(world)?;
        }
    }
}

/// Lets the first thing that is waited for, and can come true, come true; says whether there was one.
fn answer(world: &mut World, waits: &[Wait], readiness: &mut Readiness) -> Result<bool, String> {
    for wait in waits {
        let news = match wait {
            Wait::Backend => {
                world.backend = Some("sg-backend".into());
                readiness.backend.replace("sg-backend".into()).is_none()
            }
            Wait::Targets { arn: Some(arn), .. } => {
                let checked = world.named().any(|named| named == arn);
                if checked {
                    world.healthy.insert(arn.clone());
                }
                checked && readiness.ready.insert(arn.clone())
            }
            Wait::Active(arn) => readiness.active.insert(arn.clone()),
            Wait::Unused(group) => readiness.unused.insert(group.clone()),
            Wait::Linger(arn) => readiness.lingered.insert(arn.clone()),
            Wait::Targets { arn: None, .. } | Wait::Name(_) => false,
        };
        if news {
            return Ok(true);
        }
    }
    Ok(false)
}
