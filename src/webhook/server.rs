//! Connections: TLS only, as many as there is room for, and none that makes others wait.
//!
//! ```text
//! room? ─► accept ─► handshake, in time ─► head, in time ─► routes ─► next request, or silence ─► closed
//! age, stop: answers say that the connection ends
//! stop: ─(endpoints forget us)─► nobody is accepted ─► what is under way ends
//! ```

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header::CONNECTION},
    middleware::{Next, from_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// A head of an API server's request is a few hundred bytes.
const HEAD: usize = 16 << 10;

/// How long API servers keep connections that they do not use (`IdleConnTimeout` in Kubernetes' apimachinery).
const KEPT: Duration = Duration::from_secs(90);

/// How much a server puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; whoever comes then waits until one ends.
    pub connections: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a connection may be silent before, or while, the head of a request comes: longer than API servers keep one
    /// that they do not use, or they would ask on one that has just ended. Before its first request, too, since they keep
    /// what they opened in reserve.
    pub silence: Duration,
    /// How long the body of a request may take: less than API servers wait for an answer (the chart's `timeoutSeconds`).
    pub body: Duration,
    /// How long a connection may last: the first answer after that says that it ends. Whoever asks for none, or reads none, is
    /// left when he has been silent, too.
    pub age: Duration,
    /// How long it goes on after it is told to stop: until nobody sends anything here any more.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(5),
            silence: KEPT + Duration::from_secs(30),
            body: Duration::from_secs(4),
            age: Duration::from_secs(600),
            linger: Duration::from_secs(5),
        }
    }
}

/// How long what is under way on a connection may take when it is to end.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves until `stop` ends, and a while longer; `closing` is raised in between.
pub async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    limits: Limits,
    closing: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let (leave, left) = watch::channel(false);
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (tls, router, left) = (tls.clone(), router.clone(), left.clone());
                    connections.spawn(async move {
                        converse(stream, tls, router, limits, left).await;
                        drop(place);
                    });
                }
                // Out of descriptors, perhaps: it passes.
                Err(error) => {
                    tracing::warn!(%error, "no connection is accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    };
    let stopping = async {
        stop.await;
        closing.send_replace(true);
        sleep(limits.linger).await;
    };
    tokio::select! {
        () = accepting => {}
        () = stopping => {}
    }
    drop(listener);
    leave.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    // Whoever is not through with the handshake is cut off when the set is dropped.
    let _ = timeout(DRAIN, ended).await;
}

async fn converse(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    limits: Limits,
    mut left: watch::Receiver<bool>,
) {
    // Answers are one small write each.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(limits.handshake, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!("a handshake took too long");
            return;
        }
    };
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.silence)
        .max_buf_size(HEAD);
    let old = Instant::now() + limits.age;
    let router = router.layer(from_fn(move |request: Request, next: Next| async move {
        let mut answer = next.run(request).await;
        if Instant::now() >= old {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }));
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let over = async { drop(timeout(limits.age + limits.silence, left.wait_for(|left| *left)).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = over => {
            connection.as_mut().graceful_shutdown();
            timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke");
    }
}
