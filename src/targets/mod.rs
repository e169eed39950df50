//! One task of a binding: endpoints → targets, registered and deregistered.
//!
//! ```text
//! places ─► checkpoint as before? ─► settled, nothing is asked
//!             │ no
//!             ▼
//!  what is registered (remembered, or asked) ─► plan ─► take the mark off ─► out at once ─► (rules open?) ─► (more to
//!  come?) ─► in ─► put the mark on
//! ```

pub mod gates;

use crate::{
    aws::{Class, Fault, Health},
    budget::Saving,
    execute::Stopped,
    facts::TargetGroupBinding,
    model::*,
    network,
    plan::{self, Mutation, Step, TargetsIntent, TargetsObserved},
    reconcile::{Controller, Outcome, queue::Generation},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// How soon a binding looks again whether the network is open; the network wakes it when it is.
const OPEN: Duration = Duration::from_secs(5);

/// How soon a target is tried again that AWS refused.
const REFUSED: Duration = Duration::from_secs(300);
/// Calls that one task spends on finding which of many targets AWS refuses; the others wait with them.
const SEARCHES: u32 = 16;

/// The targets that a binding should have.
pub(crate) struct Aim {
    /// The mark it then gets; `None` while nobody can say where its targets are.
    checkpoint: Option<String>,
    wanted: BTreeSet<Target>,
    /// What is to be done, but for targets that AWS refused a short while ago.
    pub steps: Vec<Step>,
    observed: TargetsObserved,
    /// Whether targets stay of which nobody was seen to ask for their end.
    held: bool,
}

impl Controller {
    /// Brings the targets of a binding in line with its endpoints.
    pub(crate) async fn reconcile_binding(&self, key: &ObjectKey, generation: &mut Generation) -> Outcome {
        let Some(binding) = self.cluster().binding(key).cloned() else {
            self.notes().forget_binding(key);
            self.aws.forget(&Unit::Binding(key.clone()));
            return self.open_gates(key).await.err().unwrap_or(Outcome::Settled);
        };
        if binding.deleting {
            return self.release(&binding).await;
        }
        if !binding.is_tended() {
            return Outcome::Settled;
        }
        let in_line = self.bring_in_line(&binding, generation).await;
        let tended = match &in_line {
            // Whoever waits for other targets, or for something else, does not keep those waiting that are in.
            Ok(()) | Err(Outcome::Waiting { .. }) => self.tend_gates(&binding, generation).await,
            Err(_) => Ok(()),
        };
        match (in_line, tended) {
            (Ok(()), Ok(())) => Outcome::Settled,
            (Ok(()), Err(outcome)) | (Err(outcome), Ok(())) => outcome,
            (Err(one), Err(other)) => one.sooner(other),
        }
    }

    /// The target group of a deleted binding of ours goes as a whole, with its targets.
    async fn release(&self, binding: &TargetGroupBinding) -> Outcome {
        if binding.group.is_none() || !binding.finalizers.contains(BINDING_FINALIZER) {
            return Outcome::Settled;
        }
        if let Err(outcome) = self.open_gates(&binding.key).await {
            return outcome;
        }
        match self.writer.release_binding(&binding.key).await {
            Ok(()) => {
                self.notes().forget_binding(&binding.key);
                Outcome::Settled
            }
            Err(fault) => Outcome::said_no(format_args!("the finalizer of TargetGroupBinding {}", binding.key))(fault),
        }
    }

    async fn bring_in_line(&self, binding: &TargetGroupBinding, generation: &mut Generation) -> Result<(), Outcome> {
        let said_no = |fault| Outcome::said_no(format_args!("TargetGroupBinding {}", binding.key))(fault);
        let Aim {
            checkpoint,
            wanted,
            steps,
            observed,
            held,
        } = self.aim(binding).await?;
        if !steps.is_empty() {
            if binding.checkpoint.is_some() {
                self.writer.set_checkpoint(&binding.key, None).await.map_err(said_no)?;
            }
            self.move_targets(binding, steps, observed, generation).await?;
        }
        let refused = self.refused_targets(&binding.key).intersection(&wanted).count();
        if refused > 0 {
            return Err(Outcome::Waiting {
                on: format!("AWS to take {refused} targets that it refuses"),
                again: REFUSED,
            });
        }
        if held {
            return Err(Outcome::Waiting {
                on: "somebody to confirm that targets which vanished are to go".to_owned(),
                again: REFUSED,
            });
        }
        if let Some(checkpoint) = checkpoint.filter(|now| binding.checkpoint.as_ref() != Some(now)) {
            let now = self.clock.now().as_second();
            self.writer
                .set_checkpoint(&binding.key, Some((&checkpoint, now)))
                .await
                .map_err(said_no)?;
        }
        if binding.generation.0 != binding.generation.1 {
            self.writer
                .set_observed_generation(&binding.key, binding.generation.0)
                .await
                .map_err(said_no)?;
        }
        Ok(())
    }

    /// Which targets a binding should have, and what is to be done about it.
    pub(crate) async fn aim(&self, binding: &TargetGroupBinding) -> Result<Aim, Outcome> {
        let unit = Unit::Binding(binding.key.clone());
        let group = TargetGroupArn::from(binding.target_group.as_str());
        let seen = self.notes().breaker.vanishings();
        let places = match network::places(&self.cluster(), binding) {
            Ok(places) => places,
            // Its Ingress is told; what is registered stays until it is mended.
            Err(problem) => {
                return Err(Outcome::Waiting {
                    on: problem.to_string(),
                    again: Duration::from_secs(300),
                });
            }
        };
        let checkpoint = places
            .as_ref()
            .map(|places| network::checkpoint(places, &binding.spec_hash));
        let targets = places.map(|places| places.into_iter().map(|place| place.target).collect());
        let (remembered, doubtful) = {
            let mut notes = self.notes();
            let notes = notes.binding(&binding.key);
            notes.turn_to(&group);
            (notes.observed.clone(), notes.doubtful)
        };
        let observed = match remembered {
            _ if doubtful => self
                .aws
                .registered(Lane::Change, &unit, &group)
                .await
                .map_err(|fault| self.lost(binding, &fault))?,
            Some(observed) => observed,
            None if targets.is_some() && binding.checkpoint == checkpoint => TargetsObserved {
                registered: targets.clone().unwrap_or_default(),
            },
            // A target group that this process made was empty then.
            None if self.made_here(&group) => TargetsObserved::default(),
            None => self
                .aws
                .registered(Lane::Change, &unit, &group)
                .await
                .map_err(|fault| self.lost(binding, &fault))?,
        };
        {
            let mut notes = self.notes();
            let notes = notes.binding(&binding.key);
            notes.observed = Some(observed.clone());
            notes.doubtful = false;
        }
        let mut wanted: BTreeSet<Target> =
            targets.unwrap_or_else(|| network::still_there(&self.cluster(), binding, &observed.registered));
        let unseen = self.vanished_targets(binding, &observed.registered - &wanted);
        // Those that come in their place make up for them: that is a rollout.
        let lost = unseen
            .len()
            .saturating_sub(wanted.difference(&observed.registered).count());
        let held = self.holds_targets(binding, seen, lost);
        if held {
            wanted.extend(unseen);
        }
        let refused = self.refused_targets(&binding.key);
        let targets = wanted.difference(&refused).cloned().collect();
        let plan = plan::targets::plan(&TargetsIntent { group, targets }, &observed);
        Ok(Aim {
            checkpoint,
            wanted,
            steps: plan.steps,
            observed,
            held,
        })
    }

    /// Of targets that are to go, those that nobody was seen to ask for.
    fn vanished_targets(&self, binding: &TargetGroupBinding, mut going: BTreeSet<Target>) -> BTreeSet<Target> {
        if self.notes().breaker.suspects(&Unit::Binding(binding.key.clone())) {
            let seen = network::seen_to_end(&self.cluster(), binding, &going);
            going.retain(|target| !seen.contains(target));
            going
        } else {
            BTreeSet::new()
        }
    }

    /// Targets that AWS refused a short while ago.
    fn refused_targets(&self, key: &ObjectKey) -> BTreeSet<Target> {
        let mut notes = self.notes();
        let refused = &mut notes.binding(key).refused;
        refused.retain(|_, since| since.elapsed() < REFUSED);
        refused.keys().cloned().collect()
    }

    /// Takes targets out at once, and puts others in as soon as the load balancer can reach them. One that AWS refuses keeps
    /// no other out.
    async fn move_targets(
        &self,
        binding: &TargetGroupBinding,
        steps: Vec<Step>,
        mut observed: TargetsObserved,
        generation: &mut Generation,
    ) -> Result<(), Outcome> {
        let unit = Unit::Binding(binding.key.clone());
        let (away, mut here): (Vec<Step>, Vec<Step>) = steps
            .into_iter()
            .partition(|step| matches!(step.call, Mutation::DeregisterTargets { .. }));
        self.run_on_targets(binding, &unit, &away, &mut observed, generation)
            .await
            .map_err(|stopped| self.stopped(binding, &stopped))?;
        if here.is_empty() {
            return Ok(());
        }
        if !self.is_open_to(binding) {
            // One that lacks a permission tries again by itself, and wakes this binding when it was given.
            let denied = self.notes().network_lack.is_some();
            if !denied {
                self.wake(Unit::Network, Duration::ZERO);
            }
            return Err(Outcome::Waiting {
                on: "the rules that let the load balancer in".to_owned(),
                again: if denied { REFUSED } else { OPEN },
            });
        }
        if let Some(again) = self.wait_for_more(binding, &here) {
            return Err(Outcome::Waiting {
                on: "other targets that come at the same time".to_owned(),
                again,
            });
        }
        let mut searches = SEARCHES;
        while let Some(step) = here.pop() {
            let ran = self
                .run_on_targets(binding, &unit, std::slice::from_ref(&step), &mut observed, generation)
                .await;
            match ran {
                Err(Stopped::Refused { fault, .. }) if fault.class == Class::Rejected => {
                    let halves = plan::targets::halves(&step).filter(|_| searches > 0);
                    searches = searches.saturating_sub(1);
                    match halves {
                        Some(halves) => here.extend(halves),
                        None => self.note_refused(binding, &step, &fault),
                    }
                }
                ran => ran.map_err(|stopped| self.stopped(binding, &stopped))?,
            }
        }
        let saved = {
            let mut notes = self.notes();
            let notes = notes.binding(&binding.key);
            notes.polls.registered();
            notes.arriving.registered()
        };
        self.aws.save(Saving::Batch, saved);
        self.note_arrival(binding);
        Ok(())
    }

    /// How long targets wait for others to come at the same time; `None` when it is their turn.
    fn wait_for_more(&self, binding: &TargetGroupBinding, steps: &[Step]) -> Option<Duration> {
        let coming = steps.iter().filter_map(|step| match &step.call {
            Mutation::RegisterTargets { targets, .. } => Some(targets),
            _ => None,
        });
        let coming = coming.flatten().cloned().collect();
        let mut notes = self.notes();
        let arriving = &mut notes.binding(&binding.key).arriving;
        arriving.wait(coming)
    }

    /// Targets are new: a group that has long waited for some that are healthy asks often again.
    fn note_arrival(&self, binding: &TargetGroupBinding) {
        let Some(key) = &binding.group else { return };
        let mut notes = self.notes();
        let waited = notes.find_group_mut(key).and_then(|notes| notes.waits_since.take());
        if waited.is_some() {
            self.wake(Unit::Group(key.clone()), Duration::ZERO);
        }
    }

    /// Keeps that AWS refuses targets, so that they are not asked for again at once.
    fn note_refused(&self, binding: &TargetGroupBinding, step: &Step, fault: &Fault) {
        let Mutation::RegisterTargets { targets, .. } = &step.call else {
            return;
        };
        tracing::warn!(binding = %binding.key, count = targets.len(), %fault, "AWS refuses targets");
        let mut notes = self.notes();
        let refused = &mut notes.binding(&binding.key).refused;
        refused.extend(targets.iter().map(|target| (target.clone(), Instant::now())));
    }

    /// Runs steps, and keeps what is known of the targets then. After a fault that leaves that open, AWS is asked first.
    async fn run_on_targets(
        &self,
        binding: &TargetGroupBinding,
        unit: &Unit,
        steps: &[Step],
        observed: &mut TargetsObserved,
        generation: &mut Generation,
    ) -> Result<(), Stopped> {
        let ran = self.executor.run(steps, unit, generation, observed).await;
        let mut notes = self.notes();
        let notes = notes.binding(&binding.key);
        notes.observed = Some(observed.clone());
        notes.written = Some(Instant::now());
        let registers = |step: &Step| matches!(step.call, Mutation::RegisterTargets { .. });
        if let Err(Stopped::Refused { step, fault }) = &ran
            && !(fault.class == Class::Rejected && registers(step))
        {
            notes.observed = None;
            notes.doubtful = true;
        }
        ran
    }

    fn stopped(&self, binding: &TargetGroupBinding, stopped: &Stopped) -> Outcome {
        match stopped {
            Stopped::Superseded => Outcome::Superseded,
            Stopped::Deposed => Outcome::Deposed,
            Stopped::Refused { fault, .. } => self.lost(binding, fault),
        }
    }

    /// A fault about targets. A target group that is gone is its group's matter: what that remembers is wrong.
    fn lost(&self, binding: &TargetGroupBinding, fault: &Fault) -> Outcome {
        if fault.class != Class::Missing {
            return Outcome::of(fault);
        }
        if let Some(key) = &binding.group {
            let mut notes = self.notes();
            let group = notes.group(key);
            let remembered = group.memory().observed.target_groups;
            if remembered.iter().any(|tg| tg.arn.as_str() == binding.target_group) {
                group.doubtful = Some(Instant::now());
                self.wake(Unit::Group(key.clone()), Duration::ZERO);
            }
        }
        Outcome::Waiting {
            on: format!("the target group to be made anew: {fault}"),
            again: Duration::from_secs(30),
        }
    }

    /// Whether a target group can take traffic: one of its targets is healthy, or there is none to wait for.
    pub(crate) async fn targets_ready(&self, unit: &Unit, group: &TargetGroupArn) -> Result<bool, Fault> {
        let wanted = {
            let cluster = self.cluster();
            let bound = cluster
                .bindings()
                .find(|binding| binding.target_group == group.as_str());
            match bound {
                None => return Ok(false),
                Some(binding) => network::places(&cluster, binding)
                    .ok()
                    .flatten()
                    .is_some_and(|places| !places.is_empty()),
            }
        };
        if !wanted {
            return Ok(true);
        }
        let health = self.aws.health(unit, group).await?;
        Ok(health.values().any(Health::is_healthy))
    }
}
