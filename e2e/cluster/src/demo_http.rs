//! The demo image: an HTTP server that says which pod it is and what it was asked.
//!
//! | request      | answer                                                                     |
//! |--------------|----------------------------------------------------------------------------|
//! | `/healthz`   | 200, or 503 after `/-/fail` until `/-/recover`                             |
//! | `/-/exit`    | the process ends with code 1                                               |
//! | any other    | `STATUS` after `DELAY_MS`: pod, method, path, peer and headers, one a line |
//!
//! SIGTERM: no new connections, requests under way are answered, then exit code 0.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the container's arguments and environment may set.
#[derive(Parser)]
struct Settings {
    /// Where to listen, on all addresses.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Status of ordinary answers.
    #[arg(long, env = "STATUS", default_value_t = 200)]
    status: u16,
    /// How long an ordinary answer takes, in milliseconds.
    #[arg(long, env = "DELAY_MS", default_value_t = 0)]
    delay_ms: u64,
    /// Who answers; a container's HOSTNAME is its pod's name.
    #[arg(long, env = "HOSTNAME", default_value = "")]
    pod: String,
}

/// Serves until SIGTERM.
pub(crate) fn run() -> Result<i32> {
    let settings = Arc::new(Settings::parse());
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(settings))?;
    Ok(0)
}

async fn serve(settings: Arc<Settings>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let address = (Ipv4Addr::UNSPECIFIED, settings.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on port {}", settings.port))?;
    println!("listening on port {}", settings.port);
    let healthy = Arc::new(AtomicBool::new(true));
    let (drain, draining) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, peer)) = accepted else { continue };
                let (settings, healthy, mut draining) = (settings.clone(), healthy.clone(), draining.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, peer, settings.clone(), healthy.clone()));
                    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
                    tokio::pin!(connection);
                    tokio::select! {
                        _ = &mut connection => return,
                        _ = draining.changed() => connection.as_mut().graceful_shutdown(),
                    }
                    let _ = connection.await;
                });
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            _ = terminate.recv() => break,
        }
    }
    drop(listener);
    println!("draining {} connections", connections.len());
    let _ = drain.send(true);
    while connections.join_next().await.is_some() {}
    println!("drained");
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    settings: Arc<Settings>,
    healthy: Arc<AtomicBool>,
) -> Result<Response<String>, Infallible> {
    let path = request.uri().path();
    println!("{} {} from {peer}", request.method(), request.uri());
    let (status, body) = match path {
        "/-/fail" | "/-/recover" => {
            healthy.store(path == "/-/recover", Ordering::Relaxed);
            (StatusCode::OK, "noted\n".to_owned())
        }
        "/-/exit" => std::process::exit(1),
        "/healthz" if healthy.load(Ordering::Relaxed) => (StatusCode::OK, "ok\n".to_owned()),
        "/healthz" => (StatusCode::SERVICE_UNAVAILABLE, "failing\n".to_owned()),
        _ => {
            tokio::time::sleep(Duration::from_millis(settings.delay_ms)).await;
            let status = StatusCode::from_u16(settings.status).unwrap_or(StatusCode::OK);
            (status, describe(&request, peer, &settings.pod))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn describe(request: &Request<Incoming>, peer: SocketAddr, pod: &str) -> String {
    let mut text = format!(
        "pod: {pod}\nrequest: {} {}\npeer: {peer}\n",
        request.method(),
        request.uri()
    );
    for (name, value) in request.headers() {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}
