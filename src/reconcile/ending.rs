//! How a task of a group ends, and how a group does.

use super::{
    Outcome,
    group::{Task, waiting},
};
use crate::{
    ingress::Built,
    model::*,
    plan::{Intent, Plan},
};
use tokio::time::Instant;

impl Task<'_> {
    /// Takes our finalizer off the members that leave.
    pub(super) async fn release(&self, built: &Built) -> Result<(), Outcome> {
        let finalizer = self.key.finalizer();
        for member in &built.leaving {
            let released = self.controller.writer.set_finalizer(member, &finalizer, false).await;
            released.map_err(Outcome::said_no(format_args!("the finalizer of Ingress {member}")))?;
        }
        Ok(())
    }

    /// Everything that can be done is done: remember, report, let go.
    pub(super) async fn finish(mut self, built: &Built, intent: &Intent, plan: &Plan) -> Outcome {
        if self.is_proven() {
            self.memory.observed.attempted.clear();
        }
        if !built.active.is_empty() {
            self.memory.confirmed_before = self.controller.notes().group(self.key).confirmed;
        }
        if let Err(outcome) = self.keep(built).await {
            return outcome;
        }
        let (unproven, waits_since) = {
            let mut notes = self.controller.notes();
            let notes = notes.group(self.key);
            notes.in_use = 0;
            notes.foretold = false;
            let now = Instant::now();
            notes.waits_since = (!plan.waits.is_empty()).then(|| notes.waits_since.unwrap_or(now));
            (notes.unproven, notes.waits_since.unwrap_or(now))
        };
        let outcome = match (waiting(&plan.waits, waits_since.elapsed()), unproven) {
            (Outcome::Settled, Some(until)) => Outcome::until_proven(until),
            (outcome, _) => outcome,
        };
        self.report(built, &plan.problems, &outcome).await;
        let gone = intent.load_balancer.is_none() && self.memory.observed.is_nothing() && unproven.is_none();
        let last = gone && built.active.is_empty();
        // Before the finalizers: a member that has one makes the next process look for what is left, but nobody would own
        // an object that outlived them all.
        let let_go = async {
            if last {
                let deleted = self.controller.writer.delete_load_balancer(&self.object_name()).await;
                deleted.map_err(Outcome::said_no(Object::LoadBalancer(self.object_name())))?;
            }
            if !built.active.is_empty() || gone {
                self.release(built).await?;
            }
            Ok(())
        };
        if let Err(outcome) = let_go.await {
            self.report(built, &plan.problems, &outcome).await;
            return outcome;
        }
        if last {
            self.controller.forget_group(self.key);
        }
        outcome
    }

    /// Whether what is remembered is what AWS has, as far as anybody can know.
    fn is_proven(&self) -> bool {
        let mut notes = self.controller.notes();
        let notes = notes.group(self.key);
        notes.doubtful.is_none() && notes.unproven.is_none()
    }

    /// Whether a group that nobody belongs to, nor has to be taken out of, is to go: its last member was seen to be
    /// deleted, or somebody confirms that it is.
    pub(super) fn is_seen_to_end(&self) -> bool {
        let confirmed = self.controller.notes().group(self.key).confirmed && !self.memory.confirmed_before;
        confirmed || self.controller.cluster().was_seen_to_end(self.key)
    }

    /// A group that nobody belongs to, nor has to be taken out of, and that nobody saw end: what it has stays, and is known.
    pub(super) async fn without_members(mut self, built: &Built) -> Outcome {
        if !self.is_known() {
            // Somebody may have to be told why his Ingress belongs to nobody.
            self.report(built, &[], &Outcome::Settled).await;
            if !self.controller.notes().group(self.key).untold {
                self.controller.forget_group(self.key);
            }
            return Outcome::Settled;
        }
        let looked = match self.look(built).await {
            Ok(()) => self.keep(built).await,
            unknown => unknown,
        };
        let unproven = self.controller.notes().group(self.key).unproven;
        let outcome = match (looked, unproven) {
            (Err(outcome), _) => outcome,
            (Ok(()), Some(until)) => Outcome::until_proven(until),
            (Ok(()), None) => Outcome::Settled,
        };
        let backend = self.controller.backend_group();
        let mut used = self
            .memory
            .observed
            .load_balancers
            .iter()
            .flat_map(|lb| &lb.load_balancer.security_groups);
        self.controller
            .note_backend(self.key, used.any(|group| Some(group) == backend.as_ref()));
        let problem = Problem {
            member: None,
            object: Object::LoadBalancer(self.object_name()),
            field: super::CONFIRM_DELETION.to_owned(),
            severity: Severity::Blocking,
            code: Code::Lost,
            detail: format!(
                "no Ingress of group {} is left, and nobody saw one being deleted, so the load balancer stays. Annotate this object with {}=true to have it deleted (remove the annotation first where it stands already).",
                self.key,
                super::CONFIRM_DELETION
            ),
        };
        self.report(built, &[problem], &outcome).await;
        outcome
    }
}
