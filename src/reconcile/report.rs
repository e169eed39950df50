//! What users and operators are told after a task.

use super::{Controller, Outcome, group::Task, state::Told};
use crate::{
    aws::Lack,
    ingress::Built,
    k8s::{Note, custom::LoadBalancerStatus},
    model::*,
    plan::Step,
    report,
};
use k8s_openapi::api::core::v1::ObjectReference;
use serde::Deserialize;
use serde_json::json;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};
use tokio::time::Instant;

/// Events vanish after an hour; what still holds is told again before.
pub(super) const REPEAT: Duration = Duration::from_secs(45 * 60);

/// Who has to wait longer than this for his turn at AWS is told so.
const FORETOLD: Duration = Duration::from_secs(5);

/// A task that comes this much early need not come again.
const RECENT: Duration = Duration::from_secs(60);

/// What a status says, but for what is counted, for times, and for what albacore keeps there for itself: a process that
/// begins writes only what an object does not show yet.
pub(super) fn fingerprint(mut status: LoadBalancerStatus) -> u64 {
    status.calls = 0;
    status.forecast = None;
    status.in_flight.clear();
    status.applied = None;
    for condition in &mut status.conditions {
        condition.last_transition_time.clear();
    }
    let mut hasher = DefaultHasher::new();
    json!(status).to_string().hash(&mut hasher);
    hasher.finish()
}

/// A member, as events name it; `None` for one that is gone.
fn reference(controller: &Controller, member: &ObjectKey) -> Option<ObjectReference> {
    let uid = controller.cluster().ingress(member).map(|fact| fact.uid.clone())?;
    Some(ObjectReference {
        api_version: Some("networking.k8s.io/v1".to_owned()),
        kind: Some("Ingress".to_owned()),
        namespace: Some(member.namespace.clone()),
        name: Some(member.name.clone()),
        uid: Some(uid),
        ..ObjectReference::default()
    })
}

impl Task<'_> {
    /// How long steps have to wait for the last of their tokens, and what is said of that.
    pub(super) fn forecast(&self, steps: &[Step]) -> (Duration, String) {
        let wait = self.controller.aws.forecast(steps, &self.unit);
        let of = if steps.len() == 1 { "step" } else { "steps" };
        let told = format!("{} {of}, about {} s", steps.len(), wait.as_secs_f64().ceil().max(1.0));
        (wait, told)
    }

    /// Tells the members once when what they wish has to wait for its turn.
    pub(super) fn foretell(&self, built: &Built, steps: &[Step]) {
        let (wait, forecast) = self.forecast(steps);
        let first = wait > FORETOLD && !std::mem::replace(&mut self.controller.notes().group(self.key).foretold, true);
        if !first {
            return;
        }
        let note = Note {
            warning: false,
            reason: "WaitsForBudget".to_owned(),
            text: format!("{forecast}: AWS grants this account only so many calls a second"),
        };
        tell_once(self.controller, &built.active, &note);
    }
}

/// Tells members something that nobody has to be told again.
fn tell_once(controller: &Controller, members: &[ObjectKey], note: &Note) {
    for about in members.iter().filter_map(|member| reference(controller, member)) {
        if !controller.events.tell(&about, note) {
            tracing::debug!(ingress = ?about.name, "too many events wait to be written; this one is left out");
        }
    }
}

/// Steps, by name.
pub(super) fn operations(steps: &[Step]) -> String {
    let names: Vec<&str> = steps.iter().map(|step| step.call.operation()).collect();
    names.join(", ")
}

/// Tells members that somebody else changed what they have in AWS.
pub(super) fn tell_drift(controller: &Controller, members: &[ObjectKey], what: &str) {
    let note = Note {
        warning: true,
        reason: "DriftFound".to_owned(),
        text: format!("AWS was changed by somebody else, and is put right again: {what}"),
    };
    tell_once(controller, members, &note);
}

/// How a group is.
pub(super) struct Report<'a> {
    pub task: &'a Task<'a>,
    pub built: &'a Built,
    pub problems: Vec<Problem>,
    /// Permissions that are missing.
    pub lacks: &'a [Lack],
    pub outcome: &'a Outcome,
}

impl Report<'_> {
    /// Writes status, events and the group's object, each only where it changed. Says whether all that stays was written;
    /// what was not is logged, and written by the next task.
    pub async fn write(&self) -> bool {
        let mut written = true;
        let current = report::in_use(&self.task.memory.observed);
        // A member that nothing was ever made for is not served by the load balancer.
        for member in self.built.contributions.keys() {
            let at = current.map(|lb| (lb.dns_name.to_lowercase(), lb.listeners.keys().copied().collect()));
            written &= self.write_status(member, at).await;
        }
        // Whoever leaves is told of what keeps it: it cannot be gone before.
        let mut told: Vec<ObjectKey> = self.built.active.iter().chain(&self.built.leaving).cloned().collect();
        told.extend(self.problems.iter().filter_map(|problem| problem.member.clone()));
        told.sort();
        told.dedup();
        {
            let mut all = self.task.controller.notes();
            let notes = all.group(self.task.key);
            notes.told.retain(|member, _| told.contains(member));
            notes.refusals.retain(|member, _| self.built.active.contains(member));
        }
        for member in &told {
            written &= self.tell(member);
        }
        written & self.show().await
    }

    async fn write_status(&self, member: &ObjectKey, at: Option<(String, Vec<Port>)>) -> bool {
        let Some((hostname, ports)) = at else { return true };
        let wanted = vec![(hostname.clone(), ports.clone())];
        let stale = self
            .task
            .controller
            .cluster()
            .ingress(member)
            .is_some_and(|fact| fact.status != wanted);
        if stale
            && let Err(error) = self
                .task
                .controller
                .writer
                .set_ingress_status(member, Some((&hostname, &ports)))
                .await
        {
            tracing::warn!(ingress = %member, %error, "the status could not be written");
            return false;
        }
        true
    }

    /// The notes about a member: its problems, or that all is well.
    fn notes(&self, member: &ObjectKey) -> Vec<Note> {
        let own = self
            .problems
            .iter()
            .filter(|problem| problem.member.as_ref() == Some(member));
        let mut notes: Vec<Note> = own
            .map(|problem| Note {
                warning: true,
                reason: format!("{:?}", problem.code),
                text: report::sentence(problem),
            })
            .collect();
        let denied = |lack: &Lack| Note {
            warning: true,
            reason: format!("{:?}", Code::Denied),
            text: format!("Not everything can be done: {lack}."),
        };
        notes.extend(self.lacks.iter().map(denied));
        let held = self.problems.iter().filter(|problem| problem.code == Code::Held);
        notes.extend(held.map(|problem| Note {
            warning: true,
            reason: format!("{:?}", problem.code),
            text: report::sentence(problem),
        }));
        let is_leaving = self.built.leaving.contains(member);
        if !self.built.blocked.contains(member) && (is_leaving || self.task.is_member(member)) {
            match self.outcome {
                Outcome::Settled if self.lacks.is_empty() && !is_leaving => notes.push(Note {
                    warning: false,
                    reason: "SuccessfullyReconciled".to_owned(),
                    text: "Successfully reconciled".to_owned(),
                }),
                Outcome::Failed { why } => notes.push(Note {
                    warning: true,
                    reason: "FailedDeployModel".to_owned(),
                    text: if is_leaving {
                        let group = self.task.key;
                        format!("Group {group} cannot let this Ingress go yet, and tries again: {why}")
                    } else {
                        format!("Not everything could be done yet, and is tried again: {why}")
                    },
                }),
                _ => {}
            }
        }
        notes
    }

    /// Tells a member what changed for it; says whether that could be told.
    fn tell(&self, member: &ObjectKey) -> bool {
        let controller = self.task.controller;
        let Some(about) = reference(controller, member) else {
            return true;
        };
        let uid = about.uid.clone().unwrap_or_default();
        let (notes, now) = (self.notes(member), Instant::now());
        let is_told = |told: &Told| told.uid == uid && told.notes == notes && now - told.at + RECENT < REPEAT;
        if controller
            .notes()
            .group(self.task.key)
            .told
            .get(member)
            .is_some_and(is_told)
        {
            return true;
        }
        for note in &notes {
            if note.warning {
                tracing::info!(ingress = %member, reason = note.reason, "{}", note.text);
            }
            if !controller.events.tell(&about, note) {
                tracing::warn!(ingress = %member, "too many events wait to be written; this one is told later");
                return false;
            }
        }
        let told = Told { uid, notes, at: now };
        controller
            .notes()
            .group(self.task.key)
            .told
            .insert(member.clone(), told);
        true
    }

    /// Brings the group's object up to date, if it has one.
    async fn show(&self) -> bool {
        let spent = self.task.controller.aws.spent(&self.task.unit);
        let facts = report::LoadBalancer {
            observed: &self.task.memory.observed,
            problems: &self.problems,
            ready: *self.outcome == Outcome::Settled
                && self.built.blocked.is_empty()
                && self.lacks.is_empty()
                && !self.problems.iter().any(|problem| problem.code == Code::Held),
            waits_for: match self.outcome {
                Outcome::Settled => None,
                outcome => Some(outcome.to_string()),
            },
        };
        let mut status = report::load_balancer(&facts);
        let shown = LoadBalancerStatus::deserialize(&status).ok().map(fingerprint);
        {
            let mut all = self.task.controller.notes();
            let notes = all.group(self.task.key);
            if !notes.known() || shown.is_some() && notes.shown == shown {
                return true;
            }
        }
        status["calls"] = spent.into();
        report::stamp(&mut status, self.task.controller.clock.now());
        if let Err(error) = self
            .task
            .controller
            .writer
            .patch_load_balancer(&self.task.object_name(), status)
            .await
        {
            tracing::warn!(group = %self.task.key, %error, "the LoadBalancer object could not be written");
            return false;
        }
        self.task.controller.notes().group(self.task.key).shown = shown;
        true
    }
}
