//! Groups whose memory is lost, or that somebody else made: found again, changed in nothing, at the price of one look at
//! the account.

use albacore::k8s::{Contender, LeaseConfig};
use albacore_aws::{Options, call::Service};
use albacore_simulation::{bed::Bed, objects::Ingress};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

const GROUPS: usize = 30;

fn ingress(number: usize) -> Ingress {
    let (name, host) = (format!("web-{number}"), format!("web-{number}.example.com"));
    Ingress::new("shop", &name)
        .annotated("load-balancer-attributes", "idle_timeout.timeout_seconds=120")
        .annotated("target-group-attributes", "deregistration_delay.timeout_seconds=30")
        .host(&host, &[("/a", "a"), ("/b", "b"), ("/c", "c")])
}

async fn bed() -> Bed {
    let mut bed = Bed::new(Options {
        throttling: false,
        ..Options::default()
    })
    .await;
    bed.start();
    for number in 0..GROUPS {
        bed.apply(ingress(number).object());
    }
    bed.settle().await;
    assert_eq!(bed.holds(), (GROUPS, GROUPS, 3 * GROUPS, 3 * GROUPS));
    bed.take_calls();
    bed
}

fn count(calls: &[&str], operation: &str) -> usize {
    calls.iter().filter(|call| **call == operation).count()
}

#[tokio::test(start_paused = true)]
async fn groups_that_are_adopted_together_look_at_the_account_once() {
    let mut bed = bed().await;
    bed.stop().await;
    for object in bed.list("albacore.dev/v1alpha1", "LoadBalancer") {
        let name = object["metadata"]["name"].as_str().expect("a name");
        bed.delete("albacore.dev/v1alpha1", "LoadBalancer", "", name);
    }
    bed.start();
    bed.settle().await;
    let calls = bed.take_calls();
    assert_eq!(calls.writes(), [""; 0]);
    let reads = calls.reads(Service::Elbv2);
    assert_eq!(count(&reads, "DescribeLoadBalancers"), 1, "one page of all");
    assert_eq!(count(&reads, "DescribeTargetGroups"), 1, "one page of all");
    // 30 load balancers and 90 target groups by twenty; then each group's listener and rules in one call.
    assert_eq!(count(&reads, "DescribeTags"), 120 / 20 + GROUPS);
    assert_eq!(count(&reads, "DescribeTargetGroupAttributes"), 3 * GROUPS);
    assert!(calls.reads(Service::Ec2).len() <= 4, "{:?}", calls.reads(Service::Ec2));
    assert_eq!(bed.list("albacore.dev/v1alpha1", "LoadBalancer").len(), GROUPS);
}

#[tokio::test(start_paused = true)]
async fn rules_on_nodes_that_are_there_are_not_made_again_by_who_remembers_nothing() {
    let mut bed = bed().await;
    bed.stop().await;
    bed.forget();
    bed.start();
    bed.settle().await;
    assert_eq!(bed.take_calls().writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_deleted_costs_reads_and_no_write() {
    let bed = bed().await;
    let objects = bed.list("albacore.dev/v1alpha1", "LoadBalancer");
    let name = objects[0]["metadata"]["name"].as_str().expect("a name");
    bed.delete("albacore.dev/v1alpha1", "LoadBalancer", "", name);
    bed.settle().await;
    let calls = bed.take_calls();
    assert_eq!(calls.writes(), [""; 0]);
    let reads = calls.reads(Service::Elbv2);
    // Its own load balancer with its attributes, listeners, rules and their tags, and three target groups with theirs.
    assert!((9..=12).contains(&reads.len()), "{reads:?}");
    assert_eq!(bed.list("albacore.dev/v1alpha1", "LoadBalancer").len(), GROUPS);
}

/// A process that contends for the lease; it hands it over when the sender is dropped.
fn contend(bed: &mut Bed, identity: &str) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let lease = LeaseConfig::new("kube-system", "aws-load-balancer-controller-leader", identity);
    let (contender, leadership) = Contender::new(bed.api.client(), lease);
    bed.leadership = leadership;
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    (stop, tokio::spawn(contender.run(stopped, async {})))
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_proven_again_when_another_controller_led_since() {
    let mut bed = Bed::new(Options::default()).await;
    let (stop, ended) = contend(&mut bed, "albacore-0");
    bed.start();
    bed.apply(ingress(0).object());
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(bed.holds(), (1, 1, 3, 3));
    bed.stop().await;
    drop(stop);
    ended.await.expect("it ends");
    bed.take_calls();

    let (stop, ended) = contend(&mut bed, "albacore-1");
    bed.start();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(
        bed.take_calls().told(),
        [""; 0],
        "the lease went from one albacore to the next"
    );
    bed.stop().await;
    drop(stop);
    ended.await.expect("it ends");

    let lease = (
        "coordination.k8s.io/v1",
        "Lease",
        "kube-system",
        "aws-load-balancer-controller-leader",
    );
    let mut held = bed.get(lease.0, lease.1, lease.2, lease.3).expect("a lease");
    let transitions = held["spec"]["leaseTransitions"].as_i64().expect("a number");
    held["spec"]["leaseTransitions"] = json!(transitions + 1);
    bed.apply(held);

    // The first that leads then ends before anything is proven; the second knows no more than he.
    let (stop, ended) = contend(&mut bed, "albacore-0");
    bed.start();
    bed.leadership.clone().won().await;
    bed.crash().await;
    drop(stop);
    ended.await.expect("it ends");
    bed.take_calls();

    let (_stop, _ended) = contend(&mut bed, "albacore-1");
    bed.start();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    let calls = bed.take_calls();
    assert_eq!(calls.writes(), [""; 0]);
    assert!(!calls.reads(Service::Elbv2).is_empty(), "{:#?}", calls.told());
    assert!(!calls.reads(Service::Ec2).is_empty(), "{:#?}", calls.told());
}
