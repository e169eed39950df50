//! Spends budget on the steps of a plan and folds each result back into what was observed.
//!
//! ```text
//! step ─► wait for a token ─► still wanted? still leading? ─► send ─► fold the result in ─► next step
//!              │ woken                 │ no                    │ throttled: wait for the next token
//!              ▼                       ▼                       ▼ refused: the caller decides by its class
//!          superseded           superseded, deposed         stopped
//! ```
//! A plan that waits for a token holds nothing but its place in the line.

use crate::{
    aws::{Aws, Class, Fault},
    k8s::Leadership,
    model::Unit,
    plan::{Made, NetworkObserved, Observed, Results, Step, TargetsObserved},
    reconcile::queue::Generation,
};
use std::time::Duration;

/// What the lease must still be ours for when a call is sent: as long as the call may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What results are folded into.
pub trait Fold {
    /// Takes over what a step that succeeded means.
    fn fold(&mut self, step: &Step, made: &Made, results: &Results);
}

impl Fold for Observed {
    fn fold(&mut self, step: &Step, made: &Made, results: &Results) {
        self.apply(step, made, results);
    }
}

impl Fold for NetworkObserved {
    fn fold(&mut self, step: &Step, made: &Made, results: &Results) {
        self.apply(step, made, results);
    }
}

impl Fold for TargetsObserved {
    fn fold(&mut self, step: &Step, _: &Made, _: &Results) {
        self.apply(step);
    }
}

/// Why a plan was not finished.
#[derive(Debug)]
pub enum Stopped {
    /// Its unit was woken: it is planned anew.
    Superseded,
    /// Another process leads, or may by the time the call would end.
    Deposed,
    /// AWS said no, or nothing.
    Refused {
        /// The step that was tried.
        step: Box<Step>,
        /// What AWS said.
        fault: Fault,
    },
}

/// Performs plans.
#[derive(Clone)]
pub struct Executor {
    aws: Aws,
    leadership: Leadership,
}

impl Executor {
    /// An executor that performs only while this process leads.
    pub fn new(aws: Aws, leadership: Leadership) -> Self {
        Self { aws, leadership }
    }

    /// Performs `steps` in order.
    ///
    /// # Errors
    /// Why it stopped before the end; what was done until then is folded into `observed`.
    pub async fn run(
        &self,
        steps: &[Step],
        unit: &Unit,
        generation: &mut Generation,
        observed: &mut impl Fold,
    ) -> Result<(), Stopped> {
        let mut results = Results::default();
        for step in steps {
            let made = self.perform(step, unit, generation, &results).await?;
            observed.fold(step, &made, &results);
            results.record(step.id, made);
        }
        Ok(())
    }

    async fn perform(
        &self,
        step: &Step,
        unit: &Unit,
        generation: &mut Generation,
        results: &Results,
    ) -> Result<Made, Stopped> {
        let mut again = false;
        loop {
            let permit = tokio::select! {
                biased;
                () = generation.superseded() => return Err(Stopped::Superseded),
                permit = self.aws.permit_for(&step.call, step.lane, unit, again) => permit,
            };
            if !self.leadership.held_for(CALL_TIMEOUT) {
                return Err(Stopped::Deposed);
            }
            match self.aws.perform(permit, &step.call, results).await {
                Err(fault) if fault.class == Class::Throttled => {
                    again = true;
                    tracing::debug!(
                        operation = step.call.operation(),
                        "throttled, waiting for the next token"
                    );
                }
                Err(fault) => {
                    return Err(Stopped::Refused {
                        step: Box::new(step.clone()),
                        fault,
                    });
                }
                Ok(made) => return Ok(made),
            }
        }
    }
}
