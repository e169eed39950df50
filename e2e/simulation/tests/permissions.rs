//! `docs/iam-policy.json` is what albacore calls: nothing more, and a permission that is missing is told.

use albacore_aws::{
    Options,
    iam::{Decision, Policy, Request},
};
use albacore_simulation::{
    bed::Bed,
    objects::Ingress,
    permissions::{self, CONTROLLER},
    world,
};
use aws_sdk_elasticloadbalancingv2::{error::ProvideErrorMetadata, error::SdkError, types as elb};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

fn shop(paths: &[(&str, &str)]) -> Ingress {
    Ingress::new("shop", "main").host("shop.example.com", paths)
}

/// A controller does everything it can do to AWS.
async fn everything() -> Bed {
    let bed = life(None).await;
    assert_eq!(bed.holds(), (0, 0, 0, 0));
    bed
}

/// Ingresses come, become everything they can be, and go, while the controller may do all but one action.
async fn life(without: Option<&str>) -> Bed {
    let mut bed = Bed::new(Options::default()).await;
    let id = |name: &str| {
        let found = bed.world.subnets.iter().find(|(known, _)| known == name);
        found.expect("a subnet").1.clone()
    };
    let two = format!("{},{}", id("private-a"), id("private-b"));
    let three = format!("{two},{}", id("private-c"));
    let certificate = bed.world.certificate.clone();
    let second = second_certificate(&bed).await;
    let https = |paths: &[(&str, &str)], certificates: &str| {
        shop(paths)
            .annotated("listen-ports", r#"[{"HTTPS": 443}]"#)
            .annotated("certificate-arn", certificates)
    };
    let abc = [("/a", "a"), ("/b", "b"), ("/c", "c")];
    let both = format!("{certificate},{second}");
    if let Some(action) = without {
        take(&bed, action);
    }
    bed.start();
    let plain = shop(&abc).annotated("subnets", &two);
    for ingress in [
        plain.clone(),
        // Tags of everything, and other values, and none.
        plain.clone().annotated("tags", "team=a"),
        plain.clone().annotated("tags", "team=b"),
        plain.clone(),
        plain
            .clone()
            .annotated("load-balancer-attributes", "idle_timeout.timeout_seconds=120"),
        plain
            .clone()
            .annotated("target-group-attributes", "deregistration_delay.timeout_seconds=30"),
        plain.clone().annotated("healthcheck-path", "/healthy"),
        shop(&abc).annotated("subnets", &three),
        shop(&abc).annotated("security-groups", &bed.world.node_group),
        plain.clone().annotated("inbound-cidrs", "10.0.0.0/8"),
        // Rules: another service, another order, one less.
        shop(&[("/a", "d"), ("/b", "b"), ("/c", "c")]),
        shop(&[("/c", "c"), ("/b", "b"), ("/a", "d")]),
        shop(&[("/b", "b")]),
        https(&[("/b", "b")], &certificate),
        https(&[("/b", "b")], &both),
        https(&[("/b", "b")], &both).annotated("ssl-policy", "ELBSecurityPolicy-TLS13-1-2-2021-06"),
        https(&[("/b", "b")], &both).annotated("albacore.dev/verify", "1"),
        https(&[("/b", "b")], &certificate),
    ] {
        bed.apply(ingress.object());
        bed.settle().await;
    }
    // More rules than AWS allows everybody: how many it allows this account is asked for.
    let many: Vec<String> = (0..101).map(|n| format!("/{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|path| (path.as_str(), "a")).collect();
    bed.apply(Ingress::new("shop", "many").host("", &many).object());
    bed.settle().await;
    bed.delete_ingress("shop", "many");
    // A listener less, where there are two.
    let two_ports = shop(&abc).annotated("listen-ports", r#"[{"HTTP": 80}, {"HTTP": 8080}]"#);
    bed.apply(two_ports.object());
    bed.settle().await;
    bed.apply(shop(&abc).object());
    bed.settle().await;
    // Somebody made it dual-stack; it is ipv4 again when that is looked at.
    for region in bed.double.world().regions.values_mut() {
        for load_balancer in region.elbv2.load_balancers.values_mut() {
            load_balancer.ip_address_type = "dualstack".to_owned();
        }
    }
    bed.apply(shop(&abc).annotated("albacore.dev/verify", "2").object());
    bed.settle().await;
    bed.delete("v1", "Node", "", "host-c");
    bed.settle().await;
    // A VPC whose subnets carry no roles: routes tell which are public.
    let ec2 = aws_sdk_ec2::Client::new(&world::sdk_config(&bed.double).await);
    let subnets = bed.world.subnets.iter().map(|(_, id)| id.clone());
    let roles = ["kubernetes.io/role/elb", "kubernetes.io/role/internal-elb"];
    let tags = roles.map(|role| aws_sdk_ec2::types::Tag::builder().key(role).build());
    let untag = ec2
        .delete_tags()
        .set_resources(Some(subnets.collect()))
        .set_tags(Some(tags.into()));
    untag.send().await.expect("tags that go");
    bed.apply(
        Ingress::new("shop", "second")
            .host("second.example.com", &[("/", "e")])
            .object(),
    );
    bed.settle().await;
    bed.delete_ingress("shop", "second");
    bed.delete_ingress("shop", "main");
    bed.settle().await;
    bed
}

async fn second_certificate(bed: &Bed) -> String {
    let made = rcgen::generate_simple_self_signed(["second.example.com".to_owned()]).expect("a certificate");
    let acm = aws_sdk_acm::Client::new(&world::sdk_config(&bed.double).await);
    let import = acm
        .import_certificate()
        .certificate(aws_sdk_acm::primitives::Blob::new(made.cert.pem()))
        .private_key(aws_sdk_acm::primitives::Blob::new(made.signing_key.serialize_pem()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let imported = import.send().await.expect("an import");
    imported.certificate_arn.expect("an ARN")
}

/// Each way to take something away from a policy, with what that is.
fn smaller(policy: &Value) -> Vec<(String, Value)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let mut all = Vec::new();
    for (at, statement) in policy["Statement"].as_array().expect("statements").iter().enumerate() {
        let sid = statement["Sid"].as_str().expect("a Sid");
        let mut change = |what: String, change: &dyn Fn(&mut Value)| {
            let mut changed = policy.clone();
            change(&mut changed["Statement"][at]);
            all.push((format!("{sid}: {what}"), changed));
        };
        for part in ["Action", "Resource"] {
            for value in list(&statement[part]) {
                let mut left = list(&statement[part]);
                left.retain(|kept| *kept != value);
                // Something that nothing is called, so that the list is not empty.
                left.push(json!("none:None"));
                change(format!("{part} {value}"), &|statement| statement[part] = json!(left));
            }
        }
        for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
            for (key, values) in keys.as_object().expect("keys") {
                for value in list(values) {
                    let mut left = list(values);
                    left.retain(|kept| *kept != value);
                    left.push(match value.as_str() {
                        Some("true") => json!("false"),
                        Some("false") => json!("true"),
                        _ => json!("another"),
                    });
                    change(format!("{operator} {key} {value}"), &|statement| {
                        statement["Condition"][operator][key] = json!(left);
                    });
                }
            }
        }
    }
    all
}

fn allows_all(document: &Value, requests: &BTreeSet<Request>) -> bool {
    let policy = Policy::try_from(document.clone()).expect("a policy");
    requests
        .iter()
        .all(|request| policy.decide(request) == Decision::Allowed)
}

#[tokio::test(start_paused = true)]
async fn every_action_resource_and_condition_of_the_policy_is_needed_by_a_call() {
    let bed = everything().await;
    let policy = permissions::document();
    let allowed = bed.double.allowed();
    assert!(allows_all(&policy, &allowed));
    let smaller = smaller(&policy);
    assert!(smaller.len() > 80, "{}", smaller.len());
    let unused: Vec<&String> = smaller
        .iter()
        .filter(|(_, smaller)| allows_all(smaller, &allowed))
        .map(|(what, _)| what)
        .collect();
    assert!(unused.is_empty(), "the policy allows more than is called: {unused:#?}");
}

fn code<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().unwrap_or("no answer").to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_clusters_cannot_be_touched_with_albacores_credentials() {
    let bed = Bed::new(Options::default()).await;
    world::add_strangers(&bed.double, &bed.world).await.expect("strangers");
    let config = world::sdk_config_of_controller(&bed.double).await;
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&config);
    let ec2 = aws_sdk_ec2::Client::new(&config);
    let (lb, tg) = {
        let world = bed.double.world();
        let region = world.regions.values().next().expect("a region");
        let first = |mut arns: Vec<String>| arns.pop().expect("a stranger");
        (
            first(region.elbv2.load_balancers.keys().cloned().collect()),
            first(region.elbv2.target_groups.keys().cloned().collect()),
        )
    };
    let group = &bed.world.node_group;
    let mark = || elb::Tag::builder().key("elbv2.k8s.aws/cluster").value("demo").build();
    let other = || elb::Tag::builder().key("team").value("a").build();
    let tag = |key: &str| aws_sdk_ec2::types::Tag::builder().key(key).value("demo").build();
    let mark_group = ec2.create_tags().resources(group).tags(tag("elbv2.k8s.aws/cluster"));
    for (what, code) in [
        (
            "delete",
            code(elb.delete_load_balancer().load_balancer_arn(&lb).send().await),
        ),
        (
            "delete",
            code(elb.delete_target_group().target_group_arn(&tg).send().await),
        ),
        (
            "tag",
            code(elb.add_tags().resource_arns(&lb).tags(other()).send().await),
        ),
        (
            "make ours",
            code(elb.add_tags().resource_arns(&lb).tags(mark()).send().await),
        ),
        (
            "untag",
            code(elb.remove_tags().resource_arns(&tg).tag_keys("team").send().await),
        ),
        (
            "move",
            code(
                elb.set_security_groups()
                    .load_balancer_arn(&lb)
                    .security_groups(group)
                    .send()
                    .await,
            ),
        ),
        (
            "create untagged",
            code(elb.create_target_group().name("x").send().await),
        ),
    ] {
        assert_eq!(code, "AccessDenied", "{what}");
    }
    for (what, code) in [
        ("delete", code(ec2.delete_security_group().group_id(group).send().await)),
        (
            "tag",
            code(ec2.create_tags().resources(group).tags(tag("team")).send().await),
        ),
        ("make ours", code(mark_group.send().await)),
        (
            "tag a VPC",
            code(
                ec2.create_tags()
                    .resources(&bed.world.vpc)
                    .tags(tag("team"))
                    .send()
                    .await,
            ),
        ),
        (
            "create untagged",
            code(
                ec2.create_security_group()
                    .group_name("x")
                    .description("x")
                    .vpc_id(&bed.world.vpc)
                    .send()
                    .await,
            ),
        ),
    ] {
        assert_eq!(code, "UnauthorizedOperation", "{what}");
    }
}

/// Warnings about an Ingress.
fn warnings(bed: &Bed, name: &str) -> String {
    let about = |event: &&Value| event["regarding"]["name"] == name && event["type"] == "Warning";
    let events = bed.list("events.k8s.io/v1", "Event");
    let notes = events.iter().filter(about).filter_map(|event| event["note"].as_str());
    notes.collect::<Vec<_>>().join("\n")
}

fn take(bed: &Bed, action: &str) {
    permissions::attach(&bed.double, CONTROLLER, permissions::without(action));
}

fn give(bed: &Bed) {
    permissions::attach(&bed.double, CONTROLLER, permissions::document());
}

/// Calls of an hour that are refused, while nothing changes: every five minutes, once it is known.
const REFUSED_AN_HOUR: std::ops::RangeInclusive<usize> = 12..=18;

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named_asked_for_rarely_and_found_when_it_is_given() {
    for action in [
        "ec2:DescribeSubnets",
        "ec2:CreateSecurityGroup",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:DescribeInstances",
        "elasticloadbalancing:CreateLoadBalancer",
        "elasticloadbalancing:CreateTargetGroup",
        "elasticloadbalancing:AddTags",
        "elasticloadbalancing:CreateRule",
        "elasticloadbalancing:RegisterTargets",
        "ec2:DescribeVpcs",
        "iam:CreateServiceLinkedRole",
    ] {
        let mut bed = Bed::new(Options::default()).await;
        take(&bed, action);
        bed.start();
        bed.apply(shop(&[("/a", "a")]).object());
        tokio::time::sleep(Duration::from_secs(300)).await;
        let told = warnings(&bed, "main");
        for part in [
            format!("lacks the permission {action}"),
            "docs/iam-policy.json".to_owned(),
        ] {
            assert!(told.contains(&part), "{action}: `{part}` is not in: {told}");
        }
        assert!(!told.contains("Encoded"), "{told}");
        if let Some(object) = bed.list("albacore.dev/v1alpha1", "LoadBalancer").first() {
            let status = &object["status"];
            let condition = status["conditions"][0].to_string();
            assert!(condition.contains(action) && condition.contains("False"), "{condition}");
            assert!(status["problems"].to_string().contains(action), "{status}");
        } else {
            assert_eq!(action, "ec2:DescribeSubnets", "nothing was to be made yet");
        }

        bed.take_calls();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let calls = bed.take_calls();
        let refused = calls.0.iter().filter(|call| call.error.is_some()).count();
        println!("{action}: {refused} of {} calls in an hour are refused", calls.0.len());
        // Two groups are to be made: the group's own and the backend one.
        let units = if action.starts_with("ec2:") { 2 } else { 1 };
        assert!(
            (*REFUSED_AN_HOUR.start()..=units * REFUSED_AN_HOUR.end()).contains(&refused),
            "{action}: {:#?}",
            calls.told()
        );

        give(&bed);
        tokio::time::sleep(Duration::from_secs(700)).await;
        assert_eq!(bed.holds(), (1, 1, 1, 1), "{action}");
        let object = bed.list("albacore.dev/v1alpha1", "LoadBalancer").remove(0);
        assert_eq!(object["status"]["problems"], json!([]), "{action}");
        assert_eq!(
            object["status"]["conditions"][0]["status"], "True",
            "{action}: {object}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_permission_is_missing_it_is_told_as_soon_as_a_call_is_refused() {
    let policy = permissions::document();
    let statements = policy["Statement"].as_array().expect("statements");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let actions: BTreeSet<String> = statements
        .iter()
        .flat_map(|statement| list(&statement["Action"]))
        .filter_map(|action| action.as_str().map(str::to_owned))
        .collect();
    assert!(actions.len() > 40, "{actions:?}");
    let mut untold = BTreeSet::new();
    for action in &actions {
        let bed = life(Some(action)).await;
        let calls = bed.take_calls();
        let refused = |error: &str| ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"].contains(&error);
        let refused = calls.0.iter().filter(|call| call.error.as_deref().is_some_and(refused));
        assert!(refused.count() > 0, "{action}: nothing was refused");
        let told = warnings(&bed, "main") + &warnings(&bed, "second");
        if !told.contains(&format!("lacks the permission {action}")) {
            untold.insert(action.as_str());
        }
    }
    // Whoever may not look at a certificate may still use it, and who may not ask for quotas has AWS' own: the log says so.
    let only_logged = ["acm:DescribeCertificate", "elasticloadbalancing:DescribeAccountLimits"];
    assert_eq!(untold, BTreeSet::from(only_logged));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_must_not_be_looked_at_is_used_and_the_others_go_on() {
    let mut bed = Bed::new(Options::default()).await;
    take(&bed, "acm:DescribeCertificate");
    bed.start();
    let secure = Ingress::new("shop", "secure")
        .annotated("group.name", "shop")
        .annotated("listen-ports", r#"[{"HTTPS": 443}]"#)
        .annotated("certificate-arn", &bed.world.certificate)
        .host("shop.example.com", &[("/s", "a")]);
    let plain = Ingress::new("shop", "plain")
        .annotated("group.name", "shop")
        .host("shop.example.com", &[("/p", "b")]);
    bed.apply(secure.object());
    bed.apply(plain.object());
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 2, 2, 2), "{:#?}", bed.take_calls().told());
    assert_eq!(warnings(&bed, "plain"), "");
}
