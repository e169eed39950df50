//! What all connections of the data plane share: the configuration that holds now, connections to targets, turns.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Options;
use super::snapshot::{Listener, LoadBalancer, Snapshot, Vpc};
use super::tls::{self, TlsError};
use super::upstream::Upstream;

/// A snapshot, and what was made of it.
#[derive(Default)]
pub struct Live {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The TLS side of each HTTPS listener, by its ARN.
    tls: BTreeMap<String, Result<Arc<ServerConfig>, TlsError>>,
    /// Which load balancer and which of its listeners has an address and port.
    owners: BTreeMap<SocketAddr, (usize, usize)>,
}

impl Live {
    /// Prepares a snapshot; the TLS side of listeners that did not change is taken from `before`, with its session cache.
    pub fn new(snapshot: Snapshot, before: &Live) -> Live {
        let mut tls = BTreeMap::new();
        let mut owners = BTreeMap::new();
        let same_certificates = snapshot.certificates == before.snapshot.certificates;
        for (n, load_balancer) in snapshot.load_balancers.iter().enumerate() {
            for (m, listener) in load_balancer.listeners.iter().enumerate() {
                for &address in &load_balancer.addresses {
                    owners.entry(SocketAddr::new(address, listener.port)).or_insert((n, m));
                }
                let Some(wanted) = &listener.tls else { continue };
                let old = before.listener(&listener.arn).filter(|(owner, old)| {
                    same_certificates
                        && old.tls.as_ref() == Some(wanted)
                        && owner.attributes.http2 == load_balancer.attributes.http2
                });
                let config = old.and_then(|_| before.tls.get(&listener.arn).cloned());
                let config = config
                    .unwrap_or_else(|| tls::server(wanted, &snapshot.certificates, load_balancer.attributes.http2));
                tls.insert(listener.arn.clone(), config);
            }
        }
        Live { snapshot, tls, owners }
    }

    fn listener(&self, arn: &str) -> Option<(&LoadBalancer, &Listener)> {
        let all = self.snapshot.load_balancers.iter();
        all.flat_map(|owner| owner.listeners.iter().map(move |listener| (owner, listener)))
            .find(|(_, l)| l.arn == arn)
    }

    /// Whether there is a rule, listener or target group with this ARN.
    pub fn knows(&self, arn: &str) -> bool {
        let listeners = || self.snapshot.load_balancers.iter().flat_map(|owner| &owner.listeners);
        self.snapshot.target_groups.contains_key(arn)
            || listeners().any(|listener| listener.arn == arn || listener.rules.iter().any(|rule| rule.arn == arn))
    }

    /// All addresses and ports that are listened on.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.owners.keys().copied()
    }

    /// Whose address and port this is.
    pub fn owner(&self, local: SocketAddr) -> Option<(&LoadBalancer, &Listener)> {
        let &(n, m) = self.owners.get(&local)?;
        let load_balancer = self.snapshot.load_balancers.get(n)?;
        Some((load_balancer, load_balancer.listeners.get(m)?))
    }

    /// The TLS side of a listener, if it has one.
    pub fn tls(&self, listener: &Listener) -> Option<&Result<Arc<ServerConfig>, TlsError>> {
        listener.tls.as_ref().and_then(|_| self.tls.get(&listener.arn))
    }

    /// Listeners that can't talk TLS, and why.
    pub fn broken(&self) -> impl Iterator<Item = (&str, &TlsError)> {
        self.tls
            .iter()
            .filter_map(|(arn, config)| Some((arn.as_str(), config.as_ref().err()?)))
    }

    /// The firewall around a load balancer.
    pub fn vpc(&self, load_balancer: &LoadBalancer) -> Option<&Vpc> {
        self.snapshot.vpcs.get(&load_balancer.vpc)
    }
}

/// Shared by all tasks of one data plane.
pub struct Engine {
    /// The configuration that holds now.
    pub live: watch::Sender<Arc<Live>>,
    /// Connections to targets.
    pub upstream: Upstream,
    /// How it was started.
    pub options: Options,
    /// All tasks, so that stopping can wait for them.
    pub tasks: TaskTracker,
    /// Cancelled when the data plane stops.
    pub stop: CancellationToken,
    turns: Mutex<BTreeMap<String, u64>>,
    traces: AtomicU64,
}

impl Engine {
    /// With nothing to serve yet.
    pub fn new(options: Options) -> Engine {
        Engine {
            live: watch::Sender::new(Arc::default()),
            upstream: Upstream::new(options.reach, options.connect_timeout),
            options,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            turns: Mutex::default(),
            traces: AtomicU64::new(0),
        }
    }

    /// How many requests the rule or target group with this ARN has had before this one.
    pub fn turn(&self, arn: &str) -> u64 {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(arn.to_owned()).or_default();
        *turn = turn.wrapping_add(1);
        *turn - 1
    }

    /// Forgets the turns of what is gone.
    pub fn forget_turns(&self, still: impl Fn(&str) -> bool) {
        self.turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|arn, _| still(arn));
    }

    /// A new trace id: version, time of the request in hexadecimal seconds, 96 bits that no other request has.
    /// Source: "Request tracing for your Application Load Balancer".
    pub fn trace_id(&self) -> String {
        let seconds = jiff::Timestamp::now().as_second();
        format!("1-{seconds:08x}-{:024x}", self.traces.fetch_add(1, Ordering::Relaxed))
    }
}
