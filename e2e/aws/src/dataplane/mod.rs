//! The data plane: load balancers that really listen, decide and forward.
//!
//! ```text
//! control plane ─► Snapshot ─► apply ─► sockets on the load balancers' addresses and ports
//!                                        │ admitted by security groups (firewall), TLS by SNI (tls)
//!                                        ▼
//!                 Report ◄─ probe      rule by priority (rule, matcher) ─► answer of its own (answer)
//!                             │          │
//!                             └──────► target by weight and turn (balance) ─► connection from the load balancer's
//!                                                                             address (upstream, header, proxy)
//! ```
//! It connects only inside a network namespace that has nothing but its own links, or on loopback where a test says so.

mod answer;
mod balance;
mod connection;
mod engine;
mod firewall;
mod header;
mod matcher;
mod namespace;
mod probe;
mod proxy;
mod rule;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod tls;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use engine::{Engine, Live};
pub use matcher::Pattern;
pub use namespace::{NamespaceError, Reach};
use probe::Prober;
pub use probe::{Outcome, Registration, Report};
use snapshot::{Snapshot, TargetState};

/// How a data plane is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it may listen and connect.
    pub reach: Reach,
    /// How long a connection to a target may take. ALB's is 10 seconds ("Troubleshoot your Application Load Balancers",
    /// HTTP 504).
    pub connect_timeout: Duration,
}

impl Options {
    /// As ALB does it.
    pub fn new(reach: Reach) -> Options {
        Options {
            reach,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// A listener that does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket could not be had. Tried again at the next `apply`.
    #[error("can't listen on {0}: {1}")]
    Bind(SocketAddr, #[source] std::io::Error),
    /// The address is outside of what is allowed here.
    #[error("may not listen on {0}: only loopback addresses are allowed here")]
    Forbidden(SocketAddr),
    /// Connections are accepted and closed.
    #[error("listener {0}: {1}")]
    Tls(String, String),
}

/// A running data plane. Dropped, it stops: what is in flight finishes.
pub struct DataPlane {
    engine: Arc<Engine>,
    /// What `apply` has set up; it is locked for the whole of an `apply`.
    running: Mutex<Running>,
    reports: UnboundedSender<Report>,
}

#[derive(Default)]
struct Running {
    sockets: BTreeMap<SocketAddr, Socket>,
    prober: Prober,
}

/// A socket that accepts connections until `closed`.
struct Socket {
    closed: CancellationToken,
    accepting: JoinHandle<()>,
}

impl DataPlane {
    /// Starts with nothing to serve. What the health checks find comes out of the channel.
    pub fn new(options: Options) -> (DataPlane, UnboundedReceiver<Report>) {
        let (reports, receiver) = unbounded_channel();
        (
            DataPlane {
                engine: Arc::new(Engine::new(options)),
                running: Mutex::default(),
                reports,
            },
            receiver,
        )
    }

    /// Serves this from now on. Requests in flight go on as they were decided; the next one on the same connection meets
    /// the new rules. When it returns, new listeners accept connections and removed ones don't.
    pub async fn apply(&self, snapshot: Snapshot) -> Vec<ListenError> {
        let mut running = self.running.lock().await;
        let before = self.engine.live.borrow().clone();
        let live = Arc::new(Live::new(snapshot, &before));
        self.engine.live.send_replace(live.clone());
        let broken = live
            .broken()
            .map(|(arn, error)| ListenError::Tls(arn.to_owned(), error.to_string()));
        let mut errors: Vec<ListenError> = broken.collect();
        let wanted: BTreeSet<SocketAddr> = live.sockets().collect();
        for (_, socket) in running.sockets.extract_if(.., |local, _| !wanted.contains(local)) {
            socket.closed.cancel();
            if let Err(error) = socket.accepting.await {
                tracing::error!(%error, "accepting connections");
            }
        }
        for local in wanted {
            if running.sockets.contains_key(&local) {
                continue;
            }
            if !self.engine.options.reach.permits(local.ip()) {
                errors.push(ListenError::Forbidden(local));
                continue;
            }
            match TcpListener::bind(local).await {
                Ok(socket) => {
                    let closed = CancellationToken::new();
                    let accepting = connection::accept(self.engine.clone(), socket, local, closed.clone());
                    let accepting = self.engine.tasks.spawn(accepting);
                    running.sockets.insert(local, Socket { closed, accepting });
                }
                Err(error) => errors.push(ListenError::Bind(local, error)),
            }
        }
        let targets = live.snapshot.target_groups.values().flat_map(|group| &group.targets);
        let open = targets.filter(|target| !matches!(target.state, TargetState::Draining | TargetState::Unused));
        self.engine
            .upstream
            .keep(open.filter_map(|target| target.address).collect());
        self.engine.forget_turns(|arn| live.knows(arn));
        running.prober.reconcile(&self.engine, &self.reports);
        errors
    }

    /// Closes all listeners and waits until what is in flight has finished.
    pub async fn stop(self) {
        self.engine.stop.cancel();
        self.engine.tasks.close();
        self.engine.tasks.wait().await;
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.engine.stop.cancel();
    }
}
