//! One task per unit: snapshot → build → resolve → plan → execute → report.
//!
//! ```text
//! watches ─► facts ─touched units─► queue ─► tasks, one a unit ─► outcome ─► queue, or rest
//!                                     ▲                              │
//!                                     └── units wake each other ◄────┘
//! ```
//! Nothing is done before every kind was told once, nor while another process leads; facts are kept warm all the time.

mod audit;
mod bindings;
mod breaker;
mod denied;
mod ending;
mod group;
mod network;
pub mod outcome;
mod preview;
pub mod queue;
mod refused;
mod report;
pub mod state;

pub use outcome::Outcome;
pub use preview::{Unclear, preview};

use crate::{
    aws::Aws,
    execute::Executor,
    facts::{Change, Cluster, Facts, TargetGroupBinding},
    k8s::{
        self, Events, Leadership, Writer,
        custom::{AuditPosition, LoadBalancer},
        memory,
        watch::{Kind, Seen, Watches},
    },
    model::*,
    telemetry::{Clock, Metrics},
};
use audit::Walk;
use breaker::Breaker;
use kube::ResourceExt;
use queue::{GATHER, Queue};
use state::{GroupMemory, Notes};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tracing::Instrument;

/// Annotation on a LoadBalancer object by which an operator confirms that a group without members is to go.
pub const CONFIRM_DELETION: &str = "albacore.dev/confirm-deletion";

/// How soon it is tried again to write down that we lead.
const RECORD_AGAIN: Duration = Duration::from_secs(30);

/// How long calls under way may take when the process is to stop; a call takes ten seconds at most.
const DRAIN: Duration = Duration::from_secs(9);

/// Everything a task needs.
pub struct Controller {
    /// The operator's settings.
    pub settings: Settings,
    /// AWS.
    pub aws: Aws,
    /// Kubernetes, to write.
    pub writer: Writer,
    /// Events.
    pub events: Events,
    /// Performs plans.
    pub executor: Executor,
    /// Whether we lead.
    pub leadership: Leadership,
    /// What time it is, for people.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the background looks for what somebody else changed in AWS.
    audits: bool,
    /// Where that goes on.
    audited: Mutex<AuditPosition>,
    facts: Facts,
    notes: Mutex<Notes>,
    /// Spec hashes of bindings that were written and not yet seen.
    written: Mutex<BTreeMap<ObjectKey, String>>,
    /// When this process began to lead.
    led_since: OnceLock<Instant>,
    /// Which of the lease's holders we are, until that is written down.
    unrecorded: Mutex<Option<i32>>,
    wakes: mpsc::UnboundedSender<(Unit, Duration)>,
}

/// The parts a controller is made of.
pub struct Parts {
    /// The operator's settings.
    pub settings: Settings,
    /// AWS.
    pub aws: Aws,
    /// A client of the API server.
    pub client: k8s::Client,
    /// Where facts are kept; those who only read them have it too.
    pub facts: Facts,
    /// This process, as events name it.
    pub instance: String,
    /// Whether we lead.
    pub leadership: Leadership,
    /// What time it is, for people.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the background looks for what somebody else changed in AWS.
    pub audits: bool,
}

/// A lock whose holder panicked guards data that is still whole: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a controller until `stop` ends, its watches end, or it is deposed; calls under way are finished.
///
/// # Errors
/// What was remembered could not be read.
pub async fn run(parts: Parts, mut watches: Watches, stop: impl Future<Output = ()>) -> Result<(), k8s::Fault> {
    tokio::pin!(stop);
    let (wakes, woken) = mpsc::unbounded_channel();
    let controller = Arc::new(Controller::new(parts, wakes));
    tokio::select! {
        () = &mut stop => return Ok(()),
        ready = controller.stand_by(&mut watches) => if !ready { return Ok(()) },
    }
    match controller.recall().await {
        Err(k8s::Fault::Deposed) => return Ok(()),
        recalled => recalled?,
    }
    controller.lead(watches, woken, stop).await;
    Ok(())
}

impl Controller {
    fn new(parts: Parts, wakes: mpsc::UnboundedSender<(Unit, Duration)>) -> Self {
        Self {
            executor: Executor::new(parts.aws.clone(), parts.leadership.clone()),
            writer: Writer::new(parts.client.clone(), parts.leadership.clone()),
            events: Events::new(parts.client, &parts.instance),
            facts: parts.facts,
            settings: parts.settings,
            aws: parts.aws,
            leadership: parts.leadership,
            clock: parts.clock,
            metrics: parts.metrics,
            audits: parts.audits,
            audited: Mutex::default(),
            notes: Mutex::default(),
            written: Mutex::default(),
            led_since: OnceLock::new(),
            unrecorded: Mutex::default(),
            wakes,
        }
    }

    /// The facts. Never held over an await; taken after [`Controller::notes`] where both are needed.
    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.facts.cluster()
    }

    /// The notes. Never held over an await.
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }

    /// When this process began to lead; now, if it does not yet.
    pub(crate) fn led_since(&self) -> Instant {
        *self.led_since.get_or_init(Instant::now)
    }

    /// Has a unit looked at after `delay`.
    pub(crate) fn wake(&self, unit: Unit, delay: Duration) {
        // A closed channel means that nobody leads any more.
        let _ = self.wakes.send((unit, delay));
    }

    /// Keeps facts warm until we lead and everything was told as it is since then; `false` when the watches ended before.
    /// What was told before may be long gone: a watch that was interrupted says nothing, and whoever led until now may have
    /// done much since.
    async fn stand_by(&self, watches: &mut Watches) -> bool {
        let mut missing = Kind::all();
        let mut listing = 0;
        let mut leading = self.leadership.held();
        let mut leadership = self.leadership.clone();
        let won = leadership.won();
        tokio::pin!(won);
        while !(missing.is_empty() && leading) {
            tokio::select! {
                told = watches.next() => match told {
                    None => return false,
                    Some(Seen::Synced(kind, of)) => {
                        if of == listing {
                            missing.remove(&kind);
                        }
                        if missing.is_empty() {
                            tracing::info!("everything was told once");
                            self.metrics.synced();
                        }
                    }
                    Some(told) => {
                        self.take_in(told);
                    }
                },
                () = &mut won, if !leading => {
                    leading = true;
                    // What vanished while another process led was its matter; what this list lacks is ours.
                    self.notes().breaker = Breaker::default();
                    listing = watches.list_again();
                    missing = Kind::all();
                }
            }
        }
        true
    }

    /// Takes in what a watch told; returns whom it concerns.
    fn take_in(&self, seen: Seen) -> BTreeSet<Unit> {
        match seen {
            Seen::Changes(changes) => {
                let mut cluster = self.cluster();
                let mut written = lock(&self.written);
                for change in &changes {
                    if let Change::Binding(TargetGroupBinding { key, .. }) | Change::BindingGone(key) = change {
                        written.remove(key);
                    }
                }
                changes.into_iter().flat_map(|change| cluster.apply(change)).collect()
            }
            Seen::Vanished { kind, changes, of } => {
                let count = changes.len();
                tracing::warn!(?kind, count, of, "objects vanished without being seen to be deleted");
                // Nobody may see that they are gone before they count as vanished.
                let mut notes = self.notes();
                let touched = self.take_in(Seen::Changes(changes));
                notes.breaker.vanished(kind, &touched, count, of);
                touched
            }
            Seen::Synced(..) => BTreeSet::new(),
            Seen::LoadBalancer(object) => {
                let (unit, confirms) = self.see_object(&object);
                if confirms {
                    let mut notes = self.notes();
                    for unit in self.cluster().units_of(&group_of(&object.spec.group)) {
                        notes.breaker.confirm(unit.clone());
                        self.wake(unit, Duration::ZERO);
                    }
                }
                unit.into_iter().collect()
            }
            Seen::LoadBalancerGone(name) => {
                let mut notes = self.notes();
                let gone = notes
                    .groups()
                    .find(|(key, notes)| notes.known() && names::security_group(&self.settings.cluster, key) == name);
                let key = gone.map(|(key, _)| key.clone());
                key.map(|key| {
                    notes.group(&key).lost_object();
                    Unit::Group(key)
                })
                .into_iter()
                .collect()
            }
        }
    }

    /// A LoadBalancer object changed: what a person wrote on it counts, our own words do not. Gives the group if it is to be
    /// looked at, and whether somebody confirms now that what vanished is to be deleted.
    fn see_object(&self, object: &LoadBalancer) -> (Option<Unit>, bool) {
        let key = group_of(&object.spec.group);
        let verify = object.annotations().get(crate::ingress::annotation::VERIFY).cloned();
        let confirmed = object
            .annotations()
            .get(CONFIRM_DELETION)
            .is_some_and(|value| value == "true");
        let mut notes = self.notes();
        let notes = notes.group(&key);
        let news = notes.verify != verify || notes.confirmed != confirmed;
        let confirms = confirmed && !notes.confirmed;
        if confirms {
            // Whoever confirms wants nothing left behind.
            notes.doubtful = Some(Instant::now());
        }
        notes.verify = verify;
        notes.confirmed = confirmed;
        (news.then_some(Unit::Group(key)), confirms)
    }

    /// Reads what was remembered by whoever led before. It is doubted where something was in flight, and everything is when
    /// somebody else led since: he knows nothing of our memory.
    async fn recall(&self) -> Result<(), k8s::Fault> {
        let now = self.led_since();
        let status = self.writer.cluster_network().await?;
        let term = self.leadership.term();
        let strangers = term.is_some_and(|term| {
            !status
                .lease_transitions
                .is_some_and(|last| term - last <= 1 && last <= term)
        });
        let mut held = BTreeMap::new();
        let mut next = None;
        loop {
            let (page, rest) = self.writer.list_load_balancers(next).await?;
            for object in page {
                self.see_object(&object);
                let mut status = object.status.unwrap_or_default();
                let applied = status.applied.take();
                let mut notes = self.notes();
                let notes = notes.group(&group_of(&object.spec.group));
                notes.in_flight = !status.in_flight.is_empty();
                notes.written = notes.in_flight.then_some(now);
                let memory = applied.as_deref().and_then(memory::decode::<GroupMemory>);
                let mut conditions = status.conditions.iter();
                let tells = conditions.any(|condition| condition.reason == crate::report::HELD);
                let is_confirmed = notes.confirmed && memory.as_ref().is_some_and(|memory| !memory.confirmed_before);
                if tells {
                    held.insert(group_of(&object.spec.group), is_confirmed);
                }
                notes.shown = Some(report::fingerprint(status));
                // An object without a memory was made just before its maker ended, one whose memory cannot be read by a
                // later version: nothing is known, and it is not new.
                let unreadable = memory.is_none();
                notes.doubtful = notes
                    .doubtful
                    .or((notes.in_flight || unreadable || strangers).then_some(now));
                let size = memory.map_or(0, |memory| memory.observed.size());
                notes.remember(applied.unwrap_or_default(), size);
            }
            next = rest;
            if next.is_none() {
                break;
            }
        }
        if status.lease_transitions != term {
            *lock(&self.unrecorded) = term;
        }
        *lock(&self.audited) = status.audit.clone();
        let mut notes = self.notes();
        let cluster = self.cluster();
        for (key, is_confirmed) in &held {
            for unit in cluster.units_of(key) {
                notes.breaker.go_on(unit, *is_confirmed);
            }
        }
        let in_flight = !status.in_flight.is_empty();
        notes.network_doubtful = (in_flight || (strangers && status.applied.is_some())).then_some(now);
        notes.network_unsaved = in_flight;
        notes.network_written = in_flight.then_some(now);
        notes.network = status.applied.as_deref().and_then(memory::decode).unwrap_or_default();
        Ok(())
    }

    /// Writes down that we lead, once everything that was doubted is proven: until then, whoever leads next has to doubt it
    /// too.
    async fn record_term(&self) {
        let Some(term) = *lock(&self.unrecorded) else { return };
        let doubted = {
            let notes = self.notes();
            let cluster = self.cluster();
            let of = |key: &GroupKey| notes.find_group(key).is_some_and(|notes| notes.doubtful.is_some());
            notes.network_doubtful.is_some() || cluster.groups().any(of)
        };
        if doubted {
            return;
        }
        let led = serde_json::json!({ "leaseTransitions": term });
        match self.writer.patch_cluster_network(led).await {
            Ok(()) => *lock(&self.unrecorded) = None,
            Err(error) => {
                tracing::warn!(%error, "the ClusterNetwork object could not be written");
                // Perhaps no other task comes that would do it.
                self.wake(Unit::Network, RECORD_AGAIN);
            }
        }
    }

    /// Works on whatever is due, until told to stop or deposed.
    async fn lead(
        self: Arc<Self>,
        mut watches: Watches,
        mut woken: mpsc::UnboundedReceiver<(Unit, Duration)>,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    ) {
        tracing::info!("this process leads");
        let mut queue = Queue::default();
        let mut tasks: JoinSet<(Unit, Outcome)> = JoinSet::new();
        let mut units = BTreeMap::new();
        let mut background = JoinSet::new();
        if self.audits {
            let controller = Arc::clone(&self);
            background.spawn(async move {
                let position = lock(&controller.audited).clone();
                Walk::new(&controller, position).go().await;
            });
        }
        let mut leadership = self.leadership.clone();
        let lost = leadership.lost();
        tokio::pin!(lost);
        let remembered: Vec<Unit> = self.notes().groups().map(|(key, _)| Unit::Group(key.clone())).collect();
        let now = Instant::now();
        for unit in self.cluster().units().into_iter().chain(remembered) {
            queue.schedule(unit, now);
        }
        loop {
            let now = Instant::now();
            while let Some((unit, generation)) = queue.take(now) {
                // Thousands may begin at once: what a task needs is made when it runs.
                let (controller, of) = (Arc::clone(&self), unit.clone());
                let task = tasks.spawn(async move { Box::pin(controller.work(of, generation)).await });
                units.insert(task.id(), unit);
            }
            self.metrics.queue(queue.depth());
            self.metrics.held(self.notes().breaker.held());
            let due = queue.next_due();
            tokio::select! {
                () = &mut lost => break,
                () = &mut stop => break,
                told = watches.next() => match told {
                    None => break,
                    Some(told) => {
                        let now = Instant::now();
                        for unit in self.take_in(told) {
                            let at = now + gather(&unit);
                            queue.wake(unit, at);
                        }
                    }
                },
                Some((unit, delay)) = woken.recv() => queue.wake(unit, Instant::now() + delay),
                Some(ended) = tasks.join_next_with_id() => {
                    let (unit, outcome) = match ended {
                        Ok((id, done)) => {
                            units.remove(&id);
                            done
                        }
                        Err(error) => {
                            let Some(unit) = units.remove(&error.id()) else { continue };
                            tracing::error!(%unit, %error, "a task panicked; this is a bug of albacore");
                            self.notes().doubt(&unit);
                            (unit, Outcome::Failed { why: "a bug of albacore".to_owned() })
                        }
                    };
                    queue.finish(&unit);
                    if let Some(again) = self.rest(&unit, &outcome) {
                        queue.schedule(unit, Instant::now() + again);
                    }
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
            }
        }
        // The background only reads.
        background.abort_all();
        // Each task ends after the call it is in: nothing is sent any more.
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tasks.shutdown().await;
        }
    }

    async fn work(self: Arc<Self>, unit: Unit, mut generation: queue::Generation) -> (Unit, Outcome) {
        let span = tracing::info_span!("reconcile", %unit);
        let began = Instant::now();
        let outcome = async {
            let outcome = match &unit {
                Unit::Network => Box::pin(self.reconcile_network(&mut generation)).await,
                Unit::Group(key) => Box::pin(self.reconcile_group(key, &mut generation)).await,
                Unit::Binding(key) => Box::pin(self.reconcile_binding(key, &mut generation)).await,
            };
            self.record_term().await;
            self.note_lack(&unit, &outcome);
            match &outcome {
                Outcome::Failed { .. } | Outcome::Denied(_) => tracing::warn!("{outcome}"),
                _ => tracing::debug!("{outcome}"),
            }
            outcome
        }
        .instrument(span)
        .await;
        self.metrics.reconciled(&unit, outcome.name(), began.elapsed());
        (unit, outcome)
    }

    /// When a unit runs again by itself.
    fn rest(&self, unit: &Unit, outcome: &Outcome) -> Option<Duration> {
        let mut notes = self.notes();
        let mut nobodys = 0;
        let untold = match unit {
            Unit::Group(key) => notes.find_group(key).is_some_and(|notes| notes.untold),
            _ => false,
        };
        let failures = match unit {
            Unit::Network => &mut notes.network_failures,
            Unit::Group(key) => notes
                .find_group_mut(key)
                .map_or(&mut nobodys, |notes| &mut notes.failures),
            Unit::Binding(key) => notes
                .find_binding_mut(key)
                .map_or(&mut nobodys, |notes| &mut notes.failures),
        };
        *failures = if untold || matches!(outcome, Outcome::Failed { .. } | Outcome::Denied(_)) {
            *failures + 1
        } else {
            0
        };
        let by_outcome = match outcome {
            Outcome::Settled | Outcome::Superseded => None,
            // The lease was not renewed in time to send a call; if it is lost for good, nothing runs again.
            Outcome::Deposed => Some(Duration::from_secs(1)),
            Outcome::Waiting { again, .. } => Some(*again),
            Outcome::Denied(_) => Some(outcome::rest_denied(*failures)),
            Outcome::Failed { .. } => Some(outcome::rest(*failures)),
        };
        let tell = untold.then(|| outcome::rest(*failures));
        by_outcome.into_iter().chain(tell).min()
    }

    /// The shared backend security group, once it is there.
    pub(crate) fn backend_group(&self) -> Option<SecurityGroupId> {
        self.notes()
            .network
            .observed
            .backend
            .as_ref()
            .map(|group| group.id.clone())
    }

    /// Notes whether a group wants the shared backend security group; the network is woken when that is news.
    fn note_backend(&self, key: &GroupKey, wanted: bool) {
        let before = self.notes().group(key).wants_backend.replace(wanted);
        if before != Some(wanted) {
            self.wake(Unit::Network, Duration::ZERO);
        }
    }

    /// Nothing is left of a group.
    fn forget_group(&self, key: &GroupKey) {
        self.notes().forget_group(key);
        self.cluster().forget_end(key);
        self.aws.forget(&Unit::Group(key.clone()));
        self.wake(Unit::Network, Duration::ZERO);
    }

    /// Whether a binding was written with this spec, and the watch has not told it yet.
    fn wrote_binding(&self, key: &ObjectKey, hash: &str) -> bool {
        let known = self.cluster().binding(key).is_some();
        !known && lock(&self.written).get(key).is_some_and(|written| written == hash)
    }

    fn note_binding(&self, key: &ObjectKey, hash: &str) {
        lock(&self.written).insert(key.clone(), hash.to_owned());
    }

    /// Whether this process made a target group, and so knows that it had no targets.
    pub(crate) fn made_here(&self, group: &TargetGroupArn) -> bool {
        self.aws.made(group)
    }
}

/// How long events of a unit are gathered before it runs. A target that leaves waits for nothing, and those that come are
/// gathered by their binding: only what is told in the same moment, a Pod and its EndpointSlice, is taken together.
fn gather(unit: &Unit) -> Duration {
    match unit {
        Unit::Binding(_) => Duration::from_millis(10),
        Unit::Group(_) | Unit::Network => GATHER,
    }
}

/// The group that an object names.
fn group_of(stack: &str) -> GroupKey {
    match stack.split_once('/') {
        Some((namespace, name)) => GroupKey::Implicit(ObjectKey::new(namespace, name)),
        None => GroupKey::Explicit(stack.to_owned()),
    }
}
