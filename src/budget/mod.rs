//! The token buckets of one account and region, what is left of them, and who spent it.
//!
//! ```text
//!            Ask ──► line of its bucket (lanes, turns) ──┬─ bucket ─┬─ account's bucket ──► Permit ──► call ──► settle
//!                                                        │          │                                    │
//!                                                        └──── a refusal empties and halves ◄────────────┘
//! ```
//! Nobody drives this: whoever stands at the head of a line sleeps until its token is due and then serves everybody who can
//! be served; the rest are woken when they become the head or have been served.

pub mod bucket;
pub mod ledger;
pub mod line;
pub mod table;

pub use ledger::{Kind, Ledger, Namespaces, Outcome, Saving, Spent};
pub use table::{BucketName, BudgetOverride, Rate, Service};

use crate::model::{Lane, Unit};
use bucket::Bucket;
use line::{Line, Ticket};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// Tokens of an account's bucket that only the first lane may take: a rollout's next few calls go at once however busy
/// everything else is.
const RESERVE: u32 = 4;
/// Refusals in two buckets of an account within this time are the account's own.
const TOGETHER: Duration = Duration::from_secs(1);

/// Calls to one service that may be under way at once. At ten calls a second and half a second each, five are; each holds a
/// connection and buffers, a quarter of a megabyte together, so that a burst of hundreds must not set the most that memory
/// ever was.
const UNDER_WAY: usize = 12;

/// Share of a bucket that the background may take.
const BACKGROUND: f64 = 0.1;

/// How long a place is kept for a unit that gave it up because something changed.
const PLACE: Duration = Duration::from_secs(5);

/// How much of what AWS documents may be spent.
#[derive(Clone, Debug)]
pub struct BudgetConfig {
    /// Share of every documented bucket, above 0 and at most 1.
    pub ceiling: f64,
    /// Buckets of another size.
    pub overrides: Vec<BudgetOverride>,
}

impl Default for BudgetConfig {
    /// 95 %: AWS' clock and ours do not agree to the millisecond.
    fn default() -> Self {
        Self {
            ceiling: 0.95,
            overrides: Vec::new(),
        }
    }
}

/// What a token is wanted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Service.
    pub service: Service,
    /// Operation, as AWS names it.
    pub operation: &'static str,
    /// How urgent.
    pub lane: Lane,
    /// For whom.
    pub unit: Unit,
}

/// Who takes turns with whom: namespaces; a group that spans namespaces counts as one of its own, and so does what all
/// share. Nobody can call a namespace so.
fn turn(unit: &Unit) -> String {
    use crate::model::GroupKey::{Explicit, Implicit};
    match unit {
        Unit::Network => "the cluster".to_owned(),
        Unit::Group(Explicit(name)) => format!("group {name}"),
        Unit::Group(Implicit(object)) | Unit::Binding(object) => object.namespace.clone(),
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bucket, _) = table::buckets_of(self.service, self.operation);
        write!(
            f,
            "a token of {bucket} for {} ({} lane)",
            self.operation,
            self.lane.name()
        )
    }
}

/// The budget; clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    config: BudgetConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<BucketName, Bucket>,
    lines: BTreeMap<BucketName, Queue>,
    waiting: BTreeMap<Ticket, Waiting>,
    tickets: Ticket,
    /// Places that units gave up a moment ago, and when: they are asked for again with what changed meanwhile.
    left: BTreeMap<(BucketName, Unit), (Ticket, Instant)>,
    /// Counts servings, so that among lines of the same urgency the one served longest ago goes first.
    served: u64,
    /// When a bucket was last refused, for the account it belongs to.
    refusals: BTreeMap<BucketName, Instant>,
    /// Permits that are out, by service.
    under_way: BTreeMap<Service, usize>,
    /// When the background may call a service again.
    paced: BTreeMap<Service, Instant>,
    ledger: Ledger,
}

struct Queue {
    line: Line,
    account: Option<BucketName>,
    /// When its head may be served.
    due: Instant,
    served: u64,
}

#[derive(Default)]
struct Waiting {
    served: bool,
    waker: Option<Waker>,
}

impl Budget {
    /// A budget whose buckets are believed full.
    pub fn new(config: BudgetConfig) -> Self {
        Self(Arc::new(Shared {
            config,
            state: Mutex::default(),
        }))
    }

    /// Waits for a token. The place in the line is taken when the future is first polled and kept until it is dropped,
    /// and a moment longer for the same unit.
    pub fn acquire(&self, ask: Ask) -> Acquire {
        Acquire {
            budget: self.clone(),
            ask,
            again: false,
            ticket: None,
            asked: Instant::now(),
            sleep: None,
        }
    }

    /// Waits for the background's next turn: all its calls together take a tenth of the service's bucket at most, even
    /// where nobody else wants it.
    pub async fn pace(&self, service: Service, operation: &str) {
        let (own, account) = table::buckets_of(service, operation);
        let rate = self.0.config.documented(account.unwrap_or(own));
        let at = {
            let mut state = self.state();
            let next = state.paced.entry(service).or_insert_with(Instant::now);
            let at = Instant::now().max(*next);
            *next = at + Duration::from_secs_f64(1.0 / (BACKGROUND * rate.per_second));
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// How long until the last of these calls of one service each has its token, if nothing more urgent comes meanwhile.
    pub fn forecast(&self, calls: &[(Service, &'static str)], lane: Lane, unit: &Unit) -> Duration {
        let (mut state, now) = (self.state(), Instant::now());
        let mut asked: BTreeMap<BucketName, usize> = BTreeMap::new();
        for &(service, operation) in calls {
            let (own, account) = table::buckets_of(service, operation);
            state.know(own, account, &self.0.config, now);
            for name in [Some(own), account].into_iter().flatten() {
                *asked.entry(name).or_default() += 1;
            }
        }
        let wait = |(&name, &calls): (&BucketName, &usize)| {
            let bucket = state.buckets.get(&name)?;
            let drinks = |queue: &Queue, own: BucketName| own == name || queue.account == Some(name);
            let lines = state.lines.iter().filter(|(own, queue)| drinks(queue, **own));
            let ahead: usize = lines.map(|(_, queue)| queue.line.ahead(lane, &turn(unit), calls)).sum();
            let missing = (ahead + calls) as f64 - bucket.tokens(now);
            Some((missing / bucket.per_second()).max(0.0))
        };
        let seconds = asked.iter().filter_map(wait).fold(0.0, f64::max);
        Duration::from_secs_f64(seconds)
    }

    /// What was spent so far.
    pub fn ledger(&self) -> Ledger {
        self.state().ledger.clone()
    }

    /// What was spent for a unit so far.
    pub fn spent(&self, unit: &Unit) -> Spent {
        self.state().ledger.by_unit.get(unit).copied().unwrap_or_default()
    }

    /// Forgets what was spent for a unit that is gone.
    pub fn forget(&self, unit: &Unit) {
        self.state().ledger.by_unit.remove(unit);
    }

    /// Books calls that were not needed.
    pub fn save(&self, by: Saving, calls: u64) {
        *self.state().ledger.saved.entry(by).or_default() += calls;
    }

    /// Books a request of a credential provider.
    pub fn book_credentials(&self) {
        self.state().ledger.credentials += 1;
    }

    /// Every bucket asked so far, as it stands.
    pub fn levels(&self) -> Vec<Level> {
        let (state, now) = (self.state(), Instant::now());
        let level = |(&bucket, tokens): (&BucketName, &Bucket)| Level {
            bucket,
            tokens: tokens.tokens(now),
            per_second: tokens.per_second(),
            waiting: state
                .lines
                .get(&bucket)
                .map(|queue| queue.line.waiting().collect())
                .unwrap_or_default(),
        };
        state.buckets.iter().map(level).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoned only if a panic struck between two plain assignments; the counts are then off by one call at most.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bucket as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The bucket.
    pub bucket: BucketName,
    /// Tokens that AWS is believed to have left for us.
    pub tokens: f64,
    /// Tokens a second that AWS is believed to grant.
    pub per_second: f64,
    /// How many wait, by lane.
    pub waiting: BTreeMap<Lane, usize>,
}

impl BudgetConfig {
    /// How the operator sized a bucket.
    fn chosen(&self, name: BucketName) -> Option<Rate> {
        let chosen = self.overrides.iter().rev().find(|chosen| chosen.bucket == name);
        chosen.map(|chosen| chosen.rate)
    }

    /// A bucket as the operator sized it, or as AWS documents it.
    fn documented(&self, name: BucketName) -> Rate {
        self.chosen(name).unwrap_or_else(|| table::documented(name))
    }

    fn bucket(&self, name: BucketName, is_account: bool, now: Instant) -> Bucket {
        let rate = self
            .chosen(name)
            .unwrap_or_else(|| table::documented(name).share(self.ceiling));
        let reserve = if is_account { RESERVE.min(rate.burst / 2) } else { 0 };
        Bucket::new(rate, reserve, now)
    }
}

impl State {
    /// Makes buckets that were not asked before.
    fn know(&mut self, own: BucketName, account: Option<BucketName>, config: &BudgetConfig, now: Instant) {
        for (name, is_account) in [(Some(own), false), (account, true)] {
            if let Some(name) = name {
                self.buckets
                    .entry(name)
                    .or_insert_with(|| config.bucket(name, is_account, now));
            }
        }
    }

    fn join(&mut self, ask: &Ask, again: bool, config: &BudgetConfig, now: Instant) -> Ticket {
        let (own, account) = table::buckets_of(ask.service, ask.operation);
        self.know(own, account, config, now);
        let left = self.left.remove(&(own, ask.unit.clone()));
        let kept = left.filter(|(_, at)| now - *at < PLACE).map(|(ticket, _)| ticket);
        let ticket = kept.unwrap_or_else(|| {
            self.tickets += 1;
            self.tickets
        });
        let queue = self.lines.entry(own).or_insert_with(|| Queue {
            line: Line::default(),
            account,
            due: now,
            served: 0,
        });
        if again {
            queue.line.push_front(ask.lane, &turn(&ask.unit), ticket);
        } else {
            queue.line.push(ask.lane, &turn(&ask.unit), ticket);
        }
        self.waiting.insert(ticket, Waiting::default());
        ticket
    }

    /// Serves everybody who can be served now, the most urgent first, and notes for each line when to look again.
    fn serve(&mut self, now: Instant) {
        let mut blocked: BTreeSet<BucketName> = BTreeSet::new();
        loop {
            blocked.extend(self.lines.keys().filter(|name| self.is_busy(name.service)));
            let next = self
                .lines
                .iter()
                .filter(|(name, _)| !blocked.contains(*name))
                .filter_map(|(&name, queue)| Some(((queue.line.head()?.0, queue.served), name)))
                .min();
            let Some(((lane, _), name)) = next else { return };
            match self.take(name, lane == Lane::ALL[0], now) {
                Ok(()) => self.grant(name),
                Err((empty, wait)) => {
                    for (&other, queue) in &mut self.lines {
                        if other == empty || (queue.account == Some(empty) && !blocked.contains(&other)) {
                            queue.due = now + wait;
                            blocked.insert(other);
                        }
                    }
                }
            }
        }
    }

    /// Takes a token of a bucket and of its account, or says which of the two is empty and for how long.
    fn take(&mut self, name: BucketName, first: bool, now: Instant) -> Result<(), (BucketName, Duration)> {
        let account = self.lines.get(&name).and_then(|queue| queue.account);
        let mut from = |bucket: BucketName| match self.buckets.get_mut(&bucket) {
            Some(tokens) => tokens.take(first, now).map_err(|wait| (bucket, wait)),
            None => Ok(()),
        };
        from(name)?;
        let Some(account) = account else { return Ok(()) };
        let taken = from(account);
        if let (Err(_), Some(tokens)) = (taken, self.buckets.get_mut(&name)) {
            tokens.keep();
        }
        taken
    }

    /// Whether as many calls to a service are under way as may be.
    fn is_busy(&self, service: Service) -> bool {
        self.under_way.get(&service).is_some_and(|count| *count >= UNDER_WAY)
    }

    /// A call has ended: whoever stands first in a line of that service looks again.
    fn ended(&mut self, service: Service) {
        if let Some(count) = self.under_way.get_mut(&service) {
            *count -= 1;
        }
        let lines = self.lines.iter().filter(|(name, _)| name.service == service);
        let heads: Vec<Ticket> = lines.filter_map(|(_, queue)| Some(queue.line.head()?.1)).collect();
        for head in heads {
            self.wake(head);
        }
    }

    fn grant(&mut self, name: BucketName) {
        self.served += 1;
        *self.under_way.entry(name.service).or_default() += 1;
        let Some(queue) = self.lines.get_mut(&name) else { return };
        queue.served = self.served;
        let granted = queue.line.pop();
        let head = queue.line.head().map(|(_, ticket)| ticket);
        if let Some(waiting) = granted.and_then(|ticket| self.waiting.get_mut(&ticket)) {
            waiting.served = true;
        }
        for ticket in granted.into_iter().chain(head) {
            self.wake(ticket);
        }
    }

    fn wake(&mut self, ticket: Ticket) {
        if let Some(waker) = self.waiting.get_mut(&ticket).and_then(|waiting| waiting.waker.take()) {
            waker.wake();
        }
    }

    fn leave(&mut self, ask: &Ask, ticket: Ticket, now: Instant) {
        let (own, _) = table::buckets_of(ask.service, ask.operation);
        if self.waiting.remove(&ticket).is_some_and(|waiting| !waiting.served) {
            self.left.retain(|_, (_, at)| now - *at < PLACE);
            self.left.insert((own, ask.unit.clone()), (ticket, now));
        }
        let Some(queue) = self.lines.get_mut(&own) else { return };
        queue.line.remove(ask.lane, &turn(&ask.unit), ticket);
        if let Some((_, head)) = queue.line.head() {
            self.wake(head);
        }
    }

    /// AWS refused a call: it does not say which bucket was empty. The call's own is believed to be, and the account's when
    /// two of its buckets are refused together.
    fn refused(&mut self, ask: &Ask, sent: Instant, now: Instant) {
        let (own, account) = table::buckets_of(ask.service, ask.operation);
        if let Some(bucket) = self.buckets.get_mut(&own) {
            bucket.refused(sent, now);
        }
        self.refusals.insert(own, now);
        let together = self
            .refusals
            .iter()
            .any(|(&name, &at)| name != own && name.service == own.service && now - at <= TOGETHER);
        if let (true, Some(bucket)) = (together, account.and_then(|name| self.buckets.get_mut(&name))) {
            bucket.refused(sent, now);
        }
    }
}

/// Waits for a token; displays what it waits for.
#[must_use = "nothing is asked for until this is awaited"]
pub struct Acquire {
    budget: Budget,
    ask: Ask,
    again: bool,
    ticket: Option<Ticket>,
    asked: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Acquire {
    /// For a call that AWS refused for want of tokens if `again`: it keeps its place.
    pub fn again(mut self, again: bool) -> Self {
        self.again = again;
        self
    }
}

impl fmt::Display for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ask.fmt(f)
    }
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let this = &mut *self;
        loop {
            let now = Instant::now();
            let mut state = this.budget.state();
            let ticket = *this
                .ticket
                .get_or_insert_with(|| state.join(&this.ask, this.again, &this.budget.0.config, now));
            state.serve(now);
            let Some(waiting) = state.waiting.get_mut(&ticket) else {
                debug_assert!(false, "an Acquire was polled after it was ready");
                return Poll::Pending;
            };
            if waiting.served {
                state.waiting.remove(&ticket);
                this.ticket = None;
                drop(state);
                return Poll::Ready(Permit {
                    budget: this.budget.clone(),
                    ask: this.ask.clone(),
                    waited: now - this.asked,
                    sent: None,
                });
            }
            waiting.waker = Some(context.waker().clone());
            let (own, _) = table::buckets_of(this.ask.service, this.ask.operation);
            let queue = state.lines.get(&own);
            // Where too many calls are under way, the next one that ends wakes it.
            let due = queue
                .filter(|_| !state.is_busy(own.service))
                .filter(|queue| queue.line.head().is_some_and(|(_, head)| head == ticket))
                .map(|queue| queue.due);
            drop(state);
            let Some(due) = due else {
                this.sleep = None;
                return Poll::Pending;
            };
            let sleep = this.sleep.insert(Box::pin(tokio::time::sleep_until(due)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.budget.state();
        // Served, and nobody came for it.
        if state.waiting.get(&ticket).is_some_and(|waiting| waiting.served) {
            state.ended(self.ask.service);
        }
        state.leave(&self.ask, ticket, Instant::now());
    }
}

/// The right to send one call. Dropped unsent, its token is lost, as it would be in AWS.
#[must_use = "a permit that is not used wastes a token"]
pub struct Permit {
    budget: Budget,
    ask: Ask,
    waited: Duration,
    sent: Option<Instant>,
}

impl Permit {
    /// What it was asked for.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// How long its token was waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Notes that the call is sent now.
    pub fn sent(&mut self) {
        self.sent = Some(Instant::now());
    }

    /// Books how the call ended, and learns from it.
    pub fn settle(self, outcome: Outcome) {
        let now = Instant::now();
        // Its own end comes after this one's, with a lock of its own.
        let mut state = self.budget.state();
        state.ledger.book(&self.ask, self.waited, outcome);
        match outcome {
            Outcome::Throttled => return state.refused(&self.ask, self.sent.unwrap_or(now), now),
            Outcome::Unknown => return,
            Outcome::Done | Outcome::Refused => {}
        }
        let (own, account) = table::buckets_of(self.ask.service, self.ask.operation);
        for name in [Some(own), account].into_iter().flatten() {
            if let Some(bucket) = state.buckets.get_mut(&name) {
                bucket.granted();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.state().ended(self.ask.service);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.ask)
    }
}

#[cfg(test)]
mod tests;
