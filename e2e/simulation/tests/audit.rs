//! What somebody else changes in AWS is found in the background, told, and put right.

use albacore::model::security_group::ENDPOINT_RULE_DESCRIPTION;
use albacore_aws::{Double, Options, call::Service, world::Region};
use albacore_simulation::{
    bed::Bed,
    objects::{self, Ingress},
    picture,
    scale::wide_subnets,
    world::sdk_config,
};
use std::time::Duration;
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

/// A group with an HTTP and an HTTPS listener that stands, and a controller that looks for changes.
async fn group() -> Bed {
    let mut bed = Bed::new(Options::default()).await;
    wide_subnets(&bed).await.expect("subnets");
    bed.audits = true;
    bed.start();
    let pods: Vec<_> = (0..3)
        .map(|number| objects::pod(&bed.world, "shop", "b", number))
        .collect();
    bed.apply(objects::endpoint_slice("shop", "b", &pods));
    pods.into_iter().for_each(|pod| bed.apply(pod));
    let ingress = Ingress::new("shop", "web")
        .annotated("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 443}]"#)
        .annotated("certificate-arn", &bed.world.certificate)
        .annotated("load-balancer-attributes", "idle_timeout.timeout_seconds=120")
        .annotated("target-group-attributes", "deregistration_delay.timeout_seconds=30")
        .host("shop.example.com", &[("/a", "a"), ("/c", "c")]);
    bed.apply(ingress.object());
    bed.apply(
        Ingress::new("shop", "pods")
            .annotated("target-type", "ip")
            .host("", &[("/b", "b")])
            .object(),
    );
    bed.settle().await;
    assert_eq!(bed.holds(), (2, 3, 5, 3));
    bed
}

fn told(bed: &Bed) -> Vec<String> {
    let events = bed.list("events.k8s.io/v1", "Event");
    let about = events.iter().filter(|event| event["reason"] == "DriftFound");
    about
        .filter_map(|event| Some(event["note"].as_str()?.to_owned()))
        .collect()
}

/// What somebody does to the account's only region without asking AWS.
fn behind_its_back(change: impl FnOnce(&mut Region)) -> impl AsyncFnOnce(&Double) {
    async |double: &Double| {
        let mut world = double.world();
        change(world.regions.values_mut().next().expect("a region"));
    }
}

/// Changes something behind the controller's back, and waits until everything is as before.
async fn is_found(bed: &Bed, within: Duration, what: &str, change: impl AsyncFnOnce(&Double)) {
    sleep(2 * MINUTE).await;
    let (before, events) = (picture::of(bed), told(bed).len());
    change(&bed.double).await;
    bed.double.touch();
    assert_ne!(picture::of(bed), before, "{what}: nothing was changed");
    let mut waited = Duration::ZERO;
    while picture::of(bed) != before {
        assert!(
            waited < within,
            "{what}: not found in {waited:?}: {:#?}",
            picture::difference(&before, &picture::of(bed))
        );
        sleep(MINUTE).await;
        waited += MINUTE;
    }
    assert!(
        told(bed).len() > events || what.starts_with("rule of a node"),
        "{what}: nobody was told"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_by_itself_is_found_within_half_an_hour() {
    let bed = group().await;
    let soon = 32 * MINUTE;
    is_found(
        &bed,
        soon,
        "a rule",
        behind_its_back(|region| {
            let gone = region
                .elbv2
                .rules
                .iter()
                .find(|(_, rule)| rule.priority.is_some())
                .map(|(arn, _)| arn.clone());
            region.elbv2.rules.remove(&gone.expect("a rule"));
        }),
    )
    .await;
    is_found(
        &bed,
        soon,
        "a health check",
        behind_its_back(|region| {
            let group = region.elbv2.target_groups.values_mut().next().expect("a target group");
            group.health_check.path = "/elsewhere".to_owned();
        }),
    )
    .await;
    is_found(
        &bed,
        soon,
        "a tag of a rule",
        behind_its_back(|region| {
            let rule = region
                .elbv2
                .rules
                .values()
                .find(|rule| rule.priority.is_some())
                .expect("a rule")
                .arn
                .clone();
            region.elbv2.tags.get_mut(&rule).expect("tags").clear();
        }),
    )
    .await;
    is_found(
        &bed,
        soon,
        "a rule of a security group",
        behind_its_back(|region| {
            let managed = region
                .ec2
                .security_groups
                .values_mut()
                .find(|group| group.name.starts_with("k8s-shop-web"));
            managed.expect("a security group").rules.clear();
        }),
    )
    .await;
    is_found(
        &bed,
        soon,
        "rule of a node's security group",
        behind_its_back(|region| {
            for group in region.ec2.security_groups.values_mut() {
                if !group.name.starts_with("k8s-") {
                    group
                        .rules
                        .retain(|rule| rule.description.as_deref() != Some(ENDPOINT_RULE_DESCRIPTION));
                }
            }
        }),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_found_within_half_an_hour() {
    let bed = group().await;
    let soon = 32 * MINUTE;
    is_found(
        &bed,
        soon,
        "a listener",
        behind_its_back(|region| {
            let elb = &mut region.elbv2;
            let gone = elb
                .listeners
                .iter()
                .find(|(_, listener)| listener.port == 443)
                .map(|(arn, _)| arn.clone());
            let gone = gone.expect("a listener");
            elb.listeners.remove(&gone);
            elb.rules.retain(|_, rule| rule.listener != gone);
        }),
    )
    .await;
    is_found(&bed, soon, "a load balancer", async |double| {
        let elb = aws_sdk_elasticloadbalancingv2::Client::new(&sdk_config(double).await);
        let all = elb.describe_load_balancers().send().await.expect("load balancers");
        let gone = all.load_balancers().iter().find_map(|lb| lb.load_balancer_arn());
        let gone = elb.delete_load_balancer().load_balancer_arn(gone.expect("one"));
        gone.send().await.expect("it is deleted");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_changes_rarely_is_found_within_three_hours() {
    let bed = group().await;
    let late = 185 * MINUTE;
    is_found(
        &bed,
        late,
        "an attribute of a load balancer",
        behind_its_back(|region| {
            for lb in region
                .elbv2
                .load_balancers
                .values_mut()
                .filter(|lb| lb.name.starts_with("k8s-shop-web-"))
            {
                lb.attributes
                    .insert("idle_timeout.timeout_seconds".to_owned(), "5".to_owned());
            }
        }),
    )
    .await;
    is_found(
        &bed,
        late,
        "an attribute of a target group",
        behind_its_back(|region| {
            for group in region
                .elbv2
                .target_groups
                .values_mut()
                .filter(|group| group.target_type == "instance")
            {
                group
                    .attributes
                    .insert("deregistration_delay.timeout_seconds".to_owned(), "5".to_owned());
            }
        }),
    )
    .await;
    is_found(
        &bed,
        late,
        "a foreign target",
        behind_its_back(|region| {
            let group = region
                .elbv2
                .target_groups
                .values_mut()
                .find(|group| group.target_type == "ip");
            let targets = &mut group.expect("a target group").targets;
            let (mut key, target) = targets
                .first_key_value()
                .map(|(key, target)| (key.clone(), target.clone()))
                .expect("one");
            key.port += 1;
            targets.insert(key, target);
        }),
    )
    .await;
    is_found(
        &bed,
        late,
        "a target that is gone",
        behind_its_back(|region| {
            let group = region
                .elbv2
                .target_groups
                .values_mut()
                .find(|group| group.target_type == "ip");
            group.expect("a target group").targets.pop_first();
        }),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_world_that_nobody_changes_is_left_alone_and_a_restart_goes_on_where_it_was() {
    let mut bed = group().await;
    sleep(60 * MINUTE).await;
    bed.take_calls();
    sleep(6 * 60 * MINUTE).await;
    let calls = bed.take_calls();
    assert_eq!(calls.writes(), [""; 0]);
    assert_eq!(told(&bed), [""; 0]);
    let asked = calls.reads(Service::Elbv2).len();
    // Two groups: lists 2, listeners and rules 5, tags 1 each round; details of one group every third.
    assert!((100..250).contains(&asked), "{asked} in six hours");
    let position = |bed: &Bed| {
        let object = bed.list("albacore.dev/v1alpha1", "ClusterNetwork").remove(0);
        object["status"]["audit"]["detailsAfter"].clone()
    };
    assert!(position(&bed).is_string());
    bed.stop().await;
    bed.start();
    bed.settle().await;
    assert_eq!(bed.take_calls().told(), [""; 0], "a restart asks for nothing at once");
}
