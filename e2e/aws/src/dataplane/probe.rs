//! Health checks: every registered target of a target group in use is asked, from the load balancer's address.
//!
//! ```text
//! initial ──first pass──► healthy ──unhealthy_threshold failures──► unhealthy ──healthy_threshold passes──► healthy
//!    └────unhealthy_threshold failures────────────────────────────────▲
//! ```
//! Source: "Health checks for Application Load Balancer target groups" and API reference, TargetHealth.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, Live};
use super::snapshot::{Action, HealthCheck, LoadBalancer, Snapshot, TargetState, Version};
use super::upstream::{Body, Route};

/// A target of a target group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration {
    /// The target group's ARN.
    pub target_group: String,
    /// The target's id.
    pub id: String,
    /// The port it is registered with.
    pub port: u16,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A good answer.
    Passed,
    /// No answer in time, or no way through.
    TimedOut,
    /// An answer with a code that the matcher doesn't have.
    Mismatch(u16),
    /// No connection, or no HTTP.
    Failed,
}

impl Outcome {
    /// AWS' reason code and description; `None` for a pass.
    pub fn reason(&self) -> Option<(&'static str, String)> {
        match self {
            Outcome::Passed => None,
            Outcome::TimedOut => Some(("Target.Timeout", "Request timed out".into())),
            Outcome::Mismatch(code) => Some((
                "Target.ResponseCodeMismatch",
                format!("Health checks failed with these codes: [{code}]"),
            )),
            Outcome::Failed => Some(("Target.FailedHealthChecks", "Health checks failed".into())),
        }
    }
}

/// A target's health changed, or why it is unhealthy did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose.
    pub target: Registration,
    /// `Passed` for healthy, anything else for unhealthy and why.
    pub outcome: Outcome,
}

/// What is remembered of a target between its checks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Track {
    health: TargetState,
    passes: u32,
    failures: u32,
}

impl Track {
    fn new(health: TargetState) -> Track {
        Track {
            health,
            passes: 0,
            failures: 0,
        }
    }

    /// Counts a check in; the health after it.
    fn count(&mut self, outcome: &Outcome, check: &HealthCheck) -> TargetState {
        if *outcome == Outcome::Passed {
            (self.passes, self.failures) = (self.passes + 1, 0);
            if self.health != TargetState::Unhealthy || self.passes >= check.healthy_threshold {
                self.health = TargetState::Healthy;
            }
        } else {
            (self.passes, self.failures) = (0, self.failures + 1);
            if self.failures >= check.unhealthy_threshold {
                self.health = TargetState::Unhealthy;
            }
        }
        self.health
    }
}

/// Whether a matcher such as `200,301-303` has a code.
fn matches(matcher: &str, code: u16) -> bool {
    matcher.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let parse = |text: &str| text.trim().parse::<u16>();
        matches!((parse(first), parse(last)), (Ok(first), Ok(last)) if (first..=last).contains(&code))
    })
}

/// The load balancer that has rules for each target group in use.
fn users(snapshot: &Snapshot) -> BTreeMap<&str, &LoadBalancer> {
    let mut users = BTreeMap::new();
    for load_balancer in &snapshot.load_balancers {
        let listeners = load_balancer.listeners.iter();
        let actions = listeners.flat_map(|listener| {
            listener
                .rules
                .iter()
                .map(|rule| &rule.action)
                .chain([&listener.default])
        });
        for action in actions {
            if let Action::Forward(groups) = action {
                users.extend(groups.iter().map(|(arn, _)| (arn.as_str(), load_balancer)));
            }
        }
    }
    users
}

/// The registrations to be probed.
fn probed(snapshot: &Snapshot) -> BTreeSet<Registration> {
    let groups = users(snapshot)
        .into_keys()
        .filter_map(|arn| snapshot.target_groups.get(arn));
    let targets = groups.filter(|group| group.check.is_some()).flat_map(|group| {
        group.targets.iter().map(|target| {
            (
                target.state,
                Registration {
                    target_group: group.arn.clone(),
                    id: target.id.clone(),
                    port: target.port,
                },
            )
        })
    });
    targets
        .filter(|(state, _)| !matches!(state, TargetState::Draining | TargetState::Unused))
        .map(|(_, registration)| registration)
        .collect()
}

/// One check as the configuration has it at its moment.
struct Job {
    check: HealthCheck,
    state: TargetState,
    /// `None` when the security groups let nothing through, or the target has no address.
    route: Option<Route>,
}

fn job(live: &Live, registration: &Registration) -> Option<Job> {
    let snapshot = &live.snapshot;
    let load_balancer = *users(snapshot).get(registration.target_group.as_str())?;
    let group = snapshot.target_groups.get(&registration.target_group)?;
    let check = group.check.clone()?;
    let target = group
        .targets
        .iter()
        .find(|target| target.id == registration.id && target.port == registration.port)?;
    let node = *load_balancer.addresses.first()?;
    let ends = target.address.and_then(|address| {
        let to = SocketAddr::new(address.ip(), check.port.unwrap_or(address.port()));
        Some((load_balancer.source(node, to.ip())?, to))
    });
    let reached = ends.filter(|&(from, to)| {
        live.vpc(load_balancer)
            .is_none_or(|vpc| vpc.reaches(load_balancer, from, to))
    });
    let route = reached.map(|(from, to)| Route {
        from,
        to,
        scheme: check.scheme,
        version: group.version,
    });
    Some(Job {
        check,
        state: target.state,
        route,
    })
}

/// The tasks that probe.
#[derive(Default)]
pub struct Prober {
    running: BTreeMap<Registration, CancellationToken>,
}

impl Prober {
    /// Starts and ends tasks so that just those targets are probed that the engine's configuration wants probed.
    pub fn reconcile(&mut self, engine: &Arc<Engine>, reports: &UnboundedSender<Report>) {
        let live = engine.live.borrow().clone();
        let wanted = probed(&live.snapshot);
        self.running.retain(|registration, stop| {
            let kept = wanted.contains(registration);
            if !kept {
                stop.cancel();
            }
            kept
        });
        for registration in wanted {
            self.running.entry(registration).or_insert_with_key(|registration| {
                let stop = engine.stop.child_token();
                let probing = watch(engine.clone(), registration.clone(), reports.clone());
                engine.tasks.spawn(stop.clone().run_until_cancelled_owned(probing));
                stop
            });
        }
    }
}

async fn watch(engine: Arc<Engine>, registration: Registration, reports: UnboundedSender<Report>) {
    let mut track: Option<Track> = None;
    let mut told: Option<Outcome> = None;
    loop {
        let live = engine.live.borrow().clone();
        let Some(Job { check, state, route }) = job(&live, &registration) else {
            return;
        };
        drop(live);
        let track = track.get_or_insert_with(|| Track::new(state));
        // The control plane calls it new: it was deregistered and registered again since.
        if state == TargetState::Initial {
            (track.health, told) = (state, None);
        }
        let outcome = probe(&engine, &check, route).await;
        let health = track.count(&outcome, &check);
        let news = match health {
            TargetState::Healthy if outcome == Outcome::Passed => Some(Outcome::Passed),
            TargetState::Unhealthy if outcome != Outcome::Passed => Some(outcome),
            _ => None,
        };
        if let Some(outcome) = news.filter(|outcome| health != state || told.as_ref() != Some(outcome)) {
            told = Some(outcome.clone());
            // Nobody listens any more: the data plane is being dropped.
            let _ = reports.send(Report {
                target: registration.clone(),
                outcome,
            });
        }
        sleep(check.interval).await;
    }
}

async fn probe(engine: &Engine, check: &HealthCheck, route: Option<Route>) -> Outcome {
    let Some(route) = route else {
        sleep(check.timeout).await;
        return Outcome::TimedOut;
    };
    timeout(check.timeout, ask(engine, check, &route))
        .await
        .unwrap_or(Outcome::TimedOut)
}

async fn ask(engine: &Engine, check: &HealthCheck, route: &Route) -> Outcome {
    let Ok(mut sender) = engine.upstream.open(route).await else {
        return Outcome::Failed;
    };
    let Some(request) = request(check, route) else {
        return Outcome::Failed;
    };
    let Ok(response) = sender.send(request, route.scheme).await else {
        return Outcome::Failed;
    };
    let status = response.status().as_u16();
    let code = if route.version == Version::Grpc && status == 200 {
        let (head, body) = response.into_parts();
        let trailers = body.collect().await.ok().and_then(|body| body.trailers().cloned());
        grpc_status(trailers.as_ref().unwrap_or(&head.headers)).or_else(|| grpc_status(&head.headers))
    } else {
        Some(status)
    };
    match code {
        Some(code) if matches(&check.matcher, code) => Outcome::Passed,
        Some(code) => Outcome::Mismatch(code),
        None => Outcome::Failed,
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A gRPC check calls its path as a method with an empty message; any other is a GET.
fn request(check: &HealthCheck, route: &Route) -> Option<Request<Body>> {
    let grpc = route.version == Version::Grpc;
    let message = if grpc {
        Bytes::from_static(&[0; 5])
    } else {
        Bytes::new()
    };
    let body = Full::new(message)
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    let mut request = Request::builder()
        .method(if grpc { Method::POST } else { Method::GET })
        .uri(&check.path)
        .header(HOST, route.to.to_string())
        .header(USER_AGENT, "ELB-HealthChecker/2.0");
    if grpc {
        request = request
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(TE, HeaderValue::from_static("trailers"));
    }
    request.body(body).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::snapshot::{HealthCheck, Scheme, TargetState};
    use super::{Outcome, Track, matches};

    fn check() -> HealthCheck {
        HealthCheck {
            scheme: Scheme::Http,
            port: None,
            path: "/".into(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            matcher: "200".into(),
        }
    }

    #[test]
    fn a_new_target_is_healthy_after_one_pass_and_an_unhealthy_one_after_the_threshold() {
        use TargetState::{Healthy, Initial, Unhealthy};
        let mut track = Track::new(Initial);
        let steps = [
            (Outcome::Failed, Initial),
            (Outcome::Passed, Healthy),
            (Outcome::TimedOut, Healthy),
            (Outcome::Passed, Healthy),
            (Outcome::Failed, Healthy),
            (Outcome::Mismatch(500), Unhealthy),
            (Outcome::Passed, Unhealthy),
            (Outcome::Passed, Unhealthy),
            (Outcome::Failed, Unhealthy),
            (Outcome::Passed, Unhealthy),
            (Outcome::Passed, Unhealthy),
            (Outcome::Passed, Healthy),
        ];
        for (n, (outcome, health)) in steps.into_iter().enumerate() {
            assert_eq!(track.count(&outcome, &check()), health, "step {n}");
        }
    }

    #[test]
    fn a_matcher_has_codes_and_ranges() {
        for (matcher, code, has) in [
            ("200", 200, true),
            ("200", 201, false),
            ("200,302", 302, true),
            ("200-299, 404", 404, true),
            ("200-299", 299, true),
            ("200-299", 300, false),
            ("0", 0, true),
            ("", 200, false),
        ] {
            assert_eq!(matches(matcher, code), has, "{matcher} {code}");
        }
    }
}
