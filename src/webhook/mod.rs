//! The webhook: pods are changed before they are made. Every replica answers, whether it leads or not.
//!
//! ```text
//! API server ─TLS─► server ─► route ─► review ─► pod: gate, sleep ─► JSON patch
//!                     ▲ certificate                 ▲ facts (bindings, Services), kept warm by the controller
//!                     └── keeper ◄── rotation ◄── Secret, bundle   (or files)
//! ```
//! It never says no: a pod is allowed, or the API server gets no answer and `failurePolicy` counts.

mod certificate;
mod keeper;
mod pod;
mod review;
mod rotation;
mod route;
mod server;
#[cfg(test)]
mod tests;

use crate::{
    config::{Certificate, Webhook},
    facts::Facts,
    k8s::{Client, Trust},
    telemetry::{self, Clock, Metrics},
};
use anyhow::Context;
use certificate::Served;
use keeper::{Files, Keeper};
use route::Desk;
use server::Limits;
use std::sync::Arc;
use tokio::sync::watch;

/// What the webhook is made of.
pub struct Parts {
    /// Where it listens, and with which certificate.
    pub config: Webhook,
    /// A client of the API server.
    pub client: Client,
    /// The facts.
    pub facts: Facts,
    /// What time it is.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}

/// Answers until `stop` ends, and for some seconds more: so long others may not know yet that nobody is here.
///
/// # Errors
/// An address that is not to be had.
pub async fn serve(parts: Parts, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Parts {
        config,
        client,
        facts,
        clock,
        metrics,
    } = parts;
    let address = config.address;
    let listener = telemetry::listen(address).await;
    let listener = listener.with_context(|| format!("--webhook-bind-port={} is not to be had", address.port()))?;
    let served = Served::default();
    let tls = Arc::new(served.tls().context("TLS")?);
    let (closing, closed) = watch::channel(false);
    let limits = Limits::default();
    let seconds = (config.gates, config.seconds);
    let desk = Desk::new((facts, metrics.clone()), seconds, limits.body, closed);
    let kept = async {
        match &config.certificate {
            Certificate::Files { certificate, key } => Files::new(certificate, key, served).keep(metrics).await,
            Certificate::Own { namespace, name } => {
                let trust = Trust::new(client, namespace, &format!("{name}-keys"), name);
                Keeper::new(trust, names(namespace, name), served, (clock, metrics))
                    .keep()
                    .await;
            }
        }
    };
    let answered = server::serve(listener, tls.into(), desk.router(), limits, closing, stop);
    tokio::select! {
        () = answered => {}
        () = kept => {}
    }
    Ok(())
}

/// What API servers call the Service of a webhook, and what others may.
fn names(namespace: &str, name: &str) -> Vec<String> {
    let service = format!("{name}-service.{namespace}.svc");
    vec![service.clone(), format!("{service}.cluster.local")]
}
