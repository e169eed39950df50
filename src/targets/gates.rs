//! Readiness gates: a pod is ready when the load balancer sends it traffic, which is asked for as seldom as that allows.
//!
//! ```text
//! targets go in ─► pods wait? ─► the earliest moment ─► ask once for all ─► write conditions ─► nobody waits: nothing is asked
//!                                      ▲                                        │ some wait
//!                                      └─ every 4 s, after three checks each check ◄┘
//! ```
//! Conditions are named and worded as ALBC's, so that pods admitted by either are served by either.

use crate::{
    aws::Health,
    facts::TargetGroupBinding,
    k8s::Gate,
    model::*,
    network,
    reconcile::{Controller, Outcome, queue::Generation, state::Arriving},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// When a target that goes in can be healthy at the earliest: a registration takes about two seconds to be known everywhere,
/// and a new target is in service once it passed its first check ("Target health status", Application Load Balancers user guide).
const EARLIEST: Duration = Duration::from_secs(5);
/// How often AWS is asked while targets that went in can pass their first checks …
const OFTEN: Duration = Duration::from_secs(4);
/// … which is during so many of them. Who fails that long is asked for as often as he is checked.
const FIRST_CHECKS: u32 = 3;
/// Time between checks of a target group that albacore did not make: AWS' default for targets of type `ip`
/// (`HealthCheckIntervalSeconds`, CreateTargetGroup).
const INTERVAL: Duration = Duration::from_secs(30);

/// When the health of a binding's targets is asked for.
#[derive(Clone, Debug, Default)]
pub struct Polls {
    /// When the first target went in for which a pod may wait, and the last one.
    registered: Option<(Instant, Instant)>,
    /// When AWS was last asked.
    asked: Option<Instant>,
    /// What was last written of each pod.
    told: BTreeMap<ObjectKey, Health>,
}

impl Polls {
    /// Targets go in now.
    pub fn registered(&mut self) {
        let now = Instant::now();
        let (first, _) = self.registered.unwrap_or((now, now));
        self.registered = Some((first, now));
    }

    /// When AWS is to be asked next; `interval` is the time between health checks.
    fn due(&self, interval: Duration) -> Instant {
        match (self.asked, self.registered) {
            (None, None) => Instant::now(),
            (None, Some((first, last))) => last.min(first + Arriving::LONGEST) + EARLIEST,
            (Some(asked), Some((_, last))) if asked < last + interval * FIRST_CHECKS => asked + interval.min(OFTEN),
            (Some(asked), _) => asked + interval,
        }
    }
}

/// A target whose pod has a gate for the binding.
struct Gated {
    gate: Gate,
    target: Target,
    condition: Option<bool>,
}

impl Controller {
    /// Keeps the conditions of a binding's gated pods as their targets are, while one of them waits.
    ///
    /// # Errors
    /// When to look again, while pods wait.
    pub(super) async fn tend_gates(
        &self,
        binding: &TargetGroupBinding,
        generation: &mut Generation,
    ) -> Result<(), Outcome> {
        let gated = self.gated(binding);
        if gated.iter().all(|gated| gated.condition == Some(true)) {
            self.notes().binding(&binding.key).polls = Polls::default();
            return Ok(());
        }
        let pods: BTreeSet<&ObjectKey> = gated.iter().map(|gated| &gated.gate.pod).collect();
        {
            let mut notes = self.notes();
            let told = &mut notes.binding(&binding.key).polls.told;
            told.retain(|pod, _| pods.contains(pod));
        }
        let fresh = gated.iter().filter(|gated| gated.condition.is_none());
        self.tell(binding, fresh.map(|gated| (gated, Health::registering())))
            .await?;
        let interval = self.check_interval(binding);
        let due = self.notes().binding(&binding.key).polls.due(interval);
        if due > Instant::now() {
            return Err(waiting(due));
        }
        let unit = Unit::Binding(binding.key.clone());
        let group = TargetGroupArn::from(binding.target_group.as_str());
        let health = tokio::select! {
            biased;
            // A target that leaves does not wait for an answer about others.
            () = generation.superseded() => return Err(Outcome::Superseded),
            health = self.aws.health(&unit, &group) => health.map_err(|fault| self.lost(binding, &fault))?,
        };
        self.notes().binding(&binding.key).polls.asked = Some(Instant::now());
        let known: Vec<(&Gated, Health)> = gated
            .iter()
            .filter_map(|gated| Some((gated, health.get(&gated.target)?.clone())))
            .collect();
        let all = known.len() == gated.len() && known.iter().all(|(_, health)| health.is_healthy());
        self.tell(binding, known.into_iter()).await?;
        if all {
            return Ok(());
        }
        Err(waiting(self.notes().binding(&binding.key).polls.due(interval)))
    }

    /// The binding is gone: nobody waits for it any more.
    ///
    /// # Errors
    /// What the API server said.
    pub(super) async fn open_gates(&self, binding: &TargetGroupBinding) -> Result<(), Outcome> {
        let waiting: Vec<Gate> = {
            let cluster = self.cluster();
            let pods = cluster.pods_in(&binding.key.namespace);
            let waits = pods.filter(|pod| {
                pod.gate(&binding.key.name)
                    .is_some_and(|condition| condition != Some(true))
            });
            waits.filter_map(|pod| Gate::of(pod, &binding.key.name)).collect()
        };
        for gate in waiting {
            let written = self
                .writer
                .set_gate(&gate, true, "", "Target Group Binding is deleted", self.clock.now());
            written
                .await
                .map_err(Outcome::said_no(format_args!("the condition of Pod {}", gate.pod)))?;
        }
        Ok(())
    }

    /// The pods that are targets of a binding, and have a gate for it.
    fn gated(&self, binding: &TargetGroupBinding) -> Vec<Gated> {
        let observed = self
            .notes()
            .find_binding(&binding.key)
            .and_then(|notes| notes.observed.clone());
        let registered = observed.unwrap_or_default().registered;
        let cluster = self.cluster();
        let places = network::places(&cluster, binding).ok().flatten().unwrap_or_default();
        let gated = |place: network::Place| {
            let pod = cluster.pod(place.pod.as_ref()?)?;
            let condition = pod.gate(&binding.key.name)?;
            let gate = Gate::of(pod, &binding.key.name)?;
            registered.contains(&place.target).then_some(Gated {
                gate,
                target: place.target,
                condition,
            })
        };
        places.into_iter().filter_map(gated).collect()
    }

    /// Time between the health checks of a binding's targets.
    fn check_interval(&self, binding: &TargetGroupBinding) -> Duration {
        let notes = self.notes();
        let memory = binding
            .group
            .as_ref()
            .and_then(|key| notes.find_group(key))
            .map(|notes| notes.memory());
        let groups = memory.into_iter().flat_map(|memory| memory.observed.target_groups);
        let mut ours = groups.filter(|group| group.arn.as_str() == binding.target_group);
        let seconds = ours.next().map(|ours| ours.group.health_check.interval_seconds);
        let interval = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        interval.map_or(INTERVAL, Duration::from_secs)
    }

    /// Writes how targets are into the conditions of their pods, where that is news.
    async fn tell<'a>(
        &self,
        binding: &TargetGroupBinding,
        found: impl Iterator<Item = (&'a Gated, Health)>,
    ) -> Result<(), Outcome> {
        let news: Vec<(&Gated, Health)> = {
            let notes = self.notes();
            let told = notes.find_binding(&binding.key).map(|notes| &notes.polls.told);
            let is_told = |(gated, health): &(&Gated, Health)| {
                gated.condition == Some(health.is_healthy())
                    && (health.is_healthy() || told.and_then(|told| told.get(&gated.gate.pod)) == Some(health))
            };
            found.filter(|found| !is_told(found)).collect()
        };
        let now = self.clock.now();
        let writes = news.iter().map(|(gated, health)| async move {
            let (reason, message) = (&health.reason, &health.description);
            let written = self
                .writer
                .set_gate(&gated.gate, health.is_healthy(), reason, message, now)
                .await;
            written.map_err(Outcome::said_no(format_args!(
                "the condition of Pod {}",
                gated.gate.pod
            )))
        });
        futures::future::try_join_all(writes).await?;
        let mut notes = self.notes();
        let told = &mut notes.binding(&binding.key).polls.told;
        told.extend(news.into_iter().map(|(gated, health)| (gated.gate.pod.clone(), health)));
        Ok(())
    }
}

fn waiting(due: Instant) -> Outcome {
    Outcome::Waiting {
        on: "targets to become healthy, which pods wait for".to_owned(),
        again: due.saturating_duration_since(Instant::now()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_when_a_target_can_be_healthy_then_often_then_rarely() {
        let begin = Instant::now();
        let interval = Duration::from_secs(15);
        let mut polls = Polls::default();
        assert_eq!(polls.due(interval), begin, "nobody knows how long they wait already");
        polls.registered();
        tokio::time::advance(Duration::from_secs(1)).await;
        polls.registered();
        assert_eq!(
            polls.due(interval),
            begin + Duration::from_secs(1) + EARLIEST,
            "of all that come together"
        );
        tokio::time::advance(Duration::from_secs(2)).await;
        polls.registered();
        assert_eq!(
            polls.due(interval),
            begin + Duration::from_secs(2) + EARLIEST,
            "however many follow"
        );
        let mut asked = Vec::new();
        for _ in 0..15 {
            let due = polls.due(interval);
            polls.asked = Some(due);
            asked.push((due - begin).as_secs());
        }
        assert_eq!(asked, [7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 66, 81, 96]);
        assert_eq!(polls.due(Duration::from_secs(5)), begin + Duration::from_secs(101));
    }
}
