//! What a group does when its users, or others, do what they should not.

use albacore_aws::{
    Options,
    call::Service,
    faults::{Fault, Kind},
};
use albacore_simulation::{api::Reply, bed::Bed, objects::Ingress, permissions, picture};
use serde_json::Value;
use std::time::Duration;

fn member(name: &str, order: &str, paths: &[(&str, &str)]) -> Ingress {
    Ingress::new("shop", name)
        .annotated("group.name", "shop")
        .annotated("group.order", order)
        .host("shop.example.com", paths)
}

fn good() -> Ingress {
    member("good", "1", &[("/a", "a")])
}

fn other() -> Ingress {
    member("other", "2", &[("/b", "b")])
}

/// A group of two members that stands.
async fn group() -> Bed {
    let mut bed = Bed::new(Options::default()).await;
    bed.start();
    bed.apply(good().object());
    bed.apply(other().object());
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 1, 2, 2));
    bed.take_calls();
    bed
}

/// Warnings about an Ingress.
fn warnings(bed: &Bed, name: &str) -> Vec<String> {
    let about = |event: &&Value| event["regarding"]["name"] == name && event["type"] == "Warning";
    let events = bed.list("events.k8s.io/v1", "Event");
    events
        .iter()
        .filter(about)
        .filter_map(|event| Some(event["note"].as_str()?.to_owned()))
        .collect()
}

/// Whether a LoadBalancer object says what to write on it so that its group goes.
fn asks_to_confirm(object: &Value) -> bool {
    let problems = object["status"]["problems"].to_string();
    problems.contains("albacore.dev/confirm-deletion")
}

/// Paths of all rules, in order.
fn paths(bed: &Bed) -> Vec<String> {
    let world = bed.double.world();
    let mut rules: Vec<_> = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.rules.values())
        .collect();
    rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
    let path = |condition: &albacore_aws::elbv2::state::Condition| {
        (condition.field == "path-pattern").then(|| condition.values.clone().unwrap_or_default())
    };
    let all = rules.iter().flat_map(|rule| rule.conditions.iter().filter_map(path));
    all.map(|values| values.first().cloned().unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_mistake_is_answered_with_what_to_write_and_the_other_member_goes_on() {
    let unknown = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-0000-0000-000000000000";
    for (annotation, value, says) in [
        ("scheme", "public", "internet-facing"),
        ("listen-ports", r#"[{"HTTP": 70000}]"#, "70000"),
        ("listen-ports", r#"[{"HTTP": 80"#, r#"[{"HTTP": 80"#),
        ("certificate-arn", unknown, "does not exist"),
        ("target-type", "pod", "instance"),
        ("success-codes", "ok", "200"),
        ("auth-type", "oidc", "not supported"),
        ("load-balancer-attributes", "idle_timeout", "idle_timeout"),
        ("scheme", "internet-facing", "conflicts with Ingress shop/good"),
    ] {
        let mut bed = group().await;
        let mut bad = member("other", "2", &[("/changed", "b")]).annotated(annotation, value);
        if says.starts_with("conflicts") {
            bed.apply(good().annotated("scheme", "internal").object());
        }
        if annotation == "certificate-arn" {
            bad = bad.annotated("listen-ports", r#"[{"HTTPS": 443}]"#);
        }
        bed.apply(bad.object());
        bed.settle().await;
        let told = warnings(&bed, "other").join("\n");
        for part in ["shop/other", &format!("alb.ingress.kubernetes.io/{annotation}"), says] {
            assert!(told.contains(part), "{annotation}={value}: `{part}` is not in: {told}");
        }
        assert_eq!(
            paths(&bed),
            ["/a", "/b"],
            "{annotation}={value}: the last good rules stay"
        );
        let conditions = bed.list("albacore.dev/v1alpha1", "LoadBalancer")[0]["status"]["conditions"].to_string();
        assert!(conditions.contains("shop/other"), "{conditions}");

        let scheme = if says.starts_with("conflicts") { "internal" } else { "" };
        let more = member("good", "1", &[("/a", "a"), ("/z", "c")]);
        let more = if scheme.is_empty() {
            more
        } else {
            more.annotated("scheme", scheme)
        };
        bed.apply(more.object());
        bed.settle().await;
        assert_eq!(
            paths(&bed),
            ["/a", "/z", "/b"],
            "{annotation}={value}: the other one is updated"
        );

        bed.stop().await;
        bed.take_calls();
        bed.start();
        bed.settle().await;
        assert_eq!(
            paths(&bed),
            ["/a", "/z", "/b"],
            "{annotation}={value}: also after a restart"
        );
        let calls = bed.take_calls();
        assert_eq!(calls.writes(), [""; 0], "{annotation}={value}");

        bed.apply(other().object());
        bed.settle().await;
        bed.apply(member("other", "2", &[("/mended", "b")]).object());
        bed.settle().await;
        assert_eq!(
            paths(&bed),
            ["/a", "/z", "/mended"],
            "{annotation}={value}: and it goes on when it is mended"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_port_that_a_service_does_not_have_blocks_and_a_missing_service_answers_503() {
    let bed = group().await;
    let mut object = member("other", "2", &[("/b", "b")]).object();
    object["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["number"] = 81.into();
    bed.apply(object);
    bed.settle().await;
    let told = warnings(&bed, "other").join("\n");
    assert!(
        told.contains("81") && told.contains("spec.rules[0].http.paths[0]"),
        "{told}"
    );
    assert_eq!(bed.take_calls().told(), [""; 0]);

    bed.apply(member("other", "2", &[("/b", "nowhere")]).object());
    bed.settle().await;
    let told = warnings(&bed, "other").join("\n");
    assert!(told.contains("nowhere"), "{told}");
    let world = bed.double.world();
    let answers: Vec<String> = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.rules.values())
        .filter(|rule| rule.priority.is_some())
        .flat_map(|rule| {
            rule.actions
                .iter()
                .filter_map(|action| Some(action.fixed_response_config.as_ref()?.status_code.clone()))
        })
        .collect();
    assert_eq!(answers, ["503"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_object_costs_reads_and_no_writes() {
    let bed = group().await;
    let name = bed.list("albacore.dev/v1alpha1", "LoadBalancer")[0]["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let before = picture::of(&bed);
    bed.delete("albacore.dev/v1alpha1", "LoadBalancer", "", &name);
    bed.settle().await;
    let calls = bed.take_calls();
    assert!(!calls.reads(Service::Elbv2).is_empty());
    assert_eq!(calls.writes(), [""; 0]);
    assert_eq!(picture::of(&bed), before);
    bed.apply(good().annotated("example.com/note", "1").object());
    bed.settle().await;
    assert_eq!(bed.take_calls().told(), [""; 0], "it is remembered again");
}

/// Deletes the rule with this path behind our back.
fn delete_rule(bed: &Bed, path: &str) {
    {
        let mut world = bed.double.world();
        for region in world.regions.values_mut() {
            region.elbv2.rules.retain(|_, rule| {
                !rule
                    .conditions
                    .iter()
                    .any(|condition| condition.values.iter().flatten().any(|value| value == path))
            });
        }
    }
    bed.double.touch();
}

#[tokio::test(start_paused = true)]
async fn drift_is_repaired_when_somebody_asks() {
    let bed = group().await;
    let before = picture::of(&bed);
    delete_rule(&bed, "/b");
    bed.apply(good().annotated("albacore.dev/verify", "1").object());
    bed.settle().await;
    let calls = bed.take_calls();
    assert_eq!(calls.writes(), ["CreateRule"]);
    assert!(!calls.reads(Service::Elbv2).is_empty());
    assert_eq!(picture::of(&bed), before);
    bed.apply(
        good()
            .annotated("albacore.dev/verify", "1")
            .annotated("example.com/note", "1")
            .object(),
    );
    bed.settle().await;
    assert_eq!(bed.take_calls().told(), [""; 0], "asked once, read once");
}

#[tokio::test(start_paused = true)]
async fn drift_is_repaired_at_the_next_change_that_meets_it() {
    let bed = group().await;
    delete_rule(&bed, "/b");
    bed.apply(member("other", "2", &[("/changed", "b")]).object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a", "/changed"], "{:#?}", bed.take_calls().told());
}

/// Whether AWS has the security group on whose behalf load balancers reach nodes.
fn has_backend_group(bed: &Bed) -> bool {
    let groups = bed.security_groups();
    groups.iter().any(|name| name.starts_with("k8s-traffic-"))
}

#[tokio::test(start_paused = true)]
async fn a_security_group_that_is_gone_though_a_late_answer_shows_it_is_made_again_within_a_minute() {
    let mut bed = group().await;
    bed.double
        .configure(|options| options.stale_reads = Duration::from_secs(15));
    for name in ["good", "other"] {
        bed.delete_ingress("shop", name);
    }
    while has_backend_group(&bed) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bed.take_calls();
    // Another process has to ask whether there is one.
    bed.stop().await;
    bed.start();
    bed.apply(good().object());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bed.holds().0, 1, "{:#?}", bed.take_calls().told());
    assert!(has_backend_group(&bed));
    let refused = bed.take_calls().0;
    let refused = refused
        .iter()
        .filter(|call| call.error.as_deref() == Some("InvalidSecurityGroup"));
    assert!(refused.count() > 0, "AWS showed what is gone");
}

#[tokio::test(start_paused = true)]
async fn targets_that_never_become_healthy_are_asked_for_more_and_more_rarely() {
    let mut bed = Bed::new(Options::default()).await;
    permissions::attach(
        &bed.double,
        permissions::CONTROLLER,
        permissions::without("elasticloadbalancing:RegisterTargets"),
    );
    bed.start();
    let path = |service| Ingress::new("shop", "main").host("shop.example.com", &[("/", service)]);
    bed.apply(path("a").object());
    bed.settle().await;
    // The rule goes on to `a` until a target of `b` is healthy.
    bed.apply(path("b").object());
    bed.take_calls();
    let asked = async |minutes: u64| {
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
        let calls = bed.take_calls();
        calls
            .0
            .iter()
            .filter(|call| call.operation == "DescribeTargetHealth")
            .count()
    };
    let (soon, late) = (asked(1).await, asked(60).await);
    assert!((10..=20).contains(&soon), "in the first minute: {soon}");
    assert!((20..=60).contains(&late), "in the hour after: {late}");
}

#[tokio::test(start_paused = true)]
async fn a_security_group_that_somebody_else_uses_is_asked_for_more_and_more_rarely() {
    let bed = group().await;
    let config = albacore_simulation::world::sdk_config(&bed.double).await;
    let backend = {
        let world = bed.double.world();
        let mut groups = world.regions.values().flat_map(|region| &region.ec2.security_groups);
        let backend = groups.find(|(_, group)| group.name.starts_with("k8s-traffic-"));
        backend.expect("the backend security group").0.clone()
    };
    // Somebody's own load balancer has the backend security group too.
    let subnets = bed.world.subnets.iter().filter(|(name, _)| name.starts_with("public"));
    let theirs = aws_sdk_elasticloadbalancingv2::Client::new(&config)
        .create_load_balancer()
        .name("theirs")
        .set_subnets(Some(subnets.map(|(_, id)| id.clone()).collect()))
        .security_groups(&backend)
        .send();
    theirs.await.expect("a load balancer");
    for name in ["good", "other"] {
        bed.delete_ingress("shop", name);
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(bed.holds(), (1, 0, 0, 0), "theirs is left");
    bed.take_calls();
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let calls = bed.take_calls();
    assert_eq!(calls.writes(), [""; 0]);
    assert!((30..=100).contains(&calls.0.len()), "in two hours: {}", calls.0.len());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_vanished_unseen_is_kept_until_somebody_confirms() {
    let mut bed = group().await;
    bed.stop().await;
    // Somebody takes the finalizers off while nobody looks.
    for name in ["good", "other"] {
        bed.lose_ingress("shop", name);
    }
    // And somebody protects the load balancer.
    let protect = aws_sdk_elasticloadbalancingv2::types::LoadBalancerAttribute::builder()
        .key("deletion_protection.enabled")
        .value("true")
        .build();
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&albacore_simulation::world::sdk_config(&bed.double).await);
    let told = elb.describe_load_balancers().send().await.expect("load balancers");
    let arn = told.load_balancers()[0].load_balancer_arn().expect("an ARN");
    let protected = elb
        .modify_load_balancer_attributes()
        .load_balancer_arn(arn)
        .attributes(protect)
        .send();
    protected.await.expect("it is protected");
    bed.take_calls();
    bed.start();
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 1, 2, 2), "nobody saw that it should go");
    assert_eq!(bed.take_calls().writes(), [""; 0]);
    let object = bed.list("albacore.dev/v1alpha1", "LoadBalancer").remove(0);
    assert!(asks_to_confirm(&object), "{object}");
    let mut confirmed = object;
    confirmed["metadata"]["annotations"] = serde_json::json!({"albacore.dev/confirm-deletion": "true"});
    bed.apply(confirmed);
    bed.settle_for(std::time::Duration::from_secs(200)).await;
    assert_eq!(bed.holds(), (0, 0, 0, 0));
    let calls = bed.take_calls();
    let deletions = |operation: &str| calls.writes().iter().filter(|call| **call == operation).count();
    assert_eq!(deletions("DeleteLoadBalancer"), 1, "{:#?}", calls.told());
    assert_eq!(deletions("DeleteTargetGroup"), 2, "{:#?}", calls.told());
    assert_eq!(
        deletions("ModifyLoadBalancerAttributes"),
        1,
        "its protection: {:#?}",
        calls.told()
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_group_that_vanished_unseen_has_is_asked_for_when_nobody_can_know_it() {
    let mut bed = Bed::new(Options::default()).await;
    bed.double
        .configure(|options| options.stale_reads = Duration::from_secs(15));
    bed.double.inject(Fault::new(Kind::ReplyLost).of("CreateRule"));
    bed.start();
    bed.apply(good().object());
    // AWS is asked what there is, shows nothing of it yet, and it begins anew.
    let begins = |call: &albacore_aws::journal::Entry| call.operation == "CreateSecurityGroup";
    while bed.double.journal().iter().filter(|call| begins(call)).count() < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bed.lose_ingress("shop", "good");
    bed.settle_for(Duration::from_secs(120)).await;
    assert_eq!(bed.holds().0, 1, "nobody saw that it should go");
    bed.take_calls();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        bed.take_calls().told(),
        [""; 0],
        "the load balancer is known, and stays"
    );
    let object = bed.list("albacore.dev/v1alpha1", "LoadBalancer").remove(0);
    assert!(asks_to_confirm(&object), "{object}");
    assert_eq!(object["status"]["inFlight"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_group_outlives_the_annotation_being_switched_off_and_a_new_use_is_refused() {
    let mut bed = group().await;
    bed.stop().await;
    bed.settings.disable_group_name_annotation = true;
    bed.start();
    bed.settle().await;
    assert_eq!(bed.take_calls().told(), [""; 0]);
    bed.apply(member("third", "3", &[("/c", "c")]).object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a", "/b"]);
    assert_eq!(bed.holds(), (1, 1, 2, 2));
    let told = warnings(&bed, "third").join("\n");
    assert!(
        told.contains("alb.ingress.kubernetes.io/group.name") && told.contains("switched"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_one_member_is_no_evidence_for_the_end_of_another() {
    let mut bed = group().await;
    bed.delete_ingress("shop", "good");
    bed.settle().await;
    assert_eq!(paths(&bed), ["/b"]);
    // The other one vanishes unseen while this process goes on: a relist lacks it.
    bed.lose_ingress("shop", "other");
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 1, 1, 1), "{:#?}", bed.take_calls().told());
    bed.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_kubernetes_does_not_take_is_written_soon_after_though_nothing_else_changes() {
    let mut bed = Bed::new(Options::default()).await;
    bed.start();
    bed.api.set_faults(|request| {
        if request.resource.kind == "Ingress" && request.subresource == "status" {
            return Reply::unavailable();
        }
        Reply::Serve
    });
    let hostname = |bed: &Bed| {
        let main = bed
            .get("networking.k8s.io/v1", "Ingress", "shop", "main")
            .expect("it is there");
        main["status"]["loadBalancer"]["ingress"][0]["hostname"]
            .as_str()
            .map(str::to_owned)
    };
    // A Service that is not there is a problem that may be waited for all night.
    bed.apply(
        Ingress::new("shop", "main")
            .host("shop.example.com", &[("/", "gone")])
            .object(),
    );
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((bed.holds().0, hostname(&bed)), (1, None));
    bed.api.clear_faults();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(hostname(&bed).is_some(), "it is told within a minute");
}
