//! The background walk that finds what somebody else changed in AWS, with budget that nobody wants.
//!
//! ```text
//! lists of the account ─► network ─► group ─► group ─► … ─► a while later once more, from where it was left
//!                                     │ listeners, rules, tags: each round
//!                                     └ attributes, certificates, targets: of one group in six, in turn
//! ```
//! What differs is told, and read again by its own unit, which puts it right. What differs is what a plan would change.

use super::{Controller, group::Task, report, state::LAG};
use crate::{
    aws::{Class, Fault, TAGGED},
    k8s::custom::AuditPosition,
    model::*,
    network,
    plan::{self, Observed},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

/// How soon after it began to lead a process begins a round; one that was left unfinished goes on at once.
const FIRST: Duration = Duration::from_secs(600);
/// From the beginning of a round to that of the next, if it does not last longer.
const ROUND: Duration = Duration::from_secs(25 * 60);
/// Groups looked at by their listeners for each that is looked at by its attributes: what changes rarely is found within
/// so many rounds.
const IN_TURN: u32 = 6;
/// How often the position is written down.
const KEPT: Duration = Duration::from_secs(120);
/// How soon a walk goes on that AWS interrupted.
const AGAIN: Duration = Duration::from_secs(60);

/// The walk.
pub(super) struct Walk<'a> {
    controller: &'a Controller,
    position: AuditPosition,
    kept: Instant,
    /// Resources whose tags are asked for together, and their groups.
    tagged: Vec<(String, GroupKey)>,
}

impl<'a> Walk<'a> {
    /// A walk that goes on where the last one was left.
    pub fn new(controller: &'a Controller, position: AuditPosition) -> Self {
        Self {
            controller,
            position,
            kept: Instant::now(),
            tagged: Vec::new(),
        }
    }

    /// Goes round, for ever.
    pub async fn go(mut self) {
        if self.position.after.is_none() {
            sleep(FIRST).await;
        }
        loop {
            let began = Instant::now();
            match self.round().await {
                Ok(()) => sleep_until(began + ROUND).await,
                Err(fault) => {
                    tracing::warn!(%fault, "the audit goes on later");
                    // A permission is given by a person.
                    sleep(if fault.class == Class::Denied { ROUND } else { AGAIN }).await;
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), Fault> {
        self.lists().await?;
        self.network().await?;
        let after = self.position.after.clone();
        let keys: Vec<GroupKey> = self.controller.known_groups();
        let keys = keys
            .into_iter()
            .filter(|key| after.as_ref().is_none_or(|after| *after < key.stack()));
        for key in keys {
            self.listeners(&key).await?;
            self.position.turn += 1;
            if self.position.turn >= IN_TURN {
                self.position.turn = 0;
                self.next_details().await?;
            }
            self.position.after = Some(key.stack());
            if self.kept.elapsed() >= KEPT {
                self.keep().await;
            }
        }
        self.tags(0).await?;
        self.position.after = None;
        self.keep().await;
        Ok(())
    }

    /// Compares what the account lists with what every group has.
    async fn lists(&self) -> Result<(), Fault> {
        let began = Instant::now();
        let account = self.controller.aws.audit_account(&self.controller.settings).await?;
        for key in self.controller.known_groups() {
            // It may have been at work while the account was listed.
            if let Some(known) = self.controller.at_rest(&key, began) {
                self.controller.compare(&key, &known, account.of(&known));
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Compares the shared parts.
    async fn network(&self) -> Result<(), Fault> {
        let controller = self.controller;
        let Some(known) = controller.network_at_rest() else {
            return Ok(());
        };
        let groups: BTreeSet<SecurityGroupId> = known.endpoint_rules.keys().cloned().collect();
        let settings = &controller.settings;
        let read = controller.aws.observe_network(Lane::Audit, settings, &groups).await?;
        if controller.network_at_rest().as_ref() != Some(&known) {
            return Ok(());
        }
        let (needs, backend) = controller.network_needs();
        let steps = |observed: &plan::NetworkObserved| {
            let intent = network::build(settings, &needs, backend, observed);
            plan::network::plan(&intent, observed, &settings.external_managed_tags).steps
        };
        let found = steps(&read);
        if steps(&known).is_empty() && !found.is_empty() {
            tracing::warn!(steps = report::operations(&found), "AWS was changed by somebody else");
            controller.metrics.drift("network");
            controller.notes().doubt(&Unit::Network);
            controller.wake(Unit::Network, Duration::ZERO);
        }
        Ok(())
    }

    /// Compares listeners and rules of a group, and has its tags asked for with others'.
    async fn listeners(&mut self, key: &GroupKey) -> Result<(), Fault> {
        let controller = self.controller;
        let Some(known) = controller.at_rest(key, Instant::now()) else {
            return Ok(());
        };
        let unit = Unit::Group(key.clone());
        let read = controller
            .aws
            .audit_listeners(&unit, &controller.settings, &known)
            .await;
        if let Some(read) = controller.unless_gone(key, &known, read)? {
            controller.compare(key, &known, read);
        }
        self.tagged
            .extend(known.tagged().into_iter().map(|arn| (arn, key.clone())));
        self.tags(TAGGED).await
    }

    /// Asks for tags as long as more than so many resources wait for that.
    async fn tags(&mut self, fewer: usize) -> Result<(), Fault> {
        let controller = self.controller;
        while !self.tagged.is_empty() && self.tagged.len() >= fewer {
            let some: Vec<(String, GroupKey)> = self.tagged.drain(..TAGGED.min(self.tagged.len())).collect();
            let keys: BTreeSet<&GroupKey> = some.iter().map(|(_, key)| key).collect();
            let now = Instant::now();
            let groups: Vec<_> = keys
                .into_iter()
                .filter_map(|key| Some((key, controller.at_rest(key, now)?)))
                .collect();
            // One that is gone since would spoil the call for all.
            let there = |arn: &String| groups.iter().any(|(_, known)| known.tagged().contains(arn));
            let arns: Vec<String> = some.iter().map(|(arn, _)| arn.clone()).filter(there).collect();
            if arns.is_empty() {
                continue;
            }
            match controller.aws.audit_tags(&controller.settings, arns).await {
                Ok(told) => {
                    for (key, known) in groups {
                        let mut read = known.clone();
                        told.iter().for_each(|(arn, tags)| read.set_tags(arn, tags));
                        controller.compare(key, &known, read);
                    }
                }
                // Whose it is, their own units find out; of the others nothing is wrong.
                Err(fault) if fault.class == Class::Missing => {
                    for (key, _) in groups {
                        controller.notes().doubt(&Unit::Group(key.clone()));
                        controller.wake(Unit::Group(key.clone()), Duration::ZERO);
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Compares attributes, certificates and targets of the group whose turn it is.
    async fn next_details(&mut self) -> Result<(), Fault> {
        let controller = self.controller;
        let keys = controller.known_groups();
        let after = self.position.details_after.clone();
        let later = keys
            .iter()
            .find(|key| after.as_ref().is_none_or(|after| *after < key.stack()));
        let Some(key) = later.or(keys.first()) else {
            return Ok(());
        };
        self.position.details_after = Some(key.stack());
        let Some(known) = controller.at_rest(key, Instant::now()) else {
            return Ok(());
        };
        let unit = Unit::Group(key.clone());
        let read = controller.aws.audit_details(&unit, &controller.settings, &known).await;
        if let Some(read) = controller.unless_gone(key, &known, read)? {
            controller.compare(key, &known, read);
        }
        let bindings: Vec<ObjectKey> = {
            let cluster = controller.cluster();
            cluster.bindings_of(key).map(|binding| binding.key.clone()).collect()
        };
        for binding in bindings {
            controller.audit_targets(key, &binding).await?;
        }
        Ok(())
    }

    /// Writes down how far it came, for a process that goes on.
    async fn keep(&mut self) {
        self.kept = Instant::now();
        let kept = self
            .controller
            .writer
            .patch_cluster_network(json!({ "audit": self.position }));
        if let Err(error) = kept.await {
            tracing::debug!(%error, "the position of the audit could not be written");
        }
    }
}

impl Controller {
    fn known_groups(&self) -> Vec<GroupKey> {
        let notes = self.notes();
        let mut keys: Vec<GroupKey> = notes
            .groups()
            .filter(|(_, notes)| notes.known())
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort_by_key(GroupKey::stack);
        keys
    }

    /// What is remembered of a group, unless it was at work since, or so short a while before that AWS may show what was
    /// there before that.
    fn at_rest(&self, key: &GroupKey, since: Instant) -> Option<Observed> {
        let notes = self.notes();
        let notes = notes.find_group(key)?;
        let rests = notes.doubtful.is_none()
            && notes.unproven.is_none()
            && !notes.in_flight
            && notes.written.is_none_or(|at| at + LAG < since);
        (rests && notes.known()).then(|| notes.memory().observed)
    }

    fn network_at_rest(&self) -> Option<plan::NetworkObserved> {
        let notes = self.notes();
        let rests = notes.network_doubtful.is_none()
            && notes.network_unproven.is_none()
            && !notes.network_unsaved
            && notes.network_written.is_none_or(|at| at.elapsed() > LAG);
        rests.then(|| notes.network.observed.clone())
    }

    /// What a group holds was read again in part: whether that is as it should be.
    fn compare(&self, key: &GroupKey, known: &Observed, mut read: Observed) {
        let is_same = self.at_rest(key, Instant::now()).as_ref() == Some(known);
        if !is_same || read == *known {
            return;
        }
        let mut task = Task::new(self, key);
        task.readiness.backend = self.backend_group();
        let built = task.build();
        let is_changing = !built.leaving.is_empty() || task.memory.selectors.as_ref() != Some(built.draft.selectors());
        if built.active.is_empty() || is_changing {
            return;
        }
        let intent = built.draft.resolve(&task.memory.resolved);
        read.remember(known, Some(&intent));
        let steps = |observed: &Observed| plan::group::plan(&intent, observed, &task.readiness).steps;
        let found = steps(&read);
        if steps(known).is_empty() && !found.is_empty() {
            self.found(key, &built.active, &report::operations(&found));
        }
    }

    /// What was read, unless something of the group is gone, which is found then.
    fn unless_gone<T>(&self, key: &GroupKey, known: &Observed, read: Result<T, Fault>) -> Result<Option<T>, Fault> {
        match read {
            Err(fault) if fault.class == Class::Missing => {
                let is_same = self.at_rest(key, Instant::now()).as_ref() == Some(known);
                if is_same {
                    self.found(key, &self.members_of(key), &fault.to_string());
                }
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn members_of(&self, group: &GroupKey) -> Vec<ObjectKey> {
        let cluster = self.cluster();
        cluster.standing_in(group).map(|ingress| ingress.key.clone()).collect()
    }

    /// Tells that somebody else changed something, and has it put right.
    fn found(&self, key: &GroupKey, members: &[ObjectKey], what: &str) {
        tracing::warn!(group = %key, what, "AWS was changed by somebody else");
        self.metrics.drift("group");
        report::tell_drift(self, members, what);
        self.notes().doubt(&Unit::Group(key.clone()));
        self.wake(Unit::Group(key.clone()), Duration::ZERO);
    }

    /// Whether a target group has the targets that its binding put there, and no others.
    async fn audit_targets(&self, group: &GroupKey, key: &ObjectKey) -> Result<(), Fault> {
        let Some((target_group, before)) = self.targets_at_rest(key) else {
            return Ok(());
        };
        let unit = Unit::Binding(key.clone());
        let read = match self.aws.registered(Lane::Audit, &unit, &target_group).await {
            // Its group finds that out.
            Err(fault) if fault.class == Class::Missing => return Ok(()),
            read => read?.registered,
        };
        let now = self.targets_at_rest(key);
        if read == before || now.is_none_or(|(_, now)| now != before) {
            return Ok(());
        }
        let what = format!(
            "target group {target_group}: {} targets are missing, {} are not ours",
            before.difference(&read).count(),
            read.difference(&before).count()
        );
        tracing::warn!(binding = %key, what, "AWS was changed by somebody else");
        self.metrics.drift("binding");
        report::tell_drift(self, &self.members_of(group), &what);
        self.notes().binding(key).doubtful = true;
        self.wake(unit, Duration::ZERO);
        Ok(())
    }

    /// The target group of a binding and the targets that were put there; `None` while some come or go.
    fn targets_at_rest(&self, key: &ObjectKey) -> Option<(TargetGroupArn, BTreeSet<Target>)> {
        let notes = self.notes();
        let cluster = self.cluster();
        let binding = cluster.binding(key).filter(|binding| !binding.deleting)?;
        let places = network::places(&cluster, binding).ok().flatten()?;
        let checkpoint = network::checkpoint(&places, &binding.spec_hash);
        let targets: BTreeSet<Target> = places.into_iter().map(|place| place.target).collect();
        let rests = binding.checkpoint == Some(checkpoint)
            && notes.find_binding(key).is_none_or(|notes| {
                !notes.doubtful
                    && notes.written.is_none_or(|at| at.elapsed() > LAG)
                    && notes.observed.as_ref().is_none_or(|o| o.registered == targets)
            });
        rests.then(|| (TargetGroupArn::from(binding.target_group.as_str()), targets))
    }
}
