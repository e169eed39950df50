//! A strict, fast stand-in for the AWS services that a load balancer controller calls. It knows AWS and nothing of albacore.
//!
//! ```text
//! aws-sdk client ──► http_client()  ┐                      ┌─► elbv2 ┐
//! boto3, AWS CLI ──► serve(listener)┴► call ─► faults ─► buckets ─┼─► ec2   ┼─► World ─► changed() ─► data plane, DNS
//! test, person   ──► Rust methods, /_admin/ ──────────────────────┴─► acm … ┘
//! ```
//! Around it, where a namespace leads nowhere: [`dataplane`] (load balancers that serve, checks that are made), [`dns`] (their
//! names), [`metadata`] (what an instance may know of itself), [`pod_identity`] (credentials for pods).
//!
//! Handlers are synchronous and atomic. What takes time (provisioning, health, draining) is computed from stored moments when
//! it is read, against tokio's time; so tests with paused time decide what happens when.

pub mod acm;
mod admin;
pub mod bucket;
pub mod call;
pub mod dataplane;
pub mod dns;
mod door;
pub mod ec2;
pub mod elbv2;
pub mod fault;
pub mod faults;
pub mod iam;
pub mod identity;
pub mod ids;
pub mod journal;
pub mod metadata;
pub mod pod_identity;
pub mod protocol;
pub mod shape;
pub mod sts;
pub mod tagging;
pub mod time;
pub mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::bucket::Buckets;
use crate::call::{Call, Service};
use crate::elbv2::{HealthReport, TargetKey};
use crate::fault::AwsError;
use crate::faults::{Fault, Kind};
use crate::ids::Ids;
use crate::journal::{Entry, Journal};
use crate::time::Clock;
pub use crate::world::{HealthMode, Options, World};

/// The double. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Double(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    world: Mutex<World>,
    gate: Mutex<Gate>,
    past: Mutex<Past>,
    snapshots: Mutex<BTreeMap<String, World>>,
    changed: watch::Sender<u64>,
}

/// What stands between a call and the world.
#[derive(Debug)]
struct Gate {
    journal: Journal,
    faults: Vec<Fault>,
    buckets: Buckets,
    request_ids: Ids,
    /// What policies allowed.
    allowed: BTreeSet<iam::Request>,
}

/// Worlds as they were before each of the last writes; kept only while stale reads are asked for.
type Past = VecDeque<(Timestamp, World)>;

/// The connection is cut in place of an answer.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionReset;

impl std::fmt::Display for ConnectionReset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection reset by peer (scripted fault)")
    }
}

impl std::error::Error for ConnectionReset {}

impl Double {
    /// A double with an empty world. Inside a tokio runtime with paused time its clock is paused too.
    pub fn new(options: Options) -> Self {
        let gate = Gate {
            journal: Journal::default(),
            faults: Vec::new(),
            buckets: Buckets::default(),
            request_ids: Ids::seeded(!options.seed),
            allowed: BTreeSet::new(),
        };
        Double(Arc::new(Inner {
            clock: Clock::starting_at(options.epoch),
            world: Mutex::new(World::new(options)),
            gate: Mutex::new(gate),
            past: Mutex::default(),
            snapshots: Mutex::default(),
            changed: watch::Sender::new(0),
        }))
    }

    /// The world, locked: for looking at state, and for changes behind the callers' backs (then call [`Double::touch`]).
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.0.world)
    }

    /// What time it is in the double.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Lets the double's time jump ahead.
    pub fn skip(&self, by: Duration) {
        self.0.clock.skip(by);
        self.touch();
    }

    /// A number that rises with every change of the world (but not with what the passing of time changes).
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Says that the world was changed directly.
    pub fn touch(&self) {
        self.0.changed.send_modify(|version| *version += 1);
    }

    /// All calls so far, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        self.gate().journal.entries().to_vec()
    }

    /// The calls after number `n`.
    pub fn journal_after(&self, n: u64) -> Vec<Entry> {
        self.gate()
            .journal
            .entries()
            .iter()
            .filter(|entry| entry.n > n)
            .cloned()
            .collect()
    }

    /// How many calls there were since the double began.
    pub fn calls(&self) -> u64 {
        self.gate().journal.count()
    }

    /// Forgets the calls so far; numbers go on.
    pub fn clear_journal(&self) {
        self.gate().journal.clear();
    }

    /// What policies allowed so far: each action with the resource and the context it was allowed in.
    pub fn allowed(&self) -> BTreeSet<iam::Request> {
        self.gate().allowed.clone()
    }

    /// Gives the order that calls fail. Orders add up; those that are used up stay without effect.
    pub fn inject(&self, fault: Fault) {
        self.gate().faults.push(fault);
    }

    /// Takes all orders back.
    pub fn clear_faults(&self) {
        self.gate().faults.clear();
    }

    /// Lets somebody else take `rate` tokens a second from a documented bucket (`account`, `describe`, `mutating`,
    /// `registration`, `resource-intensive` of elbv2, an operation of the others).
    pub fn neighbour(&self, service: Service, bucket: &str, rate: f64) {
        self.gate().buckets.neighbour(service, bucket, rate);
    }

    /// Changes how the double behaves from now on.
    pub fn configure(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.world().options);
        self.touch();
    }

    /// Sets a quota of an account and region, by its name in `DescribeAccountLimits`.
    pub fn set_quota(&self, account: &str, region: &str, name: &str, max: u64) {
        let key = (account.to_owned(), region.to_owned());
        self.world()
            .regions
            .entry(key)
            .or_default()
            .elbv2
            .quotas
            .insert(name.to_owned(), max);
    }

    /// Reports what a health check of the data plane found, or what a test wants it to have found. `target_group` is an ARN.
    pub fn report_health(&self, region: &str, target_group: &str, target: &TargetKey, report: HealthReport) {
        let now = self.now();
        let changed = {
            let mut world = self.world();
            let found = world.regions.iter_mut().filter(|((_, name), _)| name == region);
            let mut groups = found.filter_map(|(_, region)| region.elbv2.target_groups.get_mut(target_group));
            groups.next().is_some_and(|group| group.report(target, report, now))
        };
        if changed {
            self.touch();
        }
    }

    /// A copy of the world as it is, for [`Double::restore`].
    pub fn snapshot(&self) -> World {
        self.world().clone()
    }

    /// Puts a copy of the world back; the journal and the clock go on.
    pub fn restore(&self, world: World) {
        *self.world() = world;
        lock(&self.0.past).clear();
        self.touch();
    }

    /// An empty world, empty journal, full buckets, no faults.
    pub fn reset(&self) {
        let options = self.world().options.clone();
        self.restore(World::new(options));
        let mut gate = self.gate();
        gate.journal.clear();
        gate.faults.clear();
        gate.buckets = Buckets::default();
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        lock(&self.0.gate)
    }

    /// Answers one HTTP request, from either door.
    ///
    /// # Errors
    /// A scripted fault cuts the connection.
    pub async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ConnectionReset> {
        if request.uri().path().starts_with(admin::PREFIX) {
            return Ok(admin::answer(self, &request));
        }
        let request_id = self.gate().request_ids.uuid();
        let opened = match protocol::open(&request) {
            Ok(opened) => opened,
            Err(error) => return Ok(protocol::refusal(Service::Elbv2, &request_id, &error)),
        };
        let mut call = Call {
            service: opened.service,
            operation: opened.operation,
            account: self.world().options.account(&opened.access_key),
            region: opened.region,
            access_key: opened.access_key,
            request_id,
            now: self.now(),
        };
        let params = opened.input.as_ref().unwrap_or(&Value::Null).clone();
        let (n, delay, fault) = {
            let mut gate = self.gate();
            let (delay, fault) = faults::judge(&mut gate.faults, &call, &params);
            (gate.journal.begin(&call, &params), delay, fault)
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
            call.now = self.now();
        }
        let outcome = match &fault {
            Some(Kind::ResetBefore) => {
                self.gate().journal.note(n, |entry| entry.cut = true);
                return Err(ConnectionReset);
            }
            Some(Kind::Throttle) => Err(bucket::refused(call.service)),
            Some(Kind::Error { status, code, message }) => {
                Err(AwsError::new(code.clone(), message.clone()).with_status(*status))
            }
            _ => self
                .authenticate(&call, opened.session_token.as_deref())
                .and_then(|()| self.admit(&call, &params))
                .and(opened.input)
                .and_then(|input| self.perform(&call, input)),
        };
        self.gate().journal.note(n, |entry| {
            entry.error = outcome.as_ref().err().map(|error| error.code.clone());
            entry.throttled = outcome
                .as_ref()
                .is_err_and(|error| *error == bucket::refused(call.service));
            entry.applied = outcome.is_ok();
            entry.cut = fault == Some(Kind::ReplyLost);
        });
        if fault == Some(Kind::ReplyLost) {
            return Err(ConnectionReset);
        }
        Ok(match outcome {
            Ok(output) => protocol::answer(&call, &output),
            Err(error) => protocol::refusal(call.service, &call.request_id, &error),
        })
    }

    fn authenticate(&self, call: &Call, session_token: Option<&str>) -> Result<(), AwsError> {
        let world = self.world();
        if world.options.strict_credentials {
            world.identity.admit(call, session_token)
        } else {
            Ok(())
        }
    }

    /// Takes the tokens of a call.
    fn admit(&self, call: &Call, params: &Value) -> Result<(), AwsError> {
        let (throttling, scale) = {
            let world = self.world();
            (world.options.throttling, world.options.bucket_scale)
        };
        if throttling {
            self.gate().buckets.take(call, params, scale)
        } else {
            Ok(())
        }
    }

    fn perform(&self, call: &Call, input: Value) -> Result<Value, AwsError> {
        let mut world = self.world();
        let allowed = iam::authorize(&mut world, call, &input)?;
        self.gate().allowed.extend(allowed);
        let stale = world.options.stale_reads;
        let mut past = lock(&self.0.past);
        if call.is_read() {
            // The oldest world that was overwritten within the lag is what a lagging reader sees.
            let since = call.now - jiff::SignedDuration::try_from(stale).unwrap_or_default();
            past.retain(|(overwritten, _)| *overwritten > since);
            return match past.front_mut() {
                Some((_, before)) => dispatch(before, call, input),
                None => dispatch(&mut world, call, input),
            };
        }
        let before = (!stale.is_zero()).then(|| world.clone());
        let output = dispatch(&mut world, call, input)?;
        if let Some(before) = before {
            past.push_back((call.now, before));
        }
        drop(world);
        self.touch();
        Ok(output)
    }
}

fn dispatch(world: &mut World, call: &Call, input: Value) -> Result<Value, AwsError> {
    match call.service {
        Service::Elbv2 => elbv2::handle(world, call, input),
        Service::Ec2 => ec2::handle(world, call, input),
        Service::Acm => acm::handle(world, call, input),
        Service::Sts => sts::handle(world, call, input),
        Service::Tagging => tagging::handle(world, call, input),
    }
}

/// A handler that panicked left the world as consistent as it found it: handlers check first, then change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
