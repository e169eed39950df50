//! Fifty groups of five Services each, under the buckets that AWS documents; `make bench` has more of them.

use albacore_simulation::scale::Scale;

#[tokio::test(start_paused = true)]
async fn fifty_groups_are_created_survive_a_restart_and_are_deleted_for_what_that_must_cost() {
    let mut scale = Scale::new(50).await;
    let create = scale.create().await;
    let [restart, new] = scale.restart().await;
    let delete = scale.delete().await;
    for figures in [create, restart, new, delete] {
        assert!(figures.hold(), "{figures:?}");
    }
    assert_eq!(scale.bed.list("albacore.dev/v1alpha1", "LoadBalancer"), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_waits_in_line_is_deleted_or_changed_without_its_old_plan_being_finished_first() {
    let scale = Scale::new(30).await;
    (0..30).for_each(|group| scale.add(group));
    // Ten load balancers are granted at once, then one in five seconds: the last one waits for minutes.
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let made = |group: usize| {
        let world = scale.bed.double.world();
        let load_balancers = world
            .regions
            .values()
            .flat_map(|region| region.elbv2.load_balancers.values());
        let name = format!("-app{group}-");
        load_balancers.filter(|lb| lb.name.contains(&name)).count()
    };
    let waiting: Vec<usize> = (0..30).filter(|&group| made(group) == 0).collect();
    let [.., changed, deleted] = waiting[..] else {
        panic!("nobody waits: {waiting:?}");
    };
    scale.remove(deleted);
    scale.narrow(changed);
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    let ingress = |group: usize| {
        scale
            .bed
            .list("networking.k8s.io/v1", "Ingress")
            .into_iter()
            .find(|object| object["metadata"]["name"] == format!("app-{group}"))
    };
    assert!(ingress(deleted).is_none(), "it is gone though others still wait");
    scale.bed.settle().await;
    let calls = scale.bed.take_calls();
    let about = |operation: &str, text: &str| {
        calls
            .0
            .iter()
            .filter(|call| call.operation == operation && call.params.to_string().contains(text))
            .count()
    };
    assert_eq!(about("CreateLoadBalancer", &format!("-app{deleted}-")), 0);
    assert_eq!(about("CreateLoadBalancer", &format!("-app{changed}-")), 1);
    assert_eq!(
        about("CreateRule", &format!("app-{changed}.example.com")),
        1,
        "the old plan had five"
    );
}
