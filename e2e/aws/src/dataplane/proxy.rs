//! One request: rule, target, answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, LOCATION, SERVER};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version as HttpVersion};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::time::{sleep, timeout};

use super::answer::{Answer, Failure};
use super::balance::choose;
use super::engine::{Engine, Live};
use super::header::{self, Origin};
use super::rule::Facts;
use super::snapshot::{Action, Listener, LoadBalancer};
use super::upstream::{Body, Route};

/// Answers a request that came in on `local`.
pub async fn serve(
    engine: &Arc<Engine>,
    live: &Live,
    local: SocketAddr,
    origin: Origin,
    request: Request<Incoming>,
) -> Response<Body> {
    let outcome = match live.owner(local) {
        Some((load_balancer, listener)) => act(engine, live, (load_balancer, listener), local, origin, request).await,
        None => Err(Failure::NoTargets),
    };
    outcome.unwrap_or_else(|failure| response(Answer::from(failure)))
}

async fn act(
    engine: &Arc<Engine>,
    live: &Live,
    (load_balancer, listener): (&LoadBalancer, &Listener),
    local: SocketAddr,
    origin: Origin,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let host = host(&request).ok_or(Failure::BadRequest)?;
    let facts = Facts {
        host: &host,
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        method: request.method().as_str(),
        headers: request.headers(),
        source: origin.client.ip(),
    };
    let (owner, action) = listener.action(facts);
    let groups = match action {
        Action::Fixed {
            status,
            content_type,
            body,
        } => {
            let (content_type, body) = (content_type.clone(), body.clone());
            return Ok(response(Answer {
                status: *status,
                content_type,
                body,
                location: None,
            }));
        }
        Action::Redirect(redirect) => return Ok(response(redirect.answer(facts, origin.protocol, origin.port))),
        Action::Unsupported(_) => return Err(Failure::NotImplemented),
        Action::Forward(groups) => groups,
    };
    let (group, target) = choose(&live.snapshot, groups, engine.turn(owner), |arn| engine.turn(arn))?;
    let ends = target
        .address
        .and_then(|to| Some((load_balancer.source(local.ip(), to.ip())?, to)));
    let reached = ends.filter(|&(from, to)| {
        live.vpc(load_balancer)
            .is_none_or(|vpc| vpc.reaches(load_balancer, from, to))
    });
    let Some((from, to)) = reached else {
        sleep(engine.upstream.connect_timeout()).await;
        return Err(Failure::Timeout);
    };
    let route = Route {
        from,
        to,
        scheme: group.scheme,
        version: group.version,
    };
    forward(engine, &route, load_balancer, origin, &host, request).await
}

/// The host that a request is for: HTTP/2 has it in the URI, HTTP/1.1 in its header. HTTP/1.0 may have none.
fn host<T>(request: &Request<T>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    match request.headers().get(HOST) {
        Some(host) => host.to_str().ok().map(str::to_owned),
        None => (request.version() == HttpVersion::HTTP_10).then(String::new),
    }
}

async fn forward(
    engine: &Arc<Engine>,
    route: &Route,
    load_balancer: &LoadBalancer,
    origin: Origin,
    host: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let upgrade = header::wants_upgrade(request.method(), request.headers());
    let client_side = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    parts.uri = Uri::from(
        parts
            .uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/")),
    );
    parts.version = HttpVersion::HTTP_11;
    parts.extensions.clear();
    header::strip_hop_by_hop(&mut parts.headers, upgrade);
    header::forward(
        &mut parts.headers,
        host,
        origin,
        &load_balancer.attributes,
        &engine.trace_id(),
    );
    let progress = Arc::new(AtomicU64::new(0));
    let body = Counted {
        body,
        passed: progress.clone(),
    }
    .boxed_unsync();
    let sent = engine.upstream.send(route, Request::from_parts(parts, body));
    let mut answer = patient(load_balancer.attributes.idle_timeout, &progress, sent)
        .await
        .ok_or(Failure::Timeout)??;
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let (true, Some(client_side)) = (switched, client_side) {
        let target_side = hyper::upgrade::on(&mut answer);
        let stop = engine.stop.clone();
        engine.tasks.spawn(async move {
            let tunnel = async {
                let (Ok(client), Ok(target)) = tokio::join!(client_side, target_side) else {
                    return;
                };
                // A side that breaks off ends the tunnel; there is nobody left to tell.
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(target)).await;
            };
            stop.run_until_cancelled(tunnel).await;
        });
    }
    let (mut parts, body) = answer.into_parts();
    header::strip_hop_by_hop(&mut parts.headers, switched);
    parts.version = HttpVersion::HTTP_11;
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Waits for `work` as long as it gets on: `None` when `idle` passed in which nothing was `passed`.
async fn patient<T>(idle: Duration, passed: &AtomicU64, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut before = 0;
    loop {
        if let Ok(done) = timeout(idle, &mut work).await {
            return Some(done);
        }
        let now = passed.load(Ordering::Relaxed);
        if now == before {
            return None;
        }
        before = now;
    }
}

/// A body that counts what passed through it.
struct Counted {
    body: Incoming,
    passed: Arc<AtomicU64>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.passed.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn response(answer: Answer) -> Response<Body> {
    let mut response = Response::new(
        Full::new(Bytes::from(answer.body))
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    );
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("awselb/2.0"));
    for (name, value) in [(CONTENT_TYPE, answer.content_type), (LOCATION, answer.location)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::patient;

    #[tokio::test(start_paused = true)]
    async fn a_request_times_out_when_nothing_passed_for_the_idle_timeout() {
        let (idle, passed) = (Duration::from_secs(60), AtomicU64::new(0));
        let start = Instant::now();
        assert_eq!(patient(idle, &passed, pending::<()>()).await, None);
        assert_eq!(start.elapsed(), idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_is_no_silence() {
        let (idle, passed) = (Duration::from_secs(60), AtomicU64::new(0));
        let upload = async {
            for _ in 0..5 {
                sleep(Duration::from_secs(50)).await;
                passed.fetch_add(1, Ordering::Relaxed);
            }
            "done"
        };
        assert_eq!(patient(idle, &passed, upload).await, Some("done"));
    }
}
