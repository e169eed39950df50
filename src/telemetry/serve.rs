//! `/metrics`, `/healthz` and `/readyz`.

use super::Metrics;
use crate::config::Config;
use anyhow::Context;
use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::{net::TcpListener, task::JoinSet};

/// "OpenMetrics, Protocols and Negotiation".
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves them until the set is dropped. Ready is whoever knows the cluster, and can answer as the webhook where there is
/// one; a standby too: it must not be taken for broken while another one leads.
///
/// # Errors
/// An address that is not to be had, with its flag.
pub async fn serve(config: &Config, metrics: &Metrics) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut servers = JoinSet::new();
    for (flag, address, router) in [
        ("--metrics-bind-addr", config.metrics, metrics_of(metrics.clone())),
        (
            "--health-probe-bind-addr",
            config.health,
            health_of(metrics.clone(), config.webhook.is_some()),
        ),
    ] {
        let listener = listen(address)
            .await
            .with_context(|| format!("{flag}={address} is not to be had"))?;
        servers.spawn(async move { Ok(axum::serve(listener, router).await?) });
    }
    Ok(servers)
}

fn metrics_of(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(async move || ([(CONTENT_TYPE, TEXT)], metrics.text())))
}

fn health_of(metrics: Metrics, webhook: bool) -> Router {
    let ready = async move || match (metrics.is_synced(), metrics.is_certified() || !webhook) {
        (true, true) => (StatusCode::OK, "ok"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not every kind of object was told yet"),
        (true, false) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the webhook has no certificate yet; the log says why",
        ),
    };
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
}

/// Listens; every address of the machine means those of IPv4 where it has no IPv6.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    async fn get(router: Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = router.oneshot(request).await.expect("an answer");
        let (parts, body) = answer.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let body = String::from_utf8(body.into()).expect("text");
        (parts.status, kind.unwrap_or_default().to_owned(), body)
    }

    #[tokio::test]
    async fn whoever_knows_the_cluster_is_ready_and_was_alive_before() {
        let metrics = Metrics::default();
        let ask = async |path| get(health_of(metrics.clone(), false), path).await.0;
        assert_eq!(ask("/healthz").await, StatusCode::OK);
        assert_eq!(ask("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
        metrics.synced();
        assert_eq!(ask("/readyz").await, StatusCode::OK);
        metrics.leads(false);
        assert_eq!(ask("/readyz").await, StatusCode::OK, "a standby");
        assert_eq!(ask("/metrics").await, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_webhook_is_ready_with_its_certificate() {
        let metrics = Metrics::default();
        let ready = async || get(health_of(metrics.clone(), true), "/readyz").await.0;
        metrics.synced();
        assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
        metrics.certified();
        assert_eq!(ready().await, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_say_what_format_they_are_in() {
        let (status, kind, body) = get(metrics_of(Metrics::default()), "/metrics").await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, TEXT));
        assert!(body.contains("albacore_leader 0"), "{body}");
    }

    #[tokio::test]
    async fn every_address_is_listened_on() {
        let listener = listen((Ipv6Addr::UNSPECIFIED, 0).into()).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("also by IPv4");
        let taken = listen((Ipv6Addr::UNSPECIFIED, port).into()).await;
        assert_eq!(taken.expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }
}
