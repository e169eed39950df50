//! One task of a binding: endpoints → targets, registered and deregistered.
//!
//! ```text
//! places ─► checkpoint as before? ─► settled, nothing is asked
//!             │ no
//!             ▼
//!  what is registered (remembered, or asked) ─► plan ─► (rules open?) ─► take the mark off ─► execute ─► put the mark on
//! ```

use crate::{
    aws::{Class, Fault},
    execute::Stopped,
    facts::TargetGroupBinding,
    model::*,
    network,
    plan::{self, TargetsIntent, TargetsObserved},
    reconcile::{Controller, Outcome, queue::Generation},
};
use std::time::Duration;

/// How soon a binding looks again whether the network is open; the network wakes it when it is.
const OPEN: Duration = Duration::from_secs(5);

impl Controller {
    /// Brings the targets of a binding in line with its endpoints.
    pub(crate) async fn reconcile_binding(&self, key: &ObjectKey, generation: &mut Generation) -> Outcome {
        let Some(binding) = self.cluster().binding(key).cloned() else {
            self.notes().forget_binding(key);
            return Outcome::Settled;
        };
        if binding.deleting {
            return self.release(&binding).await;
        }
        if binding.group.is_none() || binding.target_group.is_empty() {
            // One that a user made; they come with a later version.
            return Outcome::Settled;
        }
        match self.bring_in_line(&binding, generation).await {
            Ok(()) => Outcome::Settled,
            Err(outcome) => outcome,
        }
    }

    /// The target group of a deleted binding of ours goes as a whole, with its targets.
    async fn release(&self, binding: &TargetGroupBinding) -> Outcome {
        if binding.group.is_none() || !binding.finalizers.contains(BINDING_FINALIZER) {
            return Outcome::Settled;
        }
        match self.writer.release_binding(&binding.key).await {
            Ok(()) => {
                self.notes().forget_binding(&binding.key);
                Outcome::Settled
            }
            Err(fault) => Outcome::Failed {
                why: format!("Kubernetes: {fault}"),
            },
        }
    }

    async fn bring_in_line(&self, binding: &TargetGroupBinding, generation: &mut Generation) -> Result<(), Outcome> {
        let said_no = |fault: crate::k8s::Fault| Outcome::Failed {
            why: format!("Kubernetes: {fault}"),
        };
        let unit = Unit::Binding(binding.key.clone());
        let group = TargetGroupArn::from(binding.target_group.as_str());
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
        let checkpoint = network::checkpoint(&places, &binding.spec_hash);
        let intent = TargetsIntent {
            group: group.clone(),
            targets: places.into_iter().map(|place| place.target).collect(),
        };
        let (remembered, doubtful) = {
            let mut notes = self.notes();
            let notes = notes.binding(&binding.key);
            (notes.observed.clone(), notes.doubtful)
        };
        let observed = match remembered {
            _ if doubtful => self
                .aws
                .registered(&unit, &group)
                .await
                .map_err(|fault| self.lost(binding, &fault))?,
            Some(observed) => observed,
            None if binding.checkpoint.as_ref() == Some(&checkpoint) => TargetsObserved {
                registered: intent.targets.clone(),
            },
            // A target group that this process made was empty then.
            None if self.made_here(&group) => TargetsObserved::default(),
            None => self
                .aws
                .registered(&unit, &group)
                .await
                .map_err(|fault| self.lost(binding, &fault))?,
        };
        {
            let mut notes = self.notes();
            let notes = notes.binding(&binding.key);
            notes.observed = Some(observed.clone());
            notes.doubtful = false;
        }
        let plan = plan::targets::plan(&intent, &observed);
        if !plan.steps.is_empty() {
            let (needs, _) = self.network_needs();
            let open = needs.unknown.is_empty() && network::open(&needs, &binding.key, &self.notes().network.observed);
            if !open {
                self.wake(Unit::Network, Duration::ZERO);
                return Err(Outcome::Waiting {
                    on: "the rules that let the load balancer in".to_owned(),
                    again: OPEN,
                });
            }
            if binding.checkpoint.is_some() {
                self.writer.set_checkpoint(&binding.key, None).await.map_err(said_no)?;
            }
            let mut observed = observed;
            let ran = self.executor.run(&plan.steps, &unit, generation, &mut observed).await;
            self.notes().binding(&binding.key).observed = Some(observed);
            match ran {
                Ok(()) => {}
                Err(Stopped::Superseded) => return Err(Outcome::Superseded),
                Err(Stopped::Deposed) => return Err(Outcome::Deposed),
                Err(Stopped::Refused { fault, .. }) => {
                    self.notes().binding(&binding.key).observed = None;
                    return Err(self.lost(binding, &fault));
                }
            }
        }
        if binding.checkpoint.as_ref() != Some(&checkpoint) {
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

    /// A fault about targets. A target group that is gone is its group's matter: what that remembers is wrong.
    fn lost(&self, binding: &TargetGroupBinding, fault: &Fault) -> Outcome {
        if fault.class != Class::Missing {
            return Outcome::Failed { why: fault.to_string() };
        }
        if let Some(key) = &binding.group {
            let mut notes = self.notes();
            let group = notes.group(key);
            let remembered = group.memory().observed.target_groups;
            if remembered.iter().any(|tg| tg.arn.as_str() == binding.target_group) {
                group.doubtful = true;
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
                Some(binding) => !network::places(&cluster, binding).unwrap_or_default().is_empty(),
            }
        };
        if !wanted {
            return Ok(true);
        }
        let health = self.aws.health(unit, group).await?;
        Ok(health.values().any(|state| state == "healthy"))
    }
}
