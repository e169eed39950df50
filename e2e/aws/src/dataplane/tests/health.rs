//! Health checks that are really made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use tokio::net::TcpListener;

use super::super::probe::{Outcome, Report};
use super::super::snapshot::{Snapshot, Target, TargetState, Version};
use super::kit::{address, check, group, healthy, listener, plane, serve, snapshot, target, to};

fn new(at: SocketAddr) -> Target {
    Target {
        state: TargetState::Initial,
        ..healthy(at)
    }
}

/// One target group with health checks.
fn probed(targets: Vec<Target>) -> Snapshot {
    let mut group = group("g", targets);
    group.check = Some(check());
    snapshot(listener(vec![], to(&[("g", 1)])), vec![group]).1
}

fn told(report: Report, world: &mut Snapshot) -> Outcome {
    let group = world.target_groups.get_mut("g").unwrap();
    let target = group
        .targets
        .iter_mut()
        .find(|target| target.id == report.target.id)
        .unwrap();
    target.state = if report.outcome == Outcome::Passed {
        TargetState::Healthy
    } else {
        TargetState::Unhealthy
    };
    report.outcome
}

#[tokio::test]
async fn a_target_is_asked_for_its_path_and_follows_its_answers() {
    let status = Arc::new(AtomicU16::new(200));
    let answer = status.clone();
    let at = target(move |request| {
        assert_eq!(request.uri().path(), "/health");
        assert_eq!(request.headers()["user-agent"], "ELB-HealthChecker/2.0");
        let response = Response::builder().status(answer.load(Ordering::Relaxed));
        Box::pin(async move { response.body(Full::default()).unwrap() })
    });
    let mut world = probed(vec![new(at.await)]);
    let (plane, mut reports) = plane();
    for (code, expected) in [
        (200, Outcome::Passed),
        (500, Outcome::Mismatch(500)),
        (404, Outcome::Mismatch(404)),
        (200, Outcome::Passed),
    ] {
        status.store(code, Ordering::Relaxed);
        serve(&plane, &world).await;
        // Until the control plane has taken it in, the same news may come twice.
        while told(reports.recv().await.unwrap(), &mut world) != expected {}
    }
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason() {
    let refused = {
        let socket = TcpListener::bind((address(), 0)).await.unwrap();
        socket.local_addr().unwrap()
    };
    let silent = target(|_| Box::pin(std::future::pending())).await;
    let mut world = probed(vec![new(refused), new(silent)]);
    world
        .target_groups
        .get_mut("g")
        .unwrap()
        .check
        .as_mut()
        .unwrap()
        .timeout = Duration::from_millis(50);
    let (plane, mut reports) = plane();
    serve(&plane, &world).await;
    let mut found = Vec::new();
    while found.len() < 2 {
        let report = reports.recv().await.unwrap();
        let reason = (report.target.id.clone(), report.outcome.reason().unwrap().0);
        if !found.contains(&reason) {
            found.push(reason);
        }
    }
    found.sort();
    let mut expected = vec![
        (refused.ip().to_string(), "Target.FailedHealthChecks"),
        (silent.ip().to_string(), "Target.Timeout"),
    ];
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_grpc_target_answers_with_its_own_codes() {
    let at = target(|request| {
        assert_eq!(request.uri().path(), "/AWS.ALB/healthcheck");
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "12");
        Box::pin(async move { response.body(Full::default()).unwrap() })
    });
    let mut world = probed(vec![new(at.await)]);
    let group = world.target_groups.get_mut("g").unwrap();
    group.version = Version::Grpc;
    let check = group.check.as_mut().unwrap();
    (check.path, check.matcher) = ("/AWS.ALB/healthcheck".into(), "12".into());
    let (plane, mut reports) = plane();
    serve(&plane, &world).await;
    assert_eq!(reports.recv().await.unwrap().outcome, Outcome::Passed);
}

#[tokio::test]
async fn only_targets_that_could_get_requests_are_asked() {
    let silent = |state| async move {
        let at = target(|_| panic!("asked")).await;
        Target { state, ..healthy(at) }
    };
    let asked = target(|_| Box::pin(async { Response::new(Full::default()) })).await;
    let mut world = probed(vec![
        silent(TargetState::Draining).await,
        silent(TargetState::Unused).await,
        new(asked),
    ]);
    let mut unused = world.target_groups["g"].clone();
    unused.arn = "unused".into();
    unused.targets = vec![silent(TargetState::Initial).await];
    world.target_groups.insert("unused".into(), unused);
    let (plane, mut reports) = plane();
    serve(&plane, &world).await;
    for _ in 0..3 {
        assert_eq!(reports.recv().await.unwrap().target.id, asked.ip().to_string());
    }
}
