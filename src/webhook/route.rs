//! Requests → answers. Whoever asks something else than an API server does is refused before anything is read.
//!
//! ```text
//! path, method ─► type, length ─► room for the body ─► body, in time ─► AdmissionReview ─► facts ─► change ─► answer
//!   404, 405       415, 411, 413        503                408                400           503
//! ```
//! An answer that is none leaves it to `failurePolicy` whether the pod starts: so it is while not all facts are known.

use super::{
    pod::{self, Change, Pod},
    review::Request,
};
use crate::{
    facts::{Cluster, Facts},
    telemetry::Metrics,
};
use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{self, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

/// Longest body. The API server takes objects of 3 MiB from users; what it wraps around one is small, as a pod of that size
/// is none that starts.
const BODY: u32 = 3 << 20;

/// A body that needs no room: of a pod that somebody wrote by hand. As many as there are connections are held at once.
const SMALL: u32 = 128 << 10;

/// All larger bodies that are read at once: what is held of requests whatever they do.
const BODIES: u32 = 32 << 20;

/// What requests are answered from.
pub struct Desk {
    facts: Facts,
    metrics: Metrics,
    /// Whether gates are given.
    gates: bool,
    /// How long pods go on serving that say nothing else.
    seconds: u32,
    /// How long a request may take to arrive.
    patience: Duration,
    room: Semaphore,
    closing: watch::Receiver<bool>,
}

type Refused = (StatusCode, String);

impl Desk {
    /// One that has everything it needs; `closing` is raised when connections are to be left.
    pub fn new(
        (facts, metrics): (Facts, Metrics),
        (gates, seconds): (bool, u32),
        patience: Duration,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self {
            facts,
            metrics,
            gates,
            seconds,
            patience,
            room: Semaphore::new(BODIES as usize),
            closing,
        }
    }

    /// What is answered.
    pub fn router(self) -> Router {
        Router::new()
            .route("/mutate-v1-pod", post(gate))
            .route("/mutate-v1-pod-deregister", post(sleep))
            .with_state(Arc::new(self))
    }

    async fn answer(
        &self,
        webhook: &'static str,
        request: extract::Request,
        decide: impl Fn(&Pod, &str, &Cluster) -> Change,
    ) -> Response {
        let begun = Instant::now();
        let (outcome, mut answer) = match self.decide(request, decide).await {
            Ok((change, answer)) => {
                let outcome = if change.patch.is_empty() {
                    "unchanged"
                } else {
                    "changed"
                };
                (outcome, answer)
            }
            Err(refused) => {
                tracing::debug!(webhook, status = %refused.0, why = refused.1, "a request was refused");
                // What is left of its body is not read.
                let close = [(CONNECTION, HeaderValue::from_static("close"))];
                ("refused", (close, refused).into_response())
            }
        };
        self.metrics.admitted(webhook, outcome, begun.elapsed());
        if *self.closing.borrow() {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn decide(
        &self,
        request: extract::Request,
        decide: impl Fn(&Pod, &str, &Cluster) -> Change,
    ) -> Result<(Change, Response), Refused> {
        let body = self.body(request).await?;
        let request = Request::read(&body).map_err(|wrong| (StatusCode::BAD_REQUEST, wrong))?;
        if !self.metrics.is_synced() {
            let why = "not every kind of object was told yet".to_owned();
            return Err((StatusCode::SERVICE_UNAVAILABLE, why));
        }
        let change = request.pod().map_or_else(Change::default, |(pod, namespace)| {
            decide(pod, namespace, &self.facts.cluster())
        });
        let answer = Json(request.allow(&change)).into_response();
        Ok((change, answer))
    }

    /// The body, when it comes in time and is one that is read.
    async fn body(&self, request: extract::Request) -> Result<Bytes, Refused> {
        let (head, body) = request.into_parts();
        let length = length(&head.headers)?;
        let until = Instant::now() + self.patience;
        let room = if length > SMALL { length } else { 0 };
        let room = timeout_at(until, self.room.acquire_many(room));
        let full = || (StatusCode::SERVICE_UNAVAILABLE, "too many requests at once".to_owned());
        let _room = room.await.map_err(|_| full())?.map_err(|_| full())?;
        let body = timeout_at(until, to_bytes(body, length as usize)).await;
        let late = || (StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned());
        body.map_err(|_| late())?
            .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))
    }
}

/// How long the body is, by a head such as API servers send it.
fn length(headers: &HeaderMap) -> Result<u32, Refused> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let kind = text(CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let why = format!("`{kind}` is not application/json");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let Some(length) = text(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok()) else {
        return Err((StatusCode::LENGTH_REQUIRED, "no content-length".to_owned()));
    };
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= BODY)
        .ok_or_else(|| {
            let why = format!("{length} bytes are more than {BODY}");
            (StatusCode::PAYLOAD_TOO_LARGE, why)
        })
}

async fn gate(State(desk): State<Arc<Desk>>, request: extract::Request<Body>) -> Response {
    let gates = desk.gates;
    let decide = |pod: &Pod, namespace: &str, cluster: &Cluster| match gates {
        true => pod::gate(pod, namespace, cluster),
        false => Change::default(),
    };
    desk.answer("gate", request, decide).await
}

async fn sleep(State(desk): State<Arc<Desk>>, request: extract::Request<Body>) -> Response {
    let seconds = desk.seconds;
    let decide = |pod: &Pod, namespace: &str, cluster: &Cluster| pod::sleep(pod, namespace, cluster, seconds);
    desk.answer("deregister", request, decide).await
}
