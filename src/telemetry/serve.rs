//! `/metrics`, `/healthz` and `/readyz`.

use super::Metrics;
use crate::config::Config;
use anyhow::Context;
use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use std::net::SocketAddr;
use tokio::{net::TcpListener, task::JoinSet};

/// Serves them until the set is dropped. Ready is whoever knows the cluster, a standby too: it must not be taken for
/// broken while another one leads.
///
/// # Errors
/// An address that is not to be had, with its flag.
pub async fn serve(config: &Config, metrics: &Metrics) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut servers = JoinSet::new();
    let told = metrics.clone();
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let router = Router::new().route("/metrics", get(async move || ([(CONTENT_TYPE, text)], told.text())));
    spawn("--metrics-bind-addr", config.metrics, router, &mut servers).await?;
    let metrics = metrics.clone();
    let ready = async move || match metrics.is_synced() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not every kind of object was told yet"),
    };
    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready));
    spawn("--health-probe-bind-addr", config.health, router, &mut servers).await?;
    Ok(servers)
}

async fn spawn(
    flag: &str,
    address: SocketAddr,
    router: Router,
    servers: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag}={address} is not to be had"))?;
    servers.spawn(async move { Ok(axum::serve(listener, router).await?) });
    Ok(())
}
