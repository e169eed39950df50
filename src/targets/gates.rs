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
    k8s::{Fault, Gate},
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
    /// Time between health checks, once that was looked up.
    interval: Option<Duration>,
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
        if gated.iter().all(|gated| gated.gate.is_true == Some(true)) {
            self.notes().binding(&binding.key).polls = Polls::default();
            return Ok(());
        }
        let fresh = gated.iter().filter(|gated| gated.gate.is_true.is_none());
        let news: Vec<(&Gated, Health)> = {
            let mut notes = self.notes();
            let told = &mut notes.binding(&binding.key).polls.told;
            let pods: BTreeSet<&ObjectKey> = gated.iter().map(|gated| &gated.gate.pod).collect();
            told.retain(|pod, _| pods.contains(pod));
            let untold = fresh.filter(|gated| !told.contains_key(&gated.gate.pod));
            untold.map(|gated| (gated, Health::registering())).collect()
        };
        self.tell(binding, news).await?;
        let due = self.next_poll(binding);
        if due > Instant::now() {
            return Err(waiting(due));
        }
        let unit = Unit::Binding(binding.key.clone());
        let group = TargetGroupArn::from(binding.target_group.as_str());
        // A target that leaves does not wait until it can be asked about others.
        let asked = self.aws.health_unless(&unit, &group, generation.superseded()).await;
        let Some(health) = asked.map_err(|fault| self.lost(binding, &fault))? else {
            return Err(Outcome::Superseded);
        };
        let news: Vec<(&Gated, Health)> = {
            let mut notes = self.notes();
            let polls = &mut notes.binding(&binding.key).polls;
            polls.asked = Some(Instant::now());
            let known = gated
                .iter()
                .filter_map(|gated| Some((gated, health.get(&gated.target)?.clone())));
            let is_told = |(gated, health): &(&Gated, Health)| {
                gated.gate.is_true == Some(health.is_healthy())
                    && (health.is_healthy() || polls.told.get(&gated.gate.pod) == Some(health))
            };
            known.filter(|known| !is_told(known)).collect()
        };
        self.tell(binding, news).await?;
        // Until the watch shows that none waits any more.
        Err(waiting(self.next_poll(binding)))
    }

    /// A binding is gone: nobody waits for it any more.
    ///
    /// # Errors
    /// What the API server said.
    pub(super) async fn open_gates(&self, binding: &ObjectKey) -> Result<(), Outcome> {
        let gates: Vec<Gate> = {
            let cluster = self.cluster();
            let pods = cluster.pods_in(&binding.namespace);
            pods.filter_map(|pod| Gate::of(pod, &binding.name)).collect()
        };
        for gate in gates.iter().filter(|gate| gate.is_true != Some(true)) {
            let now = self.clock.now();
            let written = self
                .writer
                .set_gate(gate, true, "", "Target Group Binding is deleted", now)
                .await;
            written.map_err(Outcome::said_no(format_args!("the condition of Pod {}", gate.pod)))?;
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
            let gate = Gate::of(cluster.pod(place.pod.as_ref()?)?, &binding.key.name)?;
            let target = place.target;
            registered.contains(&target).then_some(Gated { gate, target })
        };
        places.into_iter().filter_map(gated).collect()
    }

    /// When AWS is to be asked next how the targets of a binding are.
    fn next_poll(&self, binding: &TargetGroupBinding) -> Instant {
        let mut notes = self.notes();
        let interval = notes.binding(&binding.key).polls.interval.unwrap_or_else(|| {
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
        });
        let polls = &mut notes.binding(&binding.key).polls;
        polls.interval = Some(interval);
        polls.due(interval)
    }

    /// Writes how targets are into the conditions of their pods. What could not be written is written with the next answer.
    async fn tell(&self, binding: &TargetGroupBinding, news: Vec<(&Gated, Health)>) -> Result<(), Outcome> {
        let now = self.clock.now();
        let writes = news.iter().map(|(gated, health)| {
            let (reason, message) = (&health.reason, &health.description);
            self.writer
                .set_gate(&gated.gate, health.is_healthy(), reason, message, now)
        });
        let written = futures::future::join_all(writes).await;
        let mut notes = self.notes();
        let told = &mut notes.binding(&binding.key).polls.told;
        for ((gated, health), written) in news.into_iter().zip(written) {
            match written {
                Ok(()) => drop(told.insert(gated.gate.pod.clone(), health)),
                Err(Fault::Deposed) => return Err(Outcome::Deposed),
                Err(error) => tracing::warn!(pod = %gated.gate.pod, %error, "the condition could not be written"),
            }
        }
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
