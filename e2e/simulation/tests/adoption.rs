//! Groups whose memory is lost, or that somebody else made: found again, changed in nothing, at the price of one look at
//! the account.

use albacore_aws::{Options, call::Service};
use albacore_simulation::{bed::Bed, objects::Ingress};

const GROUPS: usize = 30;

fn ingress(number: usize) -> Ingress {
    let (name, host) = (format!("web-{number}"), format!("web-{number}.example.com"));
    Ingress::new("shop", &name).host(&host, &[("/a", "a"), ("/b", "b"), ("/c", "c")])
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
