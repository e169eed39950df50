//! Serves one snapshot after another: sockets for its listeners, health checks for its targets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, Live};
use super::probe::{Prober, Report};
use super::snapshot::{Snapshot, TargetState};
use super::{Options, connection};

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

/// The sockets and tasks that serve a snapshot. Dropped, it stops: what is in flight finishes.
pub struct Plane {
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

impl Plane {
    /// Starts with nothing to serve. What the health checks find comes out of the channel.
    pub fn new(options: Options) -> (Plane, UnboundedReceiver<Report>) {
        let (reports, receiver) = unbounded_channel();
        (
            Plane {
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

impl Drop for Plane {
    fn drop(&mut self) {
        self.engine.stop.cancel();
    }
}
