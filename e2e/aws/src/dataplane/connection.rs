//! Connections from clients: let in by the security groups, TLS, then one request after another.
//!
//! ```text
//! accept ─► admitted? ─no─► held in silence until a rule lets it in, or given up
//!              └yes─► TLS by SNI ─► HTTP/1.1 or HTTP/2 ─► proxy::serve for each request, with the configuration of that moment
//! ```
//! A connection whose listener goes away finishes what it has begun and takes nothing new.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, Live};
use super::header::Origin;
use super::proxy;
use super::tls::HTTP2;
use super::upstream::Stream;

/// How long a client tries to connect that is not let in: the time over which Linux repeats its SYN six times (tcp(7)).
const HELD: Duration = Duration::from_secs(127);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepts connections until `closed`.
pub async fn accept(engine: Arc<Engine>, socket: TcpListener, local: SocketAddr, closed: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed.cancelled() => return,
            () = engine.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                let task = connection(engine.clone(), stream, local, client);
                engine.tasks.spawn(task);
            }
            Err(error) => {
                // A client that was gone before it was accepted, or no file descriptors left: both pass.
                tracing::debug!(%local, %error, "accept");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(engine: Arc<Engine>, stream: TcpStream, local: SocketAddr, client: SocketAddr) {
    let mut changes = engine.live.subscribe();
    let admitted = timeout(HELD, admission(&mut changes, local, client));
    let Some(Ok(Some((live, arn)))) = engine.stop.run_until_cancelled(admitted).await else {
        return;
    };
    if let Err(error) = talk(&engine, changes, live, &arn, stream, local, client).await {
        tracing::debug!(%client, %local, %error, "connection");
    }
}

/// Waits until the load balancer's security groups let this client in; `None` when the listener is gone. Gives the
/// listener's ARN.
async fn admission(
    changes: &mut watch::Receiver<Arc<Live>>,
    local: SocketAddr,
    client: SocketAddr,
) -> Option<(Arc<Live>, String)> {
    loop {
        let live = changes.borrow_and_update().clone();
        let (load_balancer, listener) = live.owner(local)?;
        let vpc = live.vpc(load_balancer);
        if vpc.is_none_or(|vpc| vpc.admits(load_balancer, client.ip(), local.port())) {
            let arn = listener.arn.clone();
            return Some((live, arn));
        }
        changes.changed().await.ok()?;
    }
}

async fn talk(
    engine: &Arc<Engine>,
    mut changes: watch::Receiver<Arc<Live>>,
    live: Arc<Live>,
    arn: &str,
    stream: TcpStream,
    local: SocketAddr,
    client: SocketAddr,
) -> io::Result<()> {
    let Some((load_balancer, listener)) = live.owner(local) else {
        return Ok(());
    };
    stream.set_nodelay(true)?;
    let idle = load_balancer.attributes.idle_timeout;
    let origin = Origin {
        client,
        protocol: if listener.tls.is_some() { "https" } else { "http" },
        port: local.port(),
    };
    let (stream, http2): (Box<dyn Stream>, bool) = match live.tls(listener) {
        None => (Box::new(stream), false),
        Some(Err(error)) => return Err(io::Error::other(error.clone())),
        Some(Ok(config)) => {
            let stream = timeout(HANDSHAKE, TlsAcceptor::from(config.clone()).accept(stream)).await??;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
            (Box::new(stream), http2)
        }
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle);
    builder.http2().timer(TokioTimer::new());
    let builder = if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    let service = service_fn(|request| {
        // A listener that is gone answers what still comes in on its old connections as it last did.
        let now = engine.live.borrow().clone();
        let live = if serves(&now, local, arn, origin) {
            now
        } else {
            live.clone()
        };
        let engine = engine.clone();
        async move { Ok::<_, Infallible>(proxy::serve(&engine, &live, local, origin, request).await) }
    });
    let gone = async {
        // An error means that the data plane is gone with its configuration.
        let _ = changes.wait_for(|live| !serves(live, local, arn, origin)).await;
    };
    let mut gone = pin!(gone);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = &mut gone => {}
        () = engine.stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(io::Error::other)
}

/// Whether `local` still is the listener that a connection came in on, in the same protocol.
fn serves(live: &Live, local: SocketAddr, arn: &str, origin: Origin) -> bool {
    let https = origin.protocol == "https";
    live.owner(local)
        .is_some_and(|(_, listener)| listener.arn == arn && listener.tls.is_some() == https)
}
