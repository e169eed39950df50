//! Targets from registration to the end of draining.

use std::time::Duration;

use albacore_aws::HealthMode;
use albacore_aws::elbv2::{HealthReport, TargetKey};

use super::place::*;
use super::*;

/// State and reason of every target, as `id:port state reason`.
async fn states(client: &Client, group: &str) -> Vec<String> {
    let read = client
        .describe_target_health()
        .target_group_arn(group)
        .send()
        .await
        .unwrap();
    let line = |one: &aws_sdk_elasticloadbalancingv2::types::TargetHealthDescription| {
        let (target, health) = (one.target().unwrap(), one.target_health().unwrap());
        let reason = health
            .reason()
            .map(|reason| format!(" {}", reason.as_str()))
            .unwrap_or_default();
        format!(
            "{}:{} {}{reason}",
            target.id().unwrap(),
            target.port().unwrap(),
            health.state().unwrap().as_str()
        )
    };
    read.target_health_descriptions().iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_target_goes_from_unused_to_healthy_to_draining_to_gone() {
    let waits = Options {
        registration: Duration::from_secs(2),
        first_check: Duration::from_secs(3),
        ..Options::instant()
    };
    let (double, client) = with(waits);
    build(&double);
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    client
        .register_targets()
        .target_group_arn(&group)
        .targets(target("10.0.1.9"))
        .send()
        .await
        .unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(states(&client, &group).await, ["10.0.1.9:8080 unused Target.NotInUse"]);
    rule(&client, &port, 1, &group).await;
    for (seconds, state) in [
        (0, "initial Elb.RegistrationInProgress"),
        (2, "initial Elb.InitialHealthChecking"),
        (3, "healthy"),
    ] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(states(&client, &group).await, [format!("10.0.1.9:8080 {state}")]);
    }
    client
        .deregister_targets()
        .target_group_arn(&group)
        .targets(target("10.0.1.9"))
        .send()
        .await
        .unwrap();
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(
        states(&client, &group).await,
        ["10.0.1.9:8080 draining Target.DeregistrationInProgress"]
    );
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(states(&client, &group).await, [""; 0]);
    let asked = client
        .describe_target_health()
        .target_group_arn(&group)
        .targets(target("10.0.1.9"))
        .send()
        .await
        .unwrap();
    let health = asked.target_health_descriptions()[0].target_health().unwrap().clone();
    assert_eq!(
        health.description(),
        Some("Target is not registered to the target group")
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_id_on_two_ports_is_two_targets() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    rule(&client, &port, 1, &group).await;
    let on = |port| {
        aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder()
            .id("10.0.2.5")
            .port(port)
            .build()
    };
    client
        .register_targets()
        .target_group_arn(&group)
        .targets(on(81))
        .targets(on(82))
        .send()
        .await
        .unwrap();
    client
        .deregister_targets()
        .target_group_arn(&group)
        .targets(on(82))
        .targets(on(83))
        .send()
        .await
        .unwrap();
    assert_eq!(
        states(&client, &group).await,
        [
            "10.0.2.5:81 healthy",
            "10.0.2.5:82 draining Target.DeregistrationInProgress"
        ]
    );
    client
        .register_targets()
        .target_group_arn(&group)
        .targets(on(82))
        .send()
        .await
        .unwrap();
    assert_eq!(
        states(&client, &group).await,
        ["10.0.2.5:81 healthy", "10.0.2.5:82 healthy"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_in_a_zone_without_a_node_is_not_used() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    rule(&client, &port, 1, &group).await;
    let targets = client
        .register_targets()
        .target_group_arn(&group)
        .targets(target("10.0.3.5"));
    targets.send().await.unwrap();
    assert_eq!(states(&client, &group).await, ["10.0.3.5:8080 unused Target.NotInUse"]);
    client
        .set_subnets()
        .load_balancer_arn(&balancer)
        .subnets(A)
        .subnets(C)
        .send()
        .await
        .unwrap();
    assert_eq!(states(&client, &group).await, ["10.0.3.5:8080 healthy"]);
}

#[tokio::test(start_paused = true)]
async fn what_checks_report_is_what_is_answered() {
    let (double, client) = with(Options {
        health: HealthMode::Probed,
        ..Options::instant()
    });
    build(&double);
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    rule(&client, &port, 1, &group).await;
    client
        .register_targets()
        .target_group_arn(&group)
        .targets(target("10.0.1.9"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        states(&client, &group).await,
        ["10.0.1.9:8080 initial Elb.InitialHealthChecking"]
    );
    let key = TargetKey {
        id: "10.0.1.9".into(),
        port: 8080,
    };
    let mut changes = double.changed();
    changes.mark_unchanged();
    double.report_health("eu-west-1", &group, &key, HealthReport::Healthy);
    assert!(changes.has_changed().unwrap());
    assert_eq!(states(&client, &group).await, ["10.0.1.9:8080 healthy"]);
    let report = HealthReport::Unhealthy {
        reason: "Target.Timeout".into(),
        description: "Request timed out".into(),
    };
    double.report_health("eu-west-1", &group, &key, report);
    assert_eq!(
        states(&client, &group).await,
        ["10.0.1.9:8080 unhealthy Target.Timeout"]
    );
}

#[tokio::test(start_paused = true)]
async fn only_targets_that_can_be_reached_are_registered() {
    let (_, client) = here();
    let create = client
        .create_target_group()
        .name("nodes")
        .protocol("HTTP".into())
        .port(30080)
        .vpc_id(VPC);
    let nodes = create.send().await.unwrap().target_groups()[0]
        .target_group_arn()
        .unwrap()
        .to_owned();
    let pods = target_group(&client, "pods").await;
    let zoned = |id: &str, zone: &str| {
        aws_sdk_elasticloadbalancingv2::types::TargetDescription::builder()
            .id(id)
            .availability_zone(zone)
            .build()
    };
    for (group, target, expected) in [
        (&nodes, target(INSTANCE), "ok"),
        (&nodes, target(STOPPED), "InvalidTarget"),
        (&nodes, target("i-0ffffffffffffffff"), "InvalidTarget"),
        (&nodes, target("10.0.1.9"), "ValidationError"),
        (&pods, target("10.0.1.9"), "ok"),
        (&pods, target("10.9.1.9"), "ValidationError"),
        (&pods, zoned("10.9.1.9", "all"), "ok"),
        (&pods, zoned("10.0.1.9", "all"), "ValidationError"),
        (&pods, zoned("8.8.8.8", "all"), "ValidationError"),
        (&pods, target("pod-1"), "ValidationError"),
    ] {
        let ended = client
            .register_targets()
            .target_group_arn(group)
            .targets(target.clone())
            .send()
            .await;
        assert_eq!(code(&ended), expected, "{target:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_group_that_is_used_anew_is_checked_anew() {
    let (double, client) = with(Options {
        health: HealthMode::Probed,
        ..Options::instant()
    });
    build(&double);
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    let first = rule(&client, &port, 1, &group).await;
    client
        .register_targets()
        .target_group_arn(&group)
        .targets(target("10.0.1.9"))
        .send()
        .await
        .unwrap();
    let key = TargetKey {
        id: "10.0.1.9".into(),
        port: 8080,
    };
    double.report_health("eu-west-1", &group, &key, HealthReport::Healthy);
    client.delete_rule().rule_arn(&first).send().await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(states(&client, &group).await, ["10.0.1.9:8080 unused Target.NotInUse"]);
    rule(&client, &port, 1, &group).await;
    assert_eq!(
        states(&client, &group).await,
        ["10.0.1.9:8080 initial Elb.InitialHealthChecking"]
    );
    double.report_health("eu-west-1", &group, &key, HealthReport::Healthy);
    assert_eq!(states(&client, &group).await, ["10.0.1.9:8080 healthy"]);
}
