//! The credentials that calls are signed with.
//!
//! ```text
//!           ┌─ good for a while ────► signed
//!  call ────┼─ about to end ────────► renewed by one call; the others are signed with the old ones while they last
//!           └─ none, ended, refused ► renewed, later each time that fails; until then no call leaves
//!  answer ─► AWS refused them: forgotten │ anything else: proven
//! ```
//! Whoever gives them out (STS, the Pod Identity agent, instance metadata) reads the pod's token anew each time, so that a
//! token that was rotated is used with the next renewal.

use super::fault::{Class, Fault, causes};
use crate::{execute::CALL_TIMEOUT, telemetry::Clock};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_async::time::TimeSource;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, timeout};

/// Credentials that end sooner are renewed: time enough to try several times before they end. Instance metadata has new ones
/// five minutes before the old ones end ("Retrieve security credentials from instance metadata", Amazon EC2 user guide).
const AHEAD: Duration = Duration::from_secs(300);
/// How long a renewal may take: shorter than the call that waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon after a renewal the next one may follow; twice as late with each failure.
const PAUSE: Duration = Duration::from_secs(10);
/// How late at most.
const LONGEST: Duration = Duration::from_secs(300);

tokio::task_local! {
    /// What the call that is being made was signed with.
    static SIGNED: RefCell<Option<Signed>>;
}

/// Credentials, renewed in time; clones share them.
#[derive(Clone)]
pub(super) struct Renewed {
    source: SharedCredentialsProvider,
    clock: Clock,
    state: Arc<Mutex<State>>,
    /// Held by the one call that renews.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    held: Option<Credentials>,
    /// Renewals that failed and credentials that were refused, since AWS last took a call.
    failures: u32,
    /// Whether credentials were refused since AWS last took a call.
    refused: bool,
    /// When a renewal was last tried.
    tried: Option<Instant>,
    /// After a refusal, one call tries new credentials; until when the others wait for its answer.
    trial: Option<Instant>,
    /// What went wrong last.
    why: String,
}

/// There are no credentials to sign with, and why.
#[derive(Clone, Debug)]
pub(super) struct NoCredentials(pub String);

impl fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoCredentials {}

/// What a call was signed with.
pub(super) struct Signed {
    key: String,
    with: Renewed,
}

impl Signed {
    /// Makes a call, and tells what it was signed with, if it was.
    pub async fn watching<T>(call: impl Future<Output = T>) -> (T, Option<Self>) {
        let watched = async {
            let answer = call.await;
            (answer, SIGNED.with(RefCell::take))
        };
        SIGNED.scope(RefCell::default(), watched).await
    }

    /// Learns from the call's answer.
    pub fn settle<T>(self, answer: &Result<T, Fault>) {
        let mut state = self.with.state();
        if state.held.as_ref().is_none_or(|held| held.access_key_id() != self.key) {
            return;
        }
        state.trial = None;
        match answer {
            Err(fault) if fault.class == Class::Unauthenticated => {
                state.held = None;
                state.refused = true;
                state.failed(format!(
                    "AWS refuses albacore's credentials ({}: {})",
                    fault.code, fault.message
                ));
            }
            Err(fault) if fault.class == Class::Unreachable => {}
            _ => (state.failures, state.refused) = (0, false),
        }
    }
}

impl State {
    fn failed(&mut self, why: String) {
        tracing::warn!("{why}");
        self.failures += 1;
        self.why = why;
    }

    /// Whether it is too soon to try a renewal.
    fn rests(&self, now: Instant) -> bool {
        let pause = PAUSE * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(8));
        self.tried.is_some_and(|tried| now < tried + pause.min(LONGEST))
    }
}

impl Renewed {
    /// Credentials from `source`.
    pub fn new(source: SharedCredentialsProvider, clock: Clock) -> Self {
        Self {
            source,
            clock,
            state: Arc::default(),
            turn: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held and good for longer than `ahead`.
    fn good_for(&self, ahead: Duration) -> Option<Credentials> {
        let end = TimeSource::now(&self.clock) + ahead;
        let state = self.state();
        let held = state.held.as_ref();
        held.filter(|held| held.expiry().is_none_or(|expiry| end < expiry))
            .cloned()
    }

    async fn get(&self) -> Result<Credentials, NoCredentials> {
        if let Some(good) = self.good_for(AHEAD) {
            return self.hand_out(good);
        }
        let old = self.good_for(Duration::ZERO);
        let _turn = match (self.turn.try_lock(), old) {
            (Ok(turn), _) => turn,
            (Err(_), Some(old)) => return self.hand_out(old),
            (Err(_), None) => self.turn.lock().await,
        };
        // Somebody else may have renewed them meanwhile.
        if self.good_for(AHEAD).is_none() && !self.state().rests(Instant::now()) {
            self.renew().await;
        }
        match self.good_for(Duration::ZERO) {
            Some(good) => self.hand_out(good),
            None => Err(NoCredentials(self.state().why.clone())),
        }
    }

    async fn renew(&self) {
        let renewed = timeout(PATIENCE, self.source.provide_credentials()).await;
        let mut state = self.state();
        state.tried = Some(Instant::now());
        match renewed {
            Ok(Ok(new)) => state.held = Some(new),
            Ok(Err(error)) => state.failed(format!("albacore has no credentials for AWS ({})", reason(&error))),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                state.failed(format!(
                    "albacore has no credentials for AWS (nobody gave any within {seconds} seconds)"
                ));
            }
        }
    }

    fn hand_out(&self, good: Credentials) -> Result<Credentials, NoCredentials> {
        let mut state = self.state();
        if state.refused {
            let now = Instant::now();
            if state.trial.is_some_and(|until| now < until) {
                return Err(NoCredentials(state.why.clone()));
            }
            state.trial = Some(now + CALL_TIMEOUT);
        }
        let signed = Signed {
            key: good.access_key_id().to_owned(),
            with: self.clone(),
        };
        // Outside of a call, nobody is there to learn from its answer.
        let _ = SIGNED.try_with(|with| with.replace(Some(signed)));
        Ok(good)
    }
}

/// Why there are no credentials, in words that stay the same while the reason does: without ids of requests.
fn reason(error: &CredentialsError) -> String {
    let mut behind = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let refused = behind.find_map(|error| error.downcast_ref::<AssumeRoleWithWebIdentityError>());
    match refused.and_then(|refused| Some((refused.code()?, refused.message()?))) {
        Some((code, message)) => format!("AssumeRoleWithWebIdentity: {code}: {message}"),
        None => causes(error),
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed")
    }
}

impl ProvideCredentials for Renewed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.get().await.map_err(CredentialsError::provider_error) })
    }
}

/// What time it is for signatures, and for the end of credentials.
impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        Clock::now(self).into()
    }
}
