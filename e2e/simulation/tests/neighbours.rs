//! Members of one group, and bindings of one cluster: one's mistake or bad luck harms nobody else.

use albacore_aws::Options;
use albacore_simulation::{
    api::Reply,
    bed::Bed,
    objects::{self, Ingress},
};
use serde_json::{Value, json};

fn member(name: &str, order: &str, paths: &[(&str, &str)]) -> Ingress {
    Ingress::new("shop", name)
        .annotated("group.name", "shop")
        .annotated("group.order", order)
        .host("shop.example.com", paths)
}

async fn bed() -> Bed {
    let mut bed = Bed::new(Options::default()).await;
    bed.start();
    bed
}

async fn group(first: &Ingress, second: &Ingress) -> Bed {
    let bed = bed().await;
    bed.apply(first.object());
    bed.apply(second.object());
    bed.settle().await;
    bed.take_calls();
    bed
}

/// Paths of all rules, sorted.
fn paths(bed: &Bed) -> Vec<String> {
    let world = bed.double.world();
    let rules = world.regions.values().flat_map(|region| region.elbv2.rules.values());
    let mut paths: Vec<String> = rules
        .flat_map(|rule| &rule.conditions)
        .filter(|condition| condition.field == "path-pattern")
        .filter_map(|condition| condition.values.clone()?.into_iter().next())
        .collect();
    paths.sort();
    paths
}

fn schemes(bed: &Bed) -> Vec<String> {
    let world = bed.double.world();
    let regions = world.regions.values();
    regions
        .flat_map(|region| region.elbv2.load_balancers.values())
        .map(|lb| lb.scheme.clone())
        .collect()
}

fn warnings(bed: &Bed, name: &str) -> String {
    let about = |event: &&Value| event["regarding"]["name"] == name && event["type"] == "Warning";
    let events = bed.list("events.k8s.io/v1", "Event");
    let notes: Vec<&str> = events
        .iter()
        .filter(about)
        .filter_map(|event| event["note"].as_str())
        .collect();
    notes.join("\n")
}

#[tokio::test(start_paused = true)]
async fn who_brings_a_conflict_in_has_it_whoever_comes_first_in_the_group() {
    let internal = |ingress: Ingress| ingress.annotated("scheme", "internal");
    let (a, b) = (member("a", "1", &[("/a", "a")]), member("b", "2", &[("/b", "b")]));
    let bed = group(&internal(a.clone()), &internal(b)).await;
    bed.apply(a.annotated("scheme", "internet-facing").object());
    bed.settle().await;
    assert!(warnings(&bed, "a").contains("conflicts with Ingress shop/b"));
    bed.apply(internal(member("b", "2", &[("/b", "b"), ("/more", "c")])).object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a", "/b", "/more"]);
    assert_eq!(schemes(&bed), ["internal"]);
    assert_eq!(warnings(&bed, "b"), "");
}

#[tokio::test(start_paused = true)]
async fn members_that_change_together_agree() {
    let with = |scheme: &str| {
        [("a", "1", "/a"), ("b", "2", "/b")]
            .map(|(name, order, path)| member(name, order, &[(path, name)]).annotated("scheme", scheme))
    };
    let [a, b] = with("internal");
    let bed = group(&a, &b).await;
    for moved in with("internet-facing") {
        bed.apply(moved.object());
    }
    bed.settle_for(std::time::Duration::from_secs(400)).await;
    assert_eq!(schemes(&bed), ["internet-facing"]);
    assert_eq!(paths(&bed), ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_to_nowhere_keeps_the_last_good_rules() {
    let (a, b) = (member("a", "1", &[("/a", "a")]), member("b", "2", &[("/b", "b")]));
    let bed = group(&a, &b).await;
    bed.apply(b.annotated("ssl-redirect", "8443").object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a", "/b"]);
    assert!(warnings(&bed, "b").contains("8443"));
    assert_eq!(bed.take_calls().writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_aws_refuses_blocks_who_asked_for_it_until_it_is_mended() {
    let (a, b) = (member("a", "1", &[("/a", "a")]), member("b", "2", &[("/b", "b")]));
    let bed = group(
        &a.clone().annotated("load-balancer-attributes", "no.such.attribute=1"),
        &b,
    )
    .await;
    assert_eq!(paths(&bed), ["/b"], "{}", warnings(&bed, "a"));
    assert!(
        warnings(&bed, "a").contains("no.such.attribute"),
        "{}",
        warnings(&bed, "a")
    );
    bed.apply(a.object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_a_group_does_not_wait_for_a_broken_one() {
    let broken = member("broken", "1", &[("/a", "a")]).annotated("scheme", "public");
    let bed = group(&broken, &member("good", "2", &[("/b", "b")])).await;
    assert_eq!(paths(&bed), ["/b"]);
    bed.delete_ingress("shop", "good");
    bed.settle().await;
    assert_eq!(bed.get("networking.k8s.io/v1", "Ingress", "shop", "good"), None);
    assert_eq!(bed.holds(), (0, 0, 0, 0));
    bed.apply(member("broken", "1", &[("/a", "a")]).object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_told_and_nobody_elses_is_touched() {
    let bed = bed().await;
    albacore_simulation::world::add_strangers(&bed.double, &bed.world)
        .await
        .expect("strangers");
    bed.apply(
        member("a", "1", &[("/a", "a")])
            .annotated("load-balancer-name", "legacy")
            .object(),
    );
    bed.settle().await;
    let told = warnings(&bed, "a");
    assert!(
        told.contains("alb.ingress.kubernetes.io/load-balancer-name") && told.contains("`legacy`"),
        "{told}"
    );
    assert_eq!(bed.holds().0, 1, "the stranger's");
    bed.apply(member("a", "1", &[("/a", "a")]).object());
    bed.settle().await;
    assert_eq!(bed.holds().0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_move_together_waits_for_the_one_that_cannot() {
    let with = |scheme: &str| {
        [("a", "1", "/a"), ("b", "2", "/b")]
            .map(|(name, order, path)| member(name, order, &[(path, name)]).annotated("scheme", scheme))
    };
    let [a, b] = with("internal");
    let bed = group(&a, &b).await;
    let [a, b] = with("internet-facing");
    bed.apply(a.annotated("ssl-redirect", "8443").object());
    bed.apply(b.object());
    bed.settle().await;
    assert_eq!(schemes(&bed), ["internal"]);
    assert!(warnings(&bed, "a").contains("8443"));
    assert!(warnings(&bed, "b").contains("conflicts with Ingress shop/a"));
    assert_eq!(bed.take_calls().writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_with_what_it_was_about_wherever_that_stands() {
    let bed = bed().await;
    let service = |attributes: &str| {
        let mut service = objects::service("shop", "a", 30001);
        service["metadata"]["annotations"]["alb.ingress.kubernetes.io/target-group-attributes"] = attributes.into();
        service
    };
    bed.apply(service("no.such.attribute=1"));
    bed.apply(member("a", "1", &[("/a", "a")]).object());
    bed.apply(member("b", "2", &[("/b", "b")]).object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/b"], "{}", warnings(&bed, "a"));
    bed.apply(service("deregistration_delay.timeout_seconds=30"));
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a", "/b"], "{}", warnings(&bed, "a"));
}

#[tokio::test(start_paused = true)]
async fn subnets_that_cannot_be_found_anew_stay() {
    let bed = bed().await;
    let named: Vec<String> = bed
        .world
        .subnets
        .iter()
        .filter(|(name, _)| name.starts_with("private"))
        .map(|s| s.1.clone())
        .collect();
    bed.apply(
        member("a", "1", &[("/a", "a")])
            .annotated("subnets", &named.join(","))
            .object(),
    );
    bed.apply(member("b", "2", &[("/b", "b")]).object());
    bed.settle().await;
    let ec2 = aws_sdk_ec2::Client::new(&albacore_simulation::world::sdk_config(&bed.double).await);
    for subnet in &named {
        let tag = |key: &str| aws_sdk_ec2::types::Tag::builder().key(key);
        let ours = [
            tag("kubernetes.io/role/internal-elb"),
            tag("kubernetes.io/cluster/demo"),
        ]
        .map(|tag| tag.build());
        let gone = ec2.delete_tags().resources(subnet).set_tags(Some(ours.into())).send();
        gone.await.expect("tags go");
        let others = tag("kubernetes.io/cluster/other").value("shared").build();
        let given = ec2.create_tags().resources(subnet).tags(others).send();
        given.await.expect("a tag is given");
    }
    bed.take_calls();
    bed.apply(member("a", "1", &[("/a", "a"), ("/more", "c")]).object());
    bed.settle().await;
    assert_eq!(paths(&bed), ["/a", "/b", "/more"], "{}", warnings(&bed, "a"));
    assert!(!bed.take_calls().writes().contains(&"SetSubnets"));
}

/// Targets of all target groups that are registered and not draining.
fn registered(bed: &Bed) -> usize {
    let world = bed.double.world();
    let regions = world.regions.values();
    regions
        .flat_map(|region| region.elbv2.target_groups.values())
        .flat_map(|group| group.targets.values())
        .filter(|target| target.deregistered.is_none())
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_target_group_that_is_made_anew_gets_its_targets_though_the_old_binding_is_still_there() {
    let bed = bed().await;
    let both = || member("a", "1", &[("/a", "a"), ("/b", "b")]).object();
    bed.apply(both());
    bed.settle().await;
    let before = (bed.holds().3, registered(&bed));
    assert_eq!(before, (2, 6));
    bed.api.set_faults(|request| {
        if request.resource.kind == "TargetGroupBinding" && request.verb == "delete" {
            return Reply::unavailable();
        }
        Reply::Serve
    });
    bed.apply(member("a", "1", &[("/a", "a")]).object());
    let minute = std::time::Duration::from_secs(60);
    tokio::time::sleep(minute).await;
    assert_eq!((bed.holds().3, registered(&bed)), (1, 3), "its target group is gone");
    bed.apply(both());
    tokio::time::sleep(minute).await;
    assert_eq!((bed.holds().3, registered(&bed)), before);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_security_group_keeps_no_other_out() {
    let bed = bed().await;
    let strange = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "strange"},
        "spec": {"providerID": "aws:///us-east-1a/i-00000000000000000"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    bed.apply(strange);
    bed.apply(member("a", "1", &[("/a", "a")]).object());
    bed.settle_for(std::time::Duration::from_secs(20)).await;
    assert_eq!(registered(&bed), 3, "{:#?}", bed.take_calls().told());
    bed.delete("v1", "Node", "", "strange");
    bed.settle().await;
    bed.take_calls();
    bed.delete("v1", "Node", "", "host-c");
    bed.settle().await;
    assert_eq!(registered(&bed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_is_deleted_is_made_again() {
    let bed = group(&member("a", "1", &[("/a", "a")]), &member("b", "2", &[("/b", "b")])).await;
    let bindings = || bed.list("elbv2.k8s.aws/v1beta1", "TargetGroupBinding");
    let name = bindings()[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    bed.delete("elbv2.k8s.aws/v1beta1", "TargetGroupBinding", "shop", &name);
    bed.settle().await;
    assert_eq!(bindings().len(), 2);
    bed.delete("v1", "Node", "", "host-c");
    bed.settle().await;
    assert_eq!(registered(&bed), 4, "targets follow again");
}

#[tokio::test(start_paused = true)]
async fn targets_that_aws_refuses_keep_no_other_out_and_cost_little() {
    let bed = bed().await;
    let ec2 = aws_sdk_ec2::Client::new(&albacore_simulation::world::sdk_config(&bed.double).await);
    let stopped = bed.world.nodes[0].instance.clone();
    ec2.stop_instances()
        .instance_ids(&stopped)
        .send()
        .await
        .expect("it stops");
    bed.take_calls();
    bed.apply(member("a", "1", &[("/a", "a")]).object());
    tokio::time::sleep(std::time::Duration::from_secs(280)).await;
    assert_eq!(registered(&bed), 2);
    let calls = bed.take_calls();
    let tries = calls.writes().iter().filter(|call| **call == "RegisterTargets").count();
    assert!(tries <= 5, "{:#?}", calls.told());
    ec2.start_instances()
        .instance_ids(&stopped)
        .send()
        .await
        .expect("it starts");
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    assert_eq!(registered(&bed), 3);
}
