//! The life of a group: created, left alone, changed, deleted; and what that costs.

use albacore_aws::{Options, call::Service};
use albacore_simulation::{
    api::Request,
    bed::Bed,
    objects::{self, Ingress},
};

fn shop() -> Ingress {
    Ingress::new("shop", "main").host("shop.example.com", &[("/a", "a"), ("/b", "b"), ("/c", "c")])
}

async fn created() -> Bed {
    let _ = tracing_subscriber::fmt()
        .with_test_writer()
        .with_env_filter("albacore=debug")
        .try_init();
    let mut bed = Bed::new(Options::default()).await;
    bed.start();
    bed.apply(shop().object());
    bed.settle().await;
    bed
}

#[tokio::test(start_paused = true)]
async fn creating_a_group_costs_the_writes_it_needs() {
    let bed = created().await;
    assert_eq!(bed.holds(), (1, 1, 3, 3));
    let calls = bed.take_calls();
    let mut writes = calls.writes();
    writes.sort_unstable();
    assert_eq!(
        writes,
        [
            "AuthorizeSecurityGroupIngress",
            "AuthorizeSecurityGroupIngress",
            "CreateListener",
            "CreateLoadBalancer",
            "CreateRule",
            "CreateRule",
            "CreateRule",
            "CreateSecurityGroup",
            "CreateSecurityGroup",
            "CreateTargetGroup",
            "CreateTargetGroup",
            "CreateTargetGroup",
            "RegisterTargets",
            "RegisterTargets",
            "RegisterTargets",
        ],
        "{:#?}",
        calls.told()
    );
    assert_eq!(calls.reads(Service::Elbv2), [""; 0]);
    assert!(calls.reads(Service::Ec2).len() <= 4, "{:?}", calls.reads(Service::Ec2));
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_world_costs_nothing() {
    let mut bed = created().await;
    bed.take_calls();

    bed.apply(shop().annotated("example.com/note", "hello").object());
    bed.settle().await;
    assert_eq!(bed.take_calls().told(), [""; 0], "an unrelated edit");

    bed.api.cut_watches();
    let revision = bed.api.store().revision();
    bed.api.store().compact();
    bed.settle().await;
    assert_eq!(bed.take_calls().told(), [""; 0], "a relist");
    assert_eq!(bed.api.store().revision(), revision);

    bed.stop().await;
    bed.api.take_requests();
    bed.start();
    bed.settle().await;
    assert_eq!(bed.take_calls().told(), [""; 0], "a restart");
    let requests = bed.api.take_requests();
    let written = |request: &&Request| !["get", "list", "watch"].contains(&request.verb);
    let written: Vec<&Request> = requests
        .iter()
        .filter(written)
        .filter(|request| request.resource.kind != "Event")
        .collect();
    assert!(written.is_empty(), "everything is shown already: {written:?}");
}

#[tokio::test(start_paused = true)]
async fn a_last_path_costs_one_call_a_listener_also_after_a_restart() {
    let mut bed = created().await;
    bed.stop().await;
    bed.take_calls();
    bed.start();
    let more = Ingress::new("shop", "main").host(
        "shop.example.com",
        &[("/a", "a"), ("/b", "b"), ("/c", "c"), ("/z", "c")],
    );
    bed.apply(more.object());
    bed.settle().await;
    assert_eq!(bed.take_calls().told().len(), 1);
    assert_eq!(bed.holds(), (1, 1, 4, 3));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_group_leaves_nothing_behind() {
    let bed = created().await;
    bed.take_calls();
    bed.delete_ingress("shop", "main");
    bed.settle().await;
    assert_eq!(bed.holds(), (0, 0, 0, 0), "{:#?}", bed.take_calls().told());
    assert_eq!(bed.get("networking.k8s.io/v1", "Ingress", "shop", "main"), None);
    assert_eq!(bed.list("elbv2.k8s.aws/v1beta1", "TargetGroupBinding").len(), 0);
    assert_eq!(bed.list("albacore.dev/v1alpha1", "LoadBalancer").len(), 0);
    let world = bed.double.world();
    let groups: Vec<String> = world
        .regions
        .values()
        .flat_map(|region| region.ec2.security_groups.values())
        .map(|group| group.name.clone())
        .collect();
    assert_eq!(groups.len(), 2, "the VPC's default group and the nodes': {groups:?}");
}

/// Targets that get the requests of each rule: (path, resources of the target groups with a weight above 0).
fn routes(bed: &Bed) -> Vec<(String, Vec<String>)> {
    let world = bed.double.world();
    let mut all = Vec::new();
    for region in world.regions.values() {
        for rule in region.elbv2.rules.values().filter(|rule| rule.priority.is_some()) {
            let path = rule
                .conditions
                .iter()
                .find(|condition| condition.field == "path-pattern");
            let path = path
                .and_then(|path| path.values.clone()?.into_iter().next())
                .unwrap_or_default();
            let groups = rule
                .actions
                .iter()
                .filter_map(|action| action.forward_config.as_ref())
                .flat_map(|f| &f.target_groups);
            let live = groups.filter(|group| group.weight != Some(0));
            let name = |arn: &String| region.elbv2.tags[arn]["ingress.k8s.aws/resource"].clone();
            all.push((path, live.map(|group| name(&group.target_group_arn)).collect()));
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_rule_goes_to_another_service_only_when_that_is_healthy() {
    let bed = created().await;
    bed.double
        .configure(|options| options.health = albacore_aws::HealthMode::Unhealthy);
    let moved = Ingress::new("shop", "main").host("shop.example.com", &[("/a", "d"), ("/b", "b"), ("/c", "c")]);
    bed.apply(moved.object());
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let of = |path: &str| {
        routes(&bed)
            .into_iter()
            .find(|(known, _)| known == path)
            .expect("a rule")
            .1
    };
    assert_eq!(of("/a"), ["shop/main-a:80"], "nobody would answer yet");
    assert_eq!(bed.holds(), (1, 1, 3, 4));
    bed.double
        .configure(|options| options.health = albacore_aws::HealthMode::Modelled);
    bed.settle().await;
    assert_eq!(of("/a"), ["shop/main-d:80"]);
    assert_eq!(bed.holds(), (1, 1, 3, 3));
}

/// What a group remembers grows with its rules and target groups, and AWS bounds both: 100 rules and 100 target groups a
/// load balancer ("Quotas for your Application Load Balancers"). An object may hold 1.5 MiB (etcd), an annotation or a
/// field that people print far less.
#[tokio::test(start_paused = true)]
async fn a_group_as_large_as_aws_allows_is_remembered_in_a_few_kilobytes() {
    let mut bed = Bed::new(Options {
        throttling: false,
        ..Options::default()
    })
    .await;
    let mut main = Ingress::new("shop", "main");
    for (number, port) in (0..100).zip(31000..) {
        let (service, host) = (format!("service-{number}"), format!("host-{number}.example.com"));
        bed.apply(objects::service("shop", &service, port));
        main = main.host(&host, &[("/", &service)]);
    }
    bed.start();
    bed.apply(main.object());
    bed.settle().await;
    assert_eq!(bed.holds(), (1, 1, 100, 100));
    let object = bed.list("albacore.dev/v1alpha1", "LoadBalancer").remove(0);
    let applied = object["status"]["applied"].as_str().expect("a memory").len();
    println!("100 rules and 100 target groups are remembered in {applied} bytes");
    assert!(applied < 24 << 10, "{applied} bytes");
}
