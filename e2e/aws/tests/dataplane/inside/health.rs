//! Targets and their health.

use super::place::{Place, probed};
use super::traffic::{get, target};

async fn forward(place: &Place, group: &str) {
    let action = [
        ("Protocol", "HTTP"),
        ("DefaultActions.member.1.Type", "forward"),
        ("DefaultActions.member.1.TargetGroupArn", group),
    ];
    place.listener(80, &action).await;
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn a_dead_target_becomes_unhealthy_and_requests_go_to_the_living_one() {
    let place = Place::build(20, probed()).await;
    let (alive, dead) = (place.at(0, 101), place.at(1, 102));
    target((alive, 8080).into(), "alive").await;
    let dying = target((dead, 8080).into(), "dying").await;
    let group = place.target_group("pods", "ip", 8080).await;
    forward(&place, &group).await;
    let (friend, address) = (place.friend(), place.address().await);
    let got = get(friend, address, "a", "/").await;
    assert_eq!(got.status, 503, "without targets: {got:?}");

    let (alive, dead) = (alive.to_string(), dead.to_string());
    place.register(&group, &alive, 8080).await;
    place.register(&group, &dead, 8080).await;
    place.becomes(&group, &alive, "healthy").await;
    place.becomes(&group, &dead, "healthy").await;
    dying.abort();
    place
        .becomes(&group, &dead, "unhealthy Target.FailedHealthChecks")
        .await;
    for _ in 0..4 {
        assert_eq!(get(friend, address, "a", "/").await.name(), "alive");
    }
    let target = [
        ("TargetGroupArn", &*group),
        ("Targets.member.1.Id", &alive),
        ("Targets.member.1.Port", "8080"),
    ];
    place.elbv2("DeregisterTargets", &target).await;
    place.settled().await;
    assert_eq!(
        place.health(&group).await[&alive],
        "draining Target.DeregistrationInProgress"
    );
    let got = get(friend, address, "a", "/").await;
    assert_eq!(got.status, 502, "with unhealthy targets only, all are tried: {got:?}");
}

#[tokio::test]
#[ignore = "runs in a namespace"]
async fn an_instance_is_reached_at_its_address_once_its_security_group_lets_the_load_balancer_in() {
    let place = Place::build(21, probed()).await;
    let node = place.at(1, 50);
    target((node, 30080).into(), "node").await;
    let nodes = place.security_group("nodes").await;
    let run = [
        ("ImageId", "ami-0123456789abcdef0"),
        ("InstanceType", "m5.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", &place.subnets[1]),
        ("PrivateIpAddress", &node.to_string()),
        ("SecurityGroupId.1", &nodes),
    ];
    let instance = place.ec2("RunInstances", &run).await.one("instanceId");
    let group = place.target_group("nodes", "instance", 30080).await;
    place.register(&group, &instance, 30080).await;
    forward(&place, &group).await;
    let (friend, address) = (place.friend(), place.address().await);
    place.becomes(&group, &instance, "unhealthy Target.Timeout").await;
    assert_eq!(get(friend, address, "a", "/").await.status, 504);
    place.let_in(&nodes, "30080", ("Groups.1.GroupId", &place.group)).await;
    place.becomes(&group, &instance, "healthy").await;
    let got = get(friend, address, "a", "/").await;
    assert_eq!((got.status, got.name()), (200, "node"));
}
