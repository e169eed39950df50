//! One task of a group: from facts to a load balancer that does what they say.
//!
//! ```text
//! build ─► (read AWS, with a reason) ─► resolve ─► plan ─► execute ─► bindings ─► remember ─► status, events, finalizers
//!   ▲                                      │ not found      │ refused       │
//!   └──────────── a member's problem ──────┴────────────────┘               └─ once more, until nothing is left to do
//! ```

use super::{
    Controller, Outcome,
    queue::Generation,
    report::Report,
    state::{self, GroupMemory},
};
use crate::{
    aws::{Fault, INTERFACES, Lack},
    execute::Stopped,
    facts::{Cluster, Membership},
    ingress::{self, BuildInput, Built, Refused, annotation::VERIFY},
    k8s::{self, memory},
    model::*,
    plan::{self, Intent, Mutation, Plan, Readiness, Step, Wait},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How long a load balancer that was replaced is kept after DNS names the new one: 60 seconds that its name may be
/// cached ("DNS name", Application Load Balancers user guide), and connections drain as long again, twice over for
/// clients that look up late.
const LINGER: Duration = Duration::from_secs(240);
/// How soon something is tried again that AWS refuses because something else still uses it.
pub(super) const IN_USE: Duration = Duration::from_secs(5);
/// How often the health of targets is asked for while a switch waits for it, at first.
const HEALTH: Duration = Duration::from_secs(4);
/// How often a load balancer is looked at while it is provisioned, at first; AWS takes minutes.
const PROVISIONING: Duration = Duration::from_secs(15);
/// What takes long is asked for more and more rarely: it is noticed late by an eighth of the time that it took …
const LATE: u32 = 8;
/// … and by this much at most. Targets may never become healthy.
const LATEST: Duration = Duration::from_secs(120);
/// Rounds of one task: each but the last makes progress, so more would be a cycle.
pub(super) const ROUNDS: u32 = 40;
/// Reads of one task: a memory that is wrong again after it was read is looked at later.
const READS: u32 = 3;

/// A task's view of its group.
pub(super) struct Task<'a> {
    pub controller: &'a Controller,
    pub key: &'a GroupKey,
    pub unit: Unit,
    pub memory: GroupMemory,
    /// The memory as it stands in the group's object.
    pub stored: GroupMemory,
    pub readiness: Readiness,
    pub reads: u32,
    /// Members that this task put our finalizer on; the watch may not have told yet.
    pub claimed: BTreeSet<ObjectKey>,
}

/// What one round came to.
pub(super) enum Round {
    /// Something was learned or done: once more.
    Again,
    /// Nothing is left that can be done now.
    Done(Box<Intent>, Plan),
    /// The task ends here.
    End(Outcome),
}

impl Controller {
    /// Brings a group's load balancer in line with what its members wish.
    pub(super) async fn reconcile_group(&self, key: &GroupKey, generation: &mut Generation) -> Outcome {
        let mut task = Task::new(self, key);
        for _ in 0..ROUNDS {
            let built = task.build();
            let empty = built.active.is_empty() && built.leaving.is_empty();
            if empty && !(task.is_known() && task.is_seen_to_end()) {
                return task.without_members(&built).await;
            }
            match task.round(&built, generation).await {
                Round::Again => {}
                Round::Done(intent, plan) => {
                    let outcome = task.finish(&built, &intent, &plan).await;
                    return self.look_again(key, &built, outcome);
                }
                Round::End(outcome @ (Outcome::Superseded | Outcome::Deposed)) => {
                    let saved = task.keep(&built).await;
                    return saved.err().unwrap_or(outcome);
                }
                Round::End(outcome) => {
                    let saved = task.keep(&built).await;
                    task.report(&built, &[], &outcome).await;
                    return self.look_again(key, &built, saved.err().unwrap_or(outcome));
                }
            }
        }
        debug_assert!(false, "{key}: plans go round in a circle");
        Outcome::Failed {
            why: "a plan that never ends, which is a bug of albacore".to_owned(),
        }
    }
}

impl<'a> Task<'a> {
    /// A task that knows what is remembered.
    pub(super) fn new(controller: &'a Controller, key: &'a GroupKey) -> Self {
        let memory = controller.notes().group(key).memory();
        Self {
            controller,
            key,
            unit: Unit::Group(key.clone()),
            stored: memory.clone(),
            memory,
            readiness: Readiness {
                external_tags: controller.settings.external_managed_tags.clone(),
                ..Readiness::default()
            },
            reads: 0,
            claimed: BTreeSet::new(),
        }
    }
}

impl Task<'_> {
    /// What the members wish, from facts and what is remembered.
    pub(super) fn build(&self) -> Built {
        let mut notes = self.controller.notes();
        let now = Instant::now();
        let of_group = notes.find_group(self.key).into_iter().flat_map(|notes| &notes.refusals);
        let refusals: BTreeMap<ObjectKey, Refused> = of_group
            .filter(|(_, refusal)| now < refusal.until)
            .map(|(member, refusal)| {
                let refused = Refused {
                    wishes: Arc::clone(&refusal.wishes),
                    problems: refusal.problems.clone(),
                };
                (member.clone(), refused)
            })
            .collect();
        let last_good = &self.memory.contributions;
        let mut cluster = self.controller.cluster();
        cluster.forget_left(self.key, |member| last_good.contains_key(member));
        let build = |kept: &BTreeSet<ObjectKey>| {
            ingress::build(&BuildInput {
                settings: &self.controller.settings,
                group: self.key,
                cluster: &cluster,
                last_good,
                refusals: &refusals,
                kept,
            })
        };
        let mut built = build(&BTreeSet::new());
        let held = self.held_members(&built, &mut notes, &cluster);
        if !held.is_empty() {
            built = build(&held);
        }
        built.problems.extend(self.held(&notes, &cluster));
        built
    }

    async fn round(&mut self, built: &Built, generation: &mut Generation) -> Round {
        match self.look(built).await {
            Ok(()) => {}
            Err(outcome) => return Round::End(outcome),
        }
        if let Err(outcome) = self.claim(built).await {
            return Round::End(outcome);
        }
        if self.is_speechless(built) {
            // Whoever stays holds the group: who leaves need not wait for him to be mended.
            let released = self.release(built).await;
            return Round::End(released.err().unwrap_or(Outcome::Settled));
        }
        let intent = match self.intend(built).await {
            Ok(Some(intent)) => intent,
            Ok(None) => return Round::Again,
            Err(fault) => return Round::End(Outcome::of(&fault)),
        };
        let plan = plan::group::plan(&intent, &self.memory.observed, &self.readiness);
        self.memory.observed.note(&plan, &self.readiness);
        if plan.steps.is_empty() {
            // Everything that was wished stands, or its last parts wait for something: from now on this is what is kept.
            if !plan.waits.contains(&Wait::Backend) {
                self.memory.contributions.clone_from(&built.contributions);
            }
            if let Err(outcome) = self.bindings(&intent).await {
                return Round::End(outcome);
            }
            return match self.ask_readiness(&plan).await {
                Ok(true) => Round::Again,
                Ok(false) => Round::Done(Box::new(intent), plan),
                Err(fault) => Round::End(Outcome::of(&fault)),
            };
        }
        match self.fits(built, &intent, &plan).await {
            Ok(true) => {}
            Ok(false) => return Round::Again,
            Err(fault) => return Round::End(Outcome::of(&fault)),
        }
        self.memory.observed.attempt(&plan.steps);
        if let Err(outcome) = self.save(Some(&plan.steps)).await {
            return Round::End(outcome);
        }
        self.foretell(built, &plan.steps);
        self.controller.notes().group(self.key).waits_since = None;
        let ran = self.execute(&plan.steps, generation).await;
        let bound = self.bindings(&intent).await;
        // What AWS said counts, whatever Kubernetes says.
        let round = match ran {
            Ok(()) => Round::Again,
            Err(Stopped::Superseded) => Round::End(Outcome::Superseded),
            Err(Stopped::Deposed) => Round::End(Outcome::Deposed),
            Err(Stopped::Refused { step, fault }) => self.refused(built, &step, &fault),
        };
        match (round, bound) {
            (Round::Again, Err(outcome)) => Round::End(outcome),
            (round, _) => round,
        }
    }

    /// Reads what AWS holds, where there is a reason to.
    pub(super) async fn look(&mut self, built: &Built) -> Result<(), Outcome> {
        let wished = self.verify_tokens();
        let Some(as_of) = self.must_read(built, &wished) else {
            if !self.is_known() {
                self.memory.verified = wished;
            }
            return Ok(());
        };
        if self.reads == READS {
            return Err(Outcome::Failed {
                why: "AWS differs from what was read a moment ago".to_owned(),
            });
        }
        self.reads += 1;
        let known = self.memory.observed.clone();
        let mut read = self
            .controller
            .aws
            .observe_group(&self.unit, &self.controller.settings, self.key, &known, as_of)
            .await
            .map_err(|fault| Outcome::of(&fault))?;
        let intended = built.draft.resolve(&self.memory.resolved);
        let missing = !known.ids().is_subset(&read.ids());
        read.remember(&known, Some(&intended));
        self.memory.observed = read;
        if self.memory.verified != wished {
            self.prove_the_rest();
        }
        self.memory.verified = wished;
        let mut notes = self.controller.notes();
        let notes = notes.group(self.key);
        let doubted = notes.doubtful.is_some();
        // A doubt that is younger than what was read stays.
        notes.doubtful = notes.doubtful.filter(|since| *since > as_of);
        let since = notes.written.or(missing.then(|| self.controller.led_since()));
        notes.unproven = since.filter(|_| doubted || missing).and_then(state::unproven);
        Ok(())
    }

    /// What should be, with everything looked up. `None` when that found problems: then the group is built anew without
    /// the wishes that led there.
    pub(super) async fn intend(&mut self, built: &Built) -> Result<Option<Intent>, Fault> {
        let Some(resolved) = self.resolve(built).await? else {
            return Ok(None);
        };
        self.memory.resolved = resolved;
        self.memory.selectors = Some(built.draft.selectors().clone());
        let intent = built.draft.resolve(&self.memory.resolved);
        self.controller
            .note_backend(self.key, intent.load_balancer.is_some() && built.draft.needs_backend());
        self.readiness.backend = self.controller.backend_group();
        Ok(Some(intent))
    }

    /// Performs steps; from then on AWS may hold what they leave, whatever it shows.
    pub(super) async fn execute(&mut self, steps: &[Step], generation: &mut Generation) -> Result<(), Stopped> {
        let ran = self
            .controller
            .executor
            .run(steps, &self.unit, generation, &mut self.memory.observed)
            .await;
        let sent = match &ran {
            // Refused for certain: nothing came of that step.
            Err(Stopped::Refused { step, fault }) if !fault.outcome_unknown() => {
                let before = steps.iter().take_while(|earlier| earlier.id != step.id);
                before.count()
            }
            _ => steps.len(),
        };
        let mut notes = self.controller.notes();
        let notes = notes.group(self.key);
        if sent > 0 {
            notes.written = Some(Instant::now());
        }
        let joins = |step: &Step| {
            matches!(
                step.call,
                Mutation::CreateLoadBalancer { .. } | Mutation::SetSecurityGroups { .. }
            )
        };
        if matches!(ran, Ok(()) | Err(Stopped::Refused { .. })) && steps[..sent].iter().any(joins) {
            notes.groups_refused = None;
        }
        ran
    }

    /// Values of `albacore.dev/verify`, by object.
    fn verify_tokens(&self) -> BTreeMap<String, String> {
        let own = self
            .controller
            .notes()
            .group(self.key)
            .verify
            .clone()
            .map(|token| ("LoadBalancer".to_owned(), token));
        let cluster = self.controller.cluster();
        let of_members = cluster.standing_in(self.key).filter_map(|ingress| {
            Some((
                Object::Ingress(ingress.key.clone()).to_string(),
                ingress.annotations.get(VERIFY)?.clone(),
            ))
        });
        of_members.chain(own).collect()
    }

    /// Whether what is remembered must be proven first, and by what was read since when: nothing is remembered of members
    /// that we, or ALBC, hold; an outcome is unknown; or a user asks for it.
    fn must_read(&self, built: &Built, wished: &BTreeMap<String, String>) -> Option<Instant> {
        let now = Instant::now();
        let mut notes = self.controller.notes();
        let notes = notes.group(self.key);
        let adopt = !notes.known() && self.reads == 0 && {
            let cluster = self.controller.cluster();
            let held = |member: &ObjectKey| {
                cluster
                    .ingress(member)
                    .is_some_and(|ingress| Cluster::held_by(ingress).contains(self.key))
            };
            built.active.iter().chain(&built.leaving).any(held)
        };
        // Groups that are in doubt, or adopted, for the same reason share what is listed: nobody but us changed anything
        // since we lead.
        let since = notes.doubtful.or_else(|| adopt.then(|| self.controller.led_since()));
        if since.is_some() {
            return since;
        }
        // The first value that is seen of a new group asks for nothing: it is about to be made.
        let asked = notes.known()
            && wished
                .iter()
                .any(|(object, token)| self.memory.verified.get(object) != Some(token));
        let due = notes.unproven.is_some_and(|at| at <= now);
        (asked || due).then_some(now)
    }

    /// Has the targets of the group and the cluster network read too: a user asked for everything to be proven.
    fn prove_the_rest(&self) {
        let mut notes = self.controller.notes();
        let cluster = self.controller.cluster();
        for binding in cluster.bindings_of(self.key) {
            notes.binding(&binding.key).doubtful = true;
            self.controller.wake(Unit::Binding(binding.key.clone()), Duration::ZERO);
        }
        notes.doubt(&Unit::Network);
        notes.network.hosts.clear();
        notes.groupless.clear();
        self.controller.wake(Unit::Network, Duration::ZERO);
    }

    /// Looks up what the selectors stand for, if they changed. `None` when that found problems: then the group is built
    /// anew without the wishes that led there.
    async fn resolve(&mut self, built: &Built) -> Result<Option<Resolved>, Fault> {
        let selectors = built.draft.selectors();
        if built.active.is_empty() || self.memory.selectors.as_ref() == Some(selectors) {
            return Ok(Some(self.memory.resolved.clone()));
        }
        let before = self
            .memory
            .selectors
            .clone()
            .map(|selectors| (selectors, self.memory.resolved.clone()));
        let (resolved, problems) = self
            .controller
            .aws
            .resolve(
                &self.controller.settings,
                &self.unit,
                selectors,
                before.as_ref(),
                &self.memory.observed,
            )
            .await?;
        if problems.is_empty() {
            return Ok(Some(resolved));
        }
        let open = |problem: &Problem| problem.member.as_ref().is_some_and(|m| !built.blocked.contains(m));
        if !problems.iter().any(open) {
            // It is the last good wishes that stand for nothing any more: what they stood for stays.
            return Ok(Some(self.memory.resolved.clone()));
        }
        self.refuse(built, problems, false);
        Ok(None)
    }

    /// Whether nobody can say what should be: AWS holds something for a member whose wishes cannot be read, and what it
    /// wished last is not remembered. Then everything stays as it is.
    pub(super) fn is_speechless(&self, built: &Built) -> bool {
        let silent = |member: &ObjectKey| !built.contributions.contains_key(member);
        let held = |member: &ObjectKey| {
            let cluster = self.controller.cluster();
            cluster
                .ingress(member)
                .is_some_and(|ingress| Cluster::held_by(ingress).contains(self.key))
        };
        let remembered = !self.memory.contributions.is_empty();
        let all_silent =
            !built.active.is_empty() && built.active.iter().all(silent) && (built.leaving.is_empty() || !remembered);
        // One that is being made has looked things up already.
        let forgotten =
            !remembered && self.memory.selectors.is_none() && built.active.iter().any(|m| silent(m) && held(m));
        all_silent || (forgotten && !self.memory.observed.is_nothing())
    }

    /// Puts our finalizer on every member before the first thing is made for it: on those that cannot be acted upon too,
    /// as ALBC does, since an earlier life may have made something for them.
    async fn claim(&mut self, built: &Built) -> Result<(), Outcome> {
        let finalizer = self.key.finalizer();
        for member in self.unclaimed(built) {
            self.controller
                .writer
                .set_finalizer(member, &finalizer, true)
                .await
                .map_err(Outcome::said_no(format_args!("the finalizer of Ingress {member}")))?;
            self.claimed.insert(member.clone());
        }
        Ok(())
    }

    /// Members without our finalizer.
    pub(super) fn unclaimed<'b>(&self, built: &'b Built) -> Vec<&'b ObjectKey> {
        let finalizer = self.key.finalizer();
        let unclaimed = |member: &&ObjectKey| {
            self.controller
                .cluster()
                .ingress(member)
                .is_some_and(|ingress| !ingress.finalizers.contains(&finalizer) && !ingress.deleting)
                && !self.claimed.contains(*member)
                && self.is_member(member)
        };
        built.active.iter().filter(unclaimed).collect()
    }

    /// Writes the memory to the group's object. None is made before all members have a finalizer, nor where nothing is left
    /// to remember: it would be nobody's if they were gone before anybody looks again.
    pub(super) async fn keep(&mut self, built: &Built) -> Result<(), Outcome> {
        let ends = built.active.is_empty() && self.memory.observed.is_nothing();
        if !self.is_known() && (ends || !self.unclaimed(built).is_empty()) {
            return Ok(());
        }
        self.save(None).await
    }

    /// Writes the memory to the group's object if it changed; `steps` are about to be performed, and stand there until
    /// the next time.
    pub(super) async fn save(&mut self, steps: Option<&[Step]>) -> Result<(), Outcome> {
        let changed = self.memory != self.stored;
        let (doubtful, in_flight, unsaved) = {
            let mut notes = self.controller.notes();
            let notes = notes.group(self.key);
            let doubtful = notes.doubtful.is_some() || notes.unproven.is_some();
            (doubtful, notes.in_flight, notes.unsaved)
        };
        // A doubt outlives the process only as what is in flight.
        let clears = steps.is_none() && in_flight && !doubtful;
        let known = self.controller.notes().group(self.key).known();
        if !changed && !unsaved && steps.is_none() && !clears && known {
            return Ok(());
        }
        let name = self.object_name();
        if !known {
            self.controller
                .writer
                .create_load_balancer(&name, self.key)
                .await
                .map_err(Outcome::said_no(Object::LoadBalancer(name.clone())))?;
        }
        let applied = memory::encode(&self.memory);
        let mut status = json!({ "applied": applied, "forecast": null });
        if let Some(steps) = steps {
            let calls: BTreeSet<&str> = steps.iter().map(|step| step.call.operation()).collect();
            status["inFlight"] = json!(calls);
            status["forecast"] = json!(self.forecast(steps).1);
        } else if !doubtful {
            status["inFlight"] = json!(null);
        }
        let written = self.controller.writer.patch_load_balancer(&name, status).await;
        let mut notes = self.controller.notes();
        let notes = notes.group(self.key);
        notes.unsaved = written.is_err();
        if let Err(fault) = written {
            if known && notes.known() && fault != k8s::Fault::Missing {
                // AWS is ahead of the object, which says that something is in flight; this process goes on from what it knows.
                notes.remember(applied, self.memory.observed.size());
            }
            return Err(Outcome::said_no(Object::LoadBalancer(name))(fault));
        }
        self.stored = self.memory.clone();
        notes.remember(applied, self.memory.observed.size());
        notes.in_flight = steps.is_some() || (in_flight && doubtful);
        Ok(())
    }

    /// Whether the group has an object in Kubernetes.
    pub(super) fn is_known(&self) -> bool {
        self.controller.notes().group(self.key).known()
    }

    /// Name of the group's object.
    pub(super) fn object_name(&self) -> String {
        names::security_group(&self.controller.settings.cluster, self.key)
    }

    /// Asks AWS for what a plan waits for; says whether anything is ready now that was not.
    async fn ask_readiness(&mut self, plan: &Plan) -> Result<bool, Fault> {
        let mut news = false;
        for wait in &plan.waits {
            match wait {
                Wait::Targets { arn: Some(arn), .. } => {
                    if !self.readiness.ready.contains(arn) && self.controller.targets_ready(&self.unit, arn).await? {
                        news |= self.readiness.ready.insert(arn.clone());
                    }
                }
                Wait::Active(arn) => {
                    if !self.readiness.active.contains(arn) && self.controller.aws.is_active(&self.unit, arn).await? {
                        news |= self.readiness.active.insert(arn.clone());
                    }
                }
                Wait::Linger(arn) => {
                    let mut notes = self.controller.notes();
                    let since = *notes
                        .group(self.key)
                        .retired
                        .entry(arn.clone())
                        .or_insert_with(Instant::now);
                    if since.elapsed() >= LINGER {
                        news |= self.readiness.lingered.insert(arn.clone());
                    }
                }
                Wait::Unused(group) => {
                    if self.controller.aws.is_unused(&self.unit, group).await? {
                        news |= self.readiness.unused.insert(group.clone());
                    }
                }
                Wait::Targets { arn: None, .. } | Wait::Backend | Wait::Name(_) => {}
            }
        }
        Ok(news)
    }

    /// Tells users and operators how things are.
    pub(super) async fn report(&self, built: &Built, problems: &[Problem], outcome: &Outcome) {
        let own = match outcome {
            Outcome::Denied(lack) => Some(lack.clone()),
            _ => None,
        };
        let lacks: Vec<Lack> = self.controller.lacks_beside(self.key).into_iter().chain(own).collect();
        let denied = lacks.iter().map(|lack| self.denied(lack));
        let report = Report {
            task: self,
            built,
            problems: built.problems.iter().chain(problems).cloned().chain(denied).collect(),
            lacks: &lacks,
            outcome,
        };
        let written = report.write().await;
        if let Some(notes) = self.controller.notes().find_group_mut(self.key) {
            notes.untold = !written;
        }
    }

    /// What the operator reads of a missing permission.
    fn denied(&self, lack: &Lack) -> Problem {
        Problem {
            member: None,
            object: Object::LoadBalancer(self.object_name()),
            field: lack.action.clone(),
            severity: Severity::Blocking,
            code: Code::Denied,
            detail: format!("{lack}."),
        }
    }

    /// Whose an Ingress is now.
    pub(super) fn is_member(&self, ingress: &ObjectKey) -> bool {
        let cluster = self.controller.cluster();
        let Some(fact) = cluster.ingress(ingress) else {
            return false;
        };
        matches!(cluster.membership(&self.controller.settings, fact), Membership::Member(group, _) if group == *self.key)
    }
}

/// How soon to look again, at the earliest, at what has taken so long.
pub(super) fn rarely(so_far: Duration) -> Duration {
    (so_far / LATE).min(LATEST)
}

/// When to look again at what a plan has waited for, for so long.
pub(super) fn waiting(waits: &[Wait], so_far: Duration) -> Outcome {
    let again = |wait: &Wait| match wait {
        Wait::Targets { .. } => HEALTH.max(rarely(so_far)),
        Wait::Active(_) => PROVISIONING.max(rarely(so_far)),
        Wait::Linger(_) => LINGER / 8,
        Wait::Unused(_) => INTERFACES.max(rarely(so_far)),
        // These units wake the group themselves; looking again is for the case that they could not.
        Wait::Backend | Wait::Name(_) => Duration::from_secs(30),
    };
    match waits.iter().map(again).min() {
        None => Outcome::Settled,
        Some(again) => {
            let on: Vec<String> = waits.iter().map(Wait::to_string).collect();
            Outcome::Waiting {
                on: on.join("; "),
                again,
            }
        }
    }
}
