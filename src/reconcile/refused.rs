//! What follows when AWS refuses a step: who is told, and until when it is not asked for again.

use super::{
    Controller, Outcome,
    group::{IN_USE, NOT_FOUND, Round, Task, failed},
    report::REPEAT,
    state::Refusal,
};
use crate::{
    aws::{Class, Fault},
    ingress::{self, Built},
    model::*,
    plan::{Mutation, Step},
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

impl Controller {
    /// A group that settled with problems runs again by itself: when what was not found is looked for again, or when its
    /// problems are to be told again.
    pub(super) fn look_again(&self, key: &GroupKey, built: &Built, outcome: Outcome) -> Outcome {
        if outcome != Outcome::Settled || built.problems.is_empty() {
            return outcome;
        }
        let notes = self.notes();
        let refusals = notes
            .find_group(key)
            .into_iter()
            .flat_map(|notes| notes.refusals.values());
        let first = refusals.filter_map(|refusal| refusal.until).min();
        let again = first.map_or(REPEAT, |until| until.saturating_duration_since(Instant::now()));
        Outcome::Waiting {
            on: "problems to be mended".to_owned(),
            again: again.clamp(IN_USE, REPEAT),
        }
    }
}

impl Task<'_> {
    /// Keeps problems that only the edge can find, for each member as it is; where several wishes met, until one of the
    /// members `among` which they did is changed.
    pub(super) fn refuse(&self, problems: Vec<Problem>, among: &BTreeSet<ObjectKey>, until: Option<Instant>) {
        let mut notes = self.controller.notes();
        let cluster = self.controller.cluster();
        let notes = notes.group(self.key);
        let mut by_member: BTreeMap<ObjectKey, Vec<Problem>> = BTreeMap::new();
        for problem in problems {
            if let Some(member) = problem.member.clone() {
                by_member.entry(member).or_default().push(problem);
            }
        }
        for (member, problems) in by_member {
            let facts = among
                .iter()
                .chain([&member])
                .filter_map(|of| Some((of.clone(), cluster.ingress(of)?.as_written())))
                .collect();
            let refusal = Refusal { facts, until, problems };
            notes.refusals.insert(member, refusal);
        }
    }

    /// What follows when AWS refuses a step.
    pub(super) fn refused(&mut self, built: &Built, step: &Step, fault: &Fault) -> Round {
        let mut notes = self.controller.notes();
        let group = notes.group(self.key);
        let proven = self.reads > 0 && group.unproven.is_none();
        let doubtful = &mut group.doubtful;
        match fault.class {
            _ if fault.outcome_unknown() => {
                *doubtful = Some(Instant::now());
                Round::End(failed(fault))
            }
            Class::Conflict if proven && matches!(step.call, Mutation::CreateLoadBalancer { .. }) => {
                drop(notes);
                self.refuse_name(built, step);
                Round::Again
            }
            Class::Missing | Class::Conflict => {
                *doubtful = Some(Instant::now());
                Round::Again
            }
            Class::InUse => Round::End(Outcome::Waiting {
                on: format!("AWS to let go: {fault}"),
                again: IN_USE,
            }),
            Class::Rejected if matches!(step.call, Mutation::DeleteLoadBalancer { .. }) => {
                // Somebody protected it since it was last read.
                *doubtful = Some(Instant::now());
                Round::Again
            }
            Class::Rejected | Class::OverQuota => {
                drop(notes);
                let members = self.to_blame(built, step);
                if members.is_empty() {
                    return Round::End(failed(fault));
                }
                let code = if fault.class == Class::OverQuota {
                    Code::OverQuota
                } else {
                    Code::Refused
                };
                let problem = |member: &ObjectKey| Problem {
                    member: Some(member.clone()),
                    object: Object::Ingress(member.clone()),
                    field: step.call.operation().to_owned(),
                    severity: Severity::Blocking,
                    code,
                    detail: format!("AWS refuses what this Ingress asks for: {fault}."),
                };
                let until = (fault.class == Class::OverQuota).then(|| Instant::now() + NOT_FOUND);
                let among = step.owner.is_none().then(|| built.active.iter().cloned().collect());
                self.refuse(members.iter().map(problem).collect(), &among.unwrap_or_default(), until);
                Round::Again
            }
            Class::Denied | Class::Throttled | Class::Unreachable => Round::End(failed(fault)),
        }
    }

    /// Whose wish a refused step is: its owner's; else those who say something about what it makes; else those who changed
    /// anything. Who is blocked already is not asked again.
    fn to_blame(&self, built: &Built, step: &Step) -> Vec<ObjectKey> {
        if let Some(owner) = &step.owner {
            return vec![owner.clone()];
        }
        let says = |member: &&ObjectKey| {
            let wishes = built.contributions.get(*member);
            wishes.is_some_and(|wishes| ingress::concerns(wishes, &step.call))
        };
        let changed = |member: &&ObjectKey| self.memory.contributions.get(*member) != built.contributions.get(*member);
        let open: Vec<&ObjectKey> = built.active.iter().filter(|m| !built.blocked.contains(*m)).collect();
        let of = |blame: &dyn Fn(&&ObjectKey) -> bool| -> Vec<ObjectKey> {
            open.iter()
                .filter(|member| blame(member))
                .map(|member| (*member).clone())
                .collect()
        };
        if built.active.iter().any(|member| says(&member)) {
            let both = of(&|member| says(member) && changed(member));
            return if both.is_empty() { of(&says) } else { both };
        }
        of(&changed)
    }

    /// AWS has a load balancer of that name, and it is nobody's of this group.
    fn refuse_name(&self, built: &Built, step: &Step) {
        let Mutation::CreateLoadBalancer { load_balancer } = &step.call else {
            return;
        };
        let named = |member: &&ObjectKey| {
            let wishes = built.contributions.get(*member);
            wishes.is_some_and(|wishes| wishes.shared.name.as_ref() == Some(&load_balancer.name))
        };
        let mut members: Vec<&ObjectKey> = built.active.iter().filter(named).collect();
        if members.is_empty() {
            members = built.active.iter().collect();
        }
        let problem = |member: &ObjectKey| Problem {
            member: Some(member.clone()),
            object: Object::Ingress(member.clone()),
            field: format!("{}load-balancer-name", ingress::annotation::PREFIX),
            severity: Severity::Blocking,
            code: Code::Conflict,
            detail: format!(
                "the account has a load balancer `{}` already, and its tags say that it is not of group {}. Write another name.",
                load_balancer.name, self.key
            ),
        };
        let problems = members.into_iter().map(problem).collect();
        self.refuse(problems, &BTreeSet::new(), Some(Instant::now() + NOT_FOUND));
    }
}
