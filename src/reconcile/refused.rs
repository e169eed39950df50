//! What follows when AWS refuses a step: who is told, and until when it is not asked for again.

use super::{
    Controller, Outcome,
    group::{IN_USE, Round, Task},
    network::AGREE,
    report::REPEAT,
    state::{LAG, Refusal},
};
use crate::{
    aws::{Class, Fault},
    ingress::{
        self, Built,
        quota::{self, Quotas},
    },
    model::*,
    plan::{Intent, Mutation, Plan, Ref, Step},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How soon something is asked for again that was refused or not found; twice as late each time.
const AGAIN: Duration = Duration::from_secs(300);
/// How much later at most something is tried again that AWS refuses because something else still uses it.
const PATIENCE: Duration = Duration::from_secs(160);

/// How soon something is tried again that AWS has refused to let go of `times` times in a row.
pub(super) fn in_use(times: u32) -> Duration {
    (IN_USE * 2_u32.saturating_pow(times.min(8))).min(PATIENCE)
}

impl Controller {
    /// A group that settled with problems runs again by itself: when what was refused is asked for again, or when its
    /// problems are to be told again.
    pub(super) fn look_again(&self, key: &GroupKey, built: &Built, outcome: Outcome) -> Outcome {
        if outcome != Outcome::Settled || (built.problems.is_empty() && self.lacks_beside(key).is_empty()) {
            return outcome;
        }
        let now = Instant::now();
        let mut notes = self.notes();
        let shrunk = notes.breaker.shrunk(&Unit::Group(key.clone()));
        let refusals = &mut notes.group(key).refusals;
        // What was asked for again and not refused again is over.
        refusals.retain(|member, refusal| now < refusal.until && built.blocked.contains(member));
        let asked = refusals.values().map(|refusal| refusal.until.duration_since(now));
        Outcome::Waiting {
            on: "problems to be mended".to_owned(),
            again: asked.chain(shrunk).min().unwrap_or(REPEAT).min(REPEAT),
        }
    }
}

impl Task<'_> {
    /// Keeps problems that only the edge can find, for each member as long as it wishes the same; `together` where the
    /// wishes of several met, as long as they all do.
    pub(super) fn refuse(&self, built: &Built, problems: Vec<Problem>, together: bool) {
        let mut notes = self.controller.notes();
        let notes = notes.group(self.key);
        let mut by_member: BTreeMap<ObjectKey, Vec<Problem>> = BTreeMap::new();
        for problem in problems {
            if let Some(member) = problem.member.clone() {
                by_member.entry(member).or_default().push(problem);
            }
        }
        let open = |member: &&ObjectKey| !built.blocked.contains(*member);
        let of = |member: &ObjectKey| Some((member.clone(), built.contributions.get(member)?.clone()));
        let all = together.then(|| Arc::new(built.active.iter().filter(open).filter_map(of).collect()));
        for (member, problems) in by_member {
            let wishes = all
                .clone()
                .unwrap_or_else(|| Arc::new(of(&member).into_iter().collect()));
            let before = notes.refusals.get(&member).filter(|refusal| refusal.wishes == wishes);
            let times = before.map_or(0, |refusal| refusal.times + 1);
            let refusal = Refusal {
                wishes,
                until: Instant::now() + (AGAIN * 2_u32.saturating_pow(times.min(8))).min(REPEAT),
                times,
                problems,
            };
            notes.refusals.insert(member, refusal);
        }
    }

    /// Whether everything that a plan adds fits into AWS' quotas; who does not fit is refused before anything is written.
    pub(super) async fn fits(&self, built: &Built, intent: &Intent, plan: &Plan) -> Result<bool, Fault> {
        if !plan.steps.iter().any(|step| step.call.adds()) {
            return Ok(true);
        }
        let standing = &self.memory.contributions;
        let overflow = |quotas: &Quotas| {
            let mut problems = quota::overflow(built, standing, intent, quotas);
            problems.extend(self.one_load_balancer_more(built, plan, quotas));
            problems
        };
        // AWS' defaults are never more than what it grants: who keeps to them need not ask.
        if overflow(&Quotas::default()).is_empty() {
            return Ok(true);
        }
        let quotas = self.controller.aws.quotas(&self.unit).await?;
        let problems = overflow(&quotas);
        let fits = problems.is_empty();
        if !fits {
            self.refuse(built, problems, false);
        }
        Ok(fits)
    }

    /// Who wants a load balancer that the account may not have any more.
    fn one_load_balancer_more(&self, built: &Built, plan: &Plan, quotas: &Quotas) -> Vec<Problem> {
        let makes = |step: &Step| matches!(step.call, Mutation::CreateLoadBalancer { .. });
        let most = quotas.of(quota::LOAD_BALANCERS);
        let notes = self.controller.notes();
        if !plan.steps.iter().any(makes) || notes.groups().filter(|(_, notes)| notes.known()).count() <= most {
            return Vec::new();
        }
        let held: usize = notes
            .groups()
            .map(|(_, notes)| notes.memory().observed.load_balancers.len())
            .sum();
        if held < most {
            return Vec::new();
        }
        let open = built.active.iter().filter(|member| !built.blocked.contains(*member));
        let problem = |member: &ObjectKey| Problem {
            member: Some(member.clone()),
            object: Object::Ingress(member.clone()),
            field: quota::LOAD_BALANCERS.0.to_owned(),
            severity: Severity::Blocking,
            code: Code::OverQuota,
            detail: format!(
                "AWS allows {most} load balancers in this account and Region, and this cluster has {held}. Share one by \
                 alb.ingress.kubernetes.io/group.name, or ask AWS for a higher quota (`{}`).",
                quota::LOAD_BALANCERS.0
            ),
        };
        open.map(problem).collect()
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
                Round::End(Outcome::of(fault))
            }
            Class::Conflict if proven && step.owner.is_some() => {
                drop(notes);
                self.refuse_members(built, step, fault, Code::Conflict)
            }
            Class::Conflict if proven && matches!(step.call, Mutation::CreateLoadBalancer { .. }) => {
                drop(notes);
                self.refuse_name(built, step, fault)
            }
            Class::Missing | Class::Conflict => {
                *doubtful = Some(Instant::now());
                Round::Again
            }
            // Permissions are given by tags, and what is gone has none ("Controlling access to AWS resources using tags", IAM
            // user guide): before anybody is told that one is missing, it is looked whether the thing is there.
            Class::Denied if !step.call.adds() && self.reads == 0 => {
                *doubtful = Some(Instant::now());
                Round::Again
            }
            Class::InUse => {
                // Only what nobody needs any more is still in use: what is wished stands.
                self.memory.contributions.clone_from(&built.contributions);
                group.in_use += 1;
                Round::End(Outcome::Waiting {
                    on: format!("AWS to let go: {fault}"),
                    again: in_use(group.in_use - 1),
                })
            }
            Class::Rejected if matches!(step.call, Mutation::DeleteLoadBalancer { .. }) => {
                // Somebody protected it since it was last read.
                *doubtful = Some(Instant::now());
                Round::Again
            }
            Class::Rejected if fault.code == "InvalidSecurityGroup" && self.names_ours(step) => {
                // Ours is gone, maybe, and a late answer shows it; what a user wrote is blamed when none can be so late.
                let now = Instant::now();
                let since = *group.groups_refused.get_or_insert(now);
                if now - since >= LAG {
                    drop(notes);
                    return self.refuse_members(built, step, fault, Code::Refused);
                }
                *doubtful = Some(now);
                notes.doubt(&Unit::Network);
                self.controller.wake(Unit::Network, Duration::ZERO);
                Round::End(Outcome::Waiting {
                    on: "its security groups to be read again".to_owned(),
                    again: AGREE,
                })
            }
            Class::Rejected => {
                drop(notes);
                self.refuse_members(built, step, fault, Code::Refused)
            }
            Class::OverQuota => {
                drop(notes);
                self.refuse_members(built, step, fault, Code::OverQuota)
            }
            Class::Denied | Class::Unauthenticated | Class::Throttled | Class::Unreachable => {
                Round::End(Outcome::of(fault))
            }
        }
    }

    /// Whether a step puts a load balancer into a security group that albacore made.
    fn names_ours(&self, step: &Step) -> bool {
        let groups = match &step.call {
            Mutation::CreateLoadBalancer { load_balancer } => &load_balancer.security_groups,
            Mutation::SetSecurityGroups { groups, .. } => groups,
            _ => return false,
        };
        let managed = self.memory.observed.security_group.as_ref().map(|group| &group.id);
        let backend = self.readiness.backend.as_ref();
        groups.iter().any(|group| match group {
            Ref::From(_) => true,
            Ref::Known(id) => Some(id) == backend || Some(id) == managed,
        })
    }

    /// Blocks those whose wish a step is, if there are any who are not.
    fn refuse_members(&self, built: &Built, step: &Step, fault: &Fault, code: Code) -> Round {
        let members = self.to_blame(built, step);
        if members.is_empty() {
            return Round::End(Outcome::of(fault));
        }
        let problem = |member: &ObjectKey| Problem {
            member: Some(member.clone()),
            object: Object::Ingress(member.clone()),
            field: step.call.operation().to_owned(),
            severity: Severity::Blocking,
            code,
            detail: format!("AWS refuses what this Ingress asks for: {fault}."),
        };
        self.refuse(built, members.iter().map(problem).collect(), step.owner.is_none());
        Round::Again
    }

    /// Whose wish a refused step is: its owner's; else those who say something about what it makes; else those who changed
    /// anything. Who is blocked already is not asked again.
    fn to_blame(&self, built: &Built, step: &Step) -> Vec<ObjectKey> {
        let open: Vec<&ObjectKey> = built.active.iter().filter(|m| !built.blocked.contains(*m)).collect();
        if let Some(owner) = &step.owner {
            return open.into_iter().filter(|member| *member == owner).cloned().collect();
        }
        let says = |member: &&ObjectKey| {
            let wishes = built.contributions.get(*member);
            wishes.is_some_and(|wishes| ingress::concerns(wishes, &step.call))
        };
        let changed = |member: &&ObjectKey| self.memory.contributions.get(*member) != built.contributions.get(*member);
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
    fn refuse_name(&self, built: &Built, step: &Step, fault: &Fault) -> Round {
        let Mutation::CreateLoadBalancer { load_balancer } = &step.call else {
            return Round::End(Outcome::of(fault));
        };
        let named = |member: &&ObjectKey| {
            let wishes = built.contributions.get(*member);
            wishes.is_some_and(|wishes| wishes.shared.name.as_ref() == Some(&load_balancer.name))
        };
        let open = || built.active.iter().filter(|member| !built.blocked.contains(*member));
        let mut members: Vec<&ObjectKey> = open().filter(named).collect();
        if members.is_empty() {
            members = open().collect();
        }
        if members.is_empty() {
            return Round::End(Outcome::of(fault));
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
        self.refuse(built, members.into_iter().map(problem).collect(), false);
        Round::Again
    }
}
