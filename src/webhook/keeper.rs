//! Keeps the certificate that is served up to date: albacore's own, or one that somebody else writes to files.
//!
//! ```text
//! own    configuration (bundle), then Secret (keys) ─► rotation::step ─► write one of them, look again ─► serve
//! files  read ─► another than before? ─► serve
//! ```
//! The configuration is read first: whoever writes a bundle on old keys is refused then, since the one with the new keys
//! wrote it in between.

use super::{
    certificate::{Pair, Served},
    rotation::{Keys, Step, step},
};
use crate::{
    k8s::{Fault, Trust},
    telemetry::{Clock, Metrics},
};
use jiff::{SignedDuration, Timestamp};
use std::{path::Path, time::Duration};
use tokio::time::sleep;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(10);

/// How soon it is looked again while something is wrong or missing: helm makes the configuration after the pods.
const SOON: Duration = Duration::from_secs(5);

/// How long ago a certificate was made that is served in place of one that API servers trust: those that hear of a bundle know
/// it by then.
const HEARD: SignedDuration = SignedDuration::from_secs(60);

/// How often files are read.
const READ: Duration = Duration::from_secs(10);

/// Steps of one look: as many as there ever are, and some for whoever was faster.
const STEPS: usize = 8;

/// Keeps our own.
pub struct Keeper {
    trust: Trust,
    /// What the server is called.
    names: Vec<String>,
    served: Served,
    serves: Option<Pair>,
    clock: Clock,
    metrics: Metrics,
}

impl Keeper {
    /// One for a server that is called so.
    pub fn new(trust: Trust, names: Vec<String>, served: Served, (clock, metrics): (Clock, Metrics)) -> Self {
        Self {
            trust,
            names,
            served,
            serves: None,
            clock,
            metrics,
        }
    }

    /// Keeps it until dropped.
    pub async fn keep(mut self) {
        loop {
            let again = match self.look().await {
                Ok(true) => LOOK,
                Ok(false) => SOON,
                Err(wrong) => {
                    tracing::warn!("the webhook's certificate cannot be kept up to date: {wrong}");
                    SOON
                }
            };
            sleep(again).await;
        }
    }

    /// Takes the steps that are due, and serves what is to be served; says whether everything is as it should be.
    async fn look(&mut self) -> Result<bool, String> {
        for _ in 0..STEPS {
            let bundle = self
                .trust
                .bundle()
                .await
                .map_err(told("the MutatingWebhookConfiguration"))?;
            let (keys, secret) = self.trust.keys::<Keys>().await.map_err(told("the Secret"))?;
            let authorities = bundle.as_ref().map(|bundle| bundle.authorities.as_str());
            let now = self.clock.now();
            let next = step(keys.as_ref(), authorities, now, || Pair::make(&self.names, now));
            let written = match (
                next.map_err(|error| format!("no certificate can be made: {error}"))?,
                &bundle,
            ) {
                (Step::Write(keys), _) => self.trust.store(&*keys, secret).await,
                (Step::Trust(authorities), Some(bundle)) => self.trust.trust(bundle, &authorities).await,
                (Step::Trust(_) | Step::Rest, _) => {
                    keys.map_or(Ok(()), |keys| self.serve(keys.current, authorities, now))?;
                    return Ok(bundle.is_some());
                }
            };
            match written {
                Ok(()) | Err(Fault::Conflict) => {}
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Ok(false)
    }

    /// Serves it, when it is another one. One that was made a moment ago API servers may not know yet, and what is served
    /// they do, as long as the bundle has it.
    fn serve(&mut self, pair: Pair, bundle: Option<&str>, now: Timestamp) -> Result<(), String> {
        let is_new = now.duration_since(pair.made) < HEARD;
        let is_trusted = |ca: &str| bundle.is_some_and(|bundle| bundle.contains(ca));
        let stays = |serves: &Pair| *serves == pair || is_new && is_trusted(&serves.ca);
        if self.serves.as_ref().is_some_and(stays) {
            return Ok(());
        }
        let exchanged = self.served.exchange(pair.certificate.as_bytes(), pair.key.as_bytes());
        exchanged.map_err(|error| error.to_string())?;
        tracing::info!(until = %pair.until(), "the webhook has a certificate");
        self.serves = Some(pair);
        self.metrics.certified();
        Ok(())
    }
}

fn told(object: &'static str) -> impl Fn(Fault) -> String {
    move |fault| format!("{object}: {fault}")
}

/// Keeps what somebody else writes to two files.
pub struct Files<'p> {
    certificate: &'p Path,
    key: &'p Path,
    served: Served,
    before: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'p> Files<'p> {
    /// Those at these paths.
    pub fn new(certificate: &'p Path, key: &'p Path, served: Served) -> Self {
        Self {
            certificate,
            key,
            served,
            before: None,
        }
    }

    /// Keeps it until dropped.
    pub async fn keep(mut self, metrics: Metrics) {
        loop {
            match self.read().await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!("the webhook has a certificate");
                    metrics.certified();
                }
                // Perhaps one of the two is written already and the other not yet.
                Err(wrong) => tracing::warn!("{} and {}: {wrong}", self.certificate.display(), self.key.display()),
            }
            sleep(READ).await;
        }
    }

    /// Serves what is in the files, when it is something else than before; says whether it was.
    async fn read(&mut self) -> Result<bool, String> {
        let found = tokio::try_join!(tokio::fs::read(self.certificate), tokio::fs::read(self.key));
        let found = found.map_err(|error| error.to_string())?;
        if self.before.as_ref() == Some(&found) {
            return Ok(false);
        }
        let exchanged = self.served.exchange(&found.0, &found.1);
        exchanged.map_err(|error| error.to_string())?;
        self.before = Some(found);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
