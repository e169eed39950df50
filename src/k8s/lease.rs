//! Who acts: one process at a time, by a Lease.
//!
//! ```text
//! standby ──(nobody renewed for a lease duration, by our own clock; or released)──► leader ──► renews every retry period
//!    ▲                                                                                │
//!    └────────── the process ends ◄── not renewed within the renew deadline, or taken ┘
//! ```
//! Other machines' clocks are not believed: a lease is over when *we* have not seen it change for its duration. A leader
//! that cannot renew stops before anybody else may begin, because its deadline is shorter than the lease.

use super::Fault;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// The Lease and its timing; Kubernetes' own defaults ("leaderelection", client-go).
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Namespace.
    pub namespace: String,
    /// Name; ALBC's, so that only one of the two controllers ever acts.
    pub name: String,
    /// Who we are.
    pub identity: String,
    /// How long it is ours after a renewal.
    pub duration: Duration,
    /// How long we try to renew it before we give up; shorter than `duration`.
    pub renew_deadline: Duration,
    /// How often it is renewed, or looked at.
    pub retry_period: Duration,
}

impl LeaseConfig {
    /// With the usual timing.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Whether we may act.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Our hold on the lease; `None` while it is not ours.
    hold: watch::Receiver<Option<Hold>>,
    /// Keeps a lease that nobody contends for as it is, for ever.
    _alone: Option<Arc<watch::Sender<Option<Hold>>>>,
}

/// A lease that is ours.
#[derive(Clone, Copy, Debug)]
struct Hold {
    /// Until when for certain.
    until: Instant,
    /// Which of its holders we are (`leaseTransitions`); `None` without leader election.
    term: Option<i32>,
    /// Whether this process is about to end: it begins nothing new, but still writes down what came of what it began.
    ends: bool,
}

/// A process without leader election leads for so long.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365 * 30);

impl Leadership {
    /// Without leader election: always ours.
    pub fn alone() -> Self {
        let hold = Hold {
            until: Instant::now() + FOR_EVER,
            term: None,
            ends: false,
        };
        let (sender, hold) = watch::channel(Some(hold));
        Self {
            hold,
            _alone: Some(Arc::new(sender)),
        }
    }

    /// Never ours: for whoever only looks.
    pub fn never() -> Self {
        let (sender, hold) = watch::channel(None);
        Self {
            hold,
            _alone: Some(Arc::new(sender)),
        }
    }

    /// Whether it is ours for at least so long, and something new may be begun.
    pub fn held_for(&self, duration: Duration) -> bool {
        let hold = *self.hold.borrow();
        hold.is_some_and(|hold| !hold.ends && Instant::now() + duration <= hold.until)
    }

    /// Ends when nothing may be written any more: another process may lead.
    pub async fn over(&mut self) {
        self.without(|_| true).await;
    }

    /// Which of the lease's holders we are (`leaseTransitions`); `None` without leader election, or while it is not ours.
    pub fn term(&self) -> Option<i32> {
        self.hold.borrow().and_then(|hold| hold.term)
    }

    /// Whether it is ours now.
    pub fn held(&self) -> bool {
        self.held_for(Duration::ZERO)
    }

    /// Ends when it is ours.
    pub async fn won(&mut self) {
        if self.hold.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends when it is not ours any more.
    pub async fn lost(&mut self) {
        self.without(|hold| !hold.ends).await;
    }

    /// Ends when there is no hold that has not run out and counts.
    async fn without(&mut self, counts: impl Fn(&Hold) -> bool) {
        loop {
            let hold = *self.hold.borrow_and_update();
            let Some(hold) = hold.filter(|hold| Instant::now() < hold.until && counts(hold)) else {
                return;
            };
            tokio::select! {
                changed = self.hold.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(hold.until) => {}
            }
        }
    }
}

/// Contends for a lease.
pub struct Contender {
    api: Api<Lease>,
    config: LeaseConfig,
    hold: watch::Sender<Option<Hold>>,
    /// The lease as last seen, and when we first saw it so.
    seen: Option<(Lease, Instant)>,
}

impl Contender {
    /// `client` must not retry by itself: a renewal that comes late is worse than one that fails.
    pub fn new(client: Client, config: LeaseConfig) -> (Self, Leadership) {
        let (hold, receiver) = watch::channel(None);
        let api = Api::namespaced(client, &config.namespace);
        (
            Self {
                api,
                config,
                hold,
                seen: None,
            },
            Leadership {
                hold: receiver,
                _alone: None,
            },
        )
    }

    /// Contends until `stop` ends; then nothing new is begun, and when `drained` ends, or has taken too long, the lease is
    /// handed over. Ends earlier when it was ours and is lost: then nothing may be done any more, and the process should
    /// end.
    pub async fn run(mut self, stop: impl Future<Output = ()>, drained: impl Future<Output = ()>) {
        tokio::select! {
            () = self.contend() => return tracing::error!("the lease is lost"),
            () = stop => {}
        }
        let leads = self.hold.borrow().is_some();
        self.hold
            .send_if_modified(|hold| hold.as_mut().map(|hold| hold.ends = true).is_some());
        if !leads {
            return;
        }
        // Shorter than the lease runs without a renewal.
        if tokio::time::timeout(self.config.renew_deadline, drained).await.is_err() {
            tracing::warn!("calls were still under way when the time to stop was over");
        }
        self.hold.send_replace(None);
        if let Err(error) = self.release().await {
            tracing::warn!(%error, "the lease could not be handed over; it runs out by itself");
        }
    }

    async fn contend(&mut self) {
        let mut renewed: Option<Instant> = None;
        loop {
            // What is ours is ours from before the call on: the API server stores it some time during the call. Others
            // wait for as long as the lease runs; nothing is sent that may end later than that (`Leadership::held_for`).
            let asked = Instant::now();
            let tried = tokio::time::timeout(self.config.renew_deadline, self.try_hold()).await;
            match tried {
                Ok(Ok(Some(term))) => {
                    renewed = Some(asked);
                    let hold = Hold {
                        until: asked + self.config.duration,
                        term: Some(term),
                        ends: false,
                    };
                    if self.hold.send_replace(Some(hold)).is_none() {
                        tracing::info!(lease = %self.config.name, "leading");
                    }
                }
                Ok(Ok(None)) if renewed.is_some() => break,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be read or renewed"),
                Err(_) => tracing::warn!("the lease could not be read or renewed in time"),
            }
            if renewed.is_some_and(|renewed| renewed.elapsed() >= self.config.renew_deadline) {
                break;
            }
            sleep(self.config.retry_period).await;
        }
        self.hold.send_replace(None);
    }

    /// Takes the lease if it is free, renews it if it is ours; says which of its holders we are, if it is ours now.
    async fn try_hold(&mut self) -> Result<Option<i32>, Fault> {
        let found = match self.api.get(&self.config.name).await.map_err(Fault::from) {
            Err(Fault::Missing) => {
                let metadata = ObjectMeta {
                    name: Some(self.config.name.clone()),
                    ..ObjectMeta::default()
                };
                let lease = Lease {
                    metadata,
                    spec: Some(self.claim(None)),
                };
                return match self
                    .api
                    .create(&PostParams::default(), &lease)
                    .await
                    .map_err(Fault::from)
                {
                    Ok(made) => Ok(Some(term_of(&made))),
                    Err(Fault::Exists) => Ok(None),
                    Err(fault) => Err(fault),
                };
            }
            answer => answer?,
        };
        let same = self
            .seen
            .as_ref()
            .is_some_and(|(seen, _)| seen.resource_version() == found.resource_version());
        if !same {
            self.seen = Some((found.clone(), Instant::now()));
        }
        let since = self.seen.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        let spec = found.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let duration = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok())
            .map_or(self.config.duration, Duration::from_secs);
        let free = holder.is_empty() || since.elapsed() >= duration;
        if holder != self.config.identity && !free {
            return Ok(None);
        }
        let lease = Lease {
            spec: Some(self.claim(Some(&spec))),
            metadata: found.metadata,
        };
        // The resource version in it makes this fail when anybody else was faster.
        match self
            .api
            .replace(&self.config.name, &PostParams::default(), &lease)
            .await
            .map_err(Fault::from)
        {
            Ok(made) => Ok(Some(term_of(&made))),
            Err(Fault::Conflict) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn claim(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let ours = before.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.config.identity));
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(jiff::Timestamp::now());
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.duration.as_secs()).ok(),
            acquire_time: if ours {
                before.and_then(|spec| spec.acquire_time.clone())
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(if ours || before.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..LeaseSpec::default()
        }
    }

    async fn release(&mut self) -> Result<(), Fault> {
        let mut lease = self.api.get(&self.config.name).await?;
        if let Some(spec) = &mut lease.spec {
            if spec.holder_identity.as_deref() != Some(&self.config.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
        }
        self.api
            .replace(&self.config.name, &PostParams::default(), &lease)
            .await?;
        Ok(())
    }
}

fn term_of(lease: &Lease) -> i32 {
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    transitions.unwrap_or_default()
}
