//! `albacore migrate check`: what would change if albacore took over, told without changing anything.

use albacore_aws::{Options, faults};
use albacore_simulation::{bed::Bed, objects::Ingress, world};
use serde_json::{Value, json};
use std::time::Duration;

const BINDING: (&str, &str) = ("elbv2.k8s.aws/v1beta1", "TargetGroupBinding");

/// Two load balancers as ALBC leaves them: nothing of albacore's own is in Kubernetes.
async fn bed() -> Bed {
    let mut bed = Bed::new(Options {
        throttling: false,
        ..Options::default()
    })
    .await;
    bed.start();
    let web = Ingress::new("shop", "web").host("web.example.com", &[("/a", "a"), ("/b", "b")]);
    bed.apply(
        web.annotated("load-balancer-attributes", "idle_timeout.timeout_seconds=120")
            .object(),
    );
    bed.apply(
        Ingress::new("shop", "api")
            .host("api.example.com", &[("/", "c")])
            .object(),
    );
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 2, 3, 3));
    bed.stop().await;
    bed.forget();
    bed.take_calls();
    bed
}

/// What a check says, in words; it must have written nothing.
async fn told(bed: &Bed) -> (bool, String) {
    let revision = bed.api.store().revision();
    bed.take_calls();
    let preview = bed.preview().await.expect("a preview");
    assert_eq!(bed.take_calls().writes(), [""; 0]);
    assert_eq!(
        bed.api.store().revision(),
        revision,
        "something was written to Kubernetes"
    );
    (preview.is_nothing(), preview.to_string())
}

fn load_balancer(bed: &Bed) -> String {
    let world = bed.double.world();
    let mut all = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.load_balancers.keys());
    all.find(|arn| arn.contains("shop-web"))
        .expect("a load balancer")
        .clone()
}

#[tokio::test(start_paused = true)]
async fn nothing_would_change_where_everything_is_as_wished() {
    let bed = bed().await;
    let (nothing, text) = told(&bed).await;
    assert!(nothing, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("group shop/api (load balancer k8s-shop-api-") && lines[0].ends_with("): nothing"),
        "{text}"
    );
    assert_eq!(
        lines[2..],
        ["what all groups share: nothing", "2 groups: nothing would change"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_differs_is_told_with_what_it_is_and_what_it_becomes() {
    let bed = bed().await;
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&world::sdk_config(&bed.double).await);
    let attribute = aws_sdk_elasticloadbalancingv2::types::LoadBalancerAttribute::builder()
        .key("idle_timeout.timeout_seconds")
        .value("60");
    let changed = elb
        .modify_load_balancer_attributes()
        .load_balancer_arn(load_balancer(&bed));
    changed.attributes(attribute.build()).send().await.expect("a change");
    let removed = elb
        .remove_tags()
        .resource_arns(load_balancer(&bed))
        .tag_keys("ingress.k8s.aws/resource");
    removed.send().await.expect("a change");
    let (nothing, text) = told(&bed).await;
    assert!(!nothing);
    for words in [
        "ModifyLoadBalancerAttributes: load balancer k8s-shop-web-",
        "idle_timeout.timeout_seconds `60` becomes `120`",
        "is tagged: ingress.k8s.aws/resource becomes `LoadBalancer`",
        "2 groups, 1 of them not as they are wished",
    ] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
    assert_eq!(text.matches("  - ").count(), 2, "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_what_is_done() {
    let mut bed = bed().await;
    let mut ingress = bed
        .get("networking.k8s.io/v1", "Ingress", "shop", "web")
        .expect("an Ingress");
    ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!("/c");
    bed.apply(ingress);
    bed.apply(
        Ingress::new("shop", "new")
            .host("new.example.com", &[("/", "d")])
            .object(),
    );
    let preview = bed.preview().await.expect("a preview");
    let groups = preview.groups.iter().flat_map(|group| &group.changes);
    let of_aws = groups
        .chain(&preview.shared)
        .filter(|change| !change.operation.starts_with("Kubernetes"));
    let mut told: Vec<String> = of_aws.map(|change| change.operation.clone()).collect();
    bed.take_calls();
    bed.start();
    bed.settle().await;
    let calls = bed.take_calls();
    // A target group that is not there yet has no targets that could be named.
    let mut done: Vec<&str> = calls
        .writes()
        .into_iter()
        .filter(|call| *call != "RegisterTargets")
        .collect();
    told.sort();
    done.sort_unstable();
    // Its rule on the nodes follows from a binding that is not there yet either.
    let unforeseen = ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"];
    told.retain(|call| !unforeseen.contains(&call.as_str()));
    done.retain(|call| !unforeseen.contains(call));
    assert!(
        done.contains(&"ModifyRule") && done.contains(&"CreateLoadBalancer"),
        "{done:?}"
    );
    assert_eq!(told, done);
}

#[tokio::test(start_paused = true)]
async fn what_albacore_does_not_act_upon_is_told() {
    let bed = bed().await;
    let mut ingress = bed
        .get("networking.k8s.io/v1", "Ingress", "shop", "web")
        .expect("an Ingress");
    ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/wafv2-acl-arn"] = json!("arn:aws:wafv2:1");
    bed.apply(ingress);
    let mut binding = bed.list(BINDING.0, BINDING.1).swap_remove(0);
    binding["metadata"] = json!({"namespace": "shop", "name": "by-hand"});
    bed.apply(binding);
    let (nothing, text) = told(&bed).await;
    assert!(!nothing);
    assert!(text.contains("wafv2-acl-arn"), "{text}");
    assert!(
        text.contains("TargetGroupBinding shop/by-hand, which no Ingress made"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_cannot_read_does_not_say_that_nothing_changes() {
    let bed = bed().await;
    let denied = faults::Kind::Error {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: "User is not authorized to perform: elasticloadbalancing:DescribeRules".to_owned(),
    };
    bed.double
        .inject(faults::Fault::new(denied).of("DescribeRules").times(100));
    let unclear = bed.preview().await.expect_err("nothing is known").to_string();
    assert!(
        unclear.contains("DescribeRules") && unclear.contains("group shop/"),
        "{unclear}"
    );
}

/// A takeover in which the shared security group is seen later than everything else.
#[tokio::test(start_paused = true)]
async fn bindings_stay_open_while_the_shared_security_group_is_not_known_yet() {
    let mut bed = bed().await;
    let bindings = || bed.list(BINDING.0, BINDING.1);
    let versions = |bindings: Vec<Value>| -> Vec<Value> {
        bindings
            .iter()
            .map(|binding| binding["metadata"]["resourceVersion"].clone())
            .collect()
    };
    let before = versions(bindings());
    let late = faults::Kind::Latency(Duration::from_secs(5));
    bed.double
        .inject(faults::Fault::new(late).of("DescribeSecurityGroups").times(100));
    bed.start();
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0]);
    assert_eq!(versions(bed.list(BINDING.0, BINDING.1)), before);
}
