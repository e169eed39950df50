//! What does not fit into AWS' quotas is told before anything is written; what fits is made.

use albacore_aws::{Options, world::ACCOUNT};
use albacore_simulation::{bed::Bed, objects::Ingress, scale::wide_subnets, world::REGION};

fn member(name: &str, order: u32, paths: usize) -> Ingress {
    let paths: Vec<String> = (0..paths).map(|n| format!("/{name}/{n}")).collect();
    let paths: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "a")).collect();
    Ingress::new("shop", name)
        .annotated("group.name", "shop")
        .annotated("group.order", &order.to_string())
        .host("shop.example.com", &paths)
}

/// Warnings about quotas, by Ingress.
fn told(bed: &Bed, name: &str) -> String {
    let events = bed.list("events.k8s.io/v1", "Event");
    let about = events
        .iter()
        .filter(|event| event["regarding"]["name"] == name && event["type"] == "Warning");
    about.filter_map(|event| event["note"].as_str()).collect()
}

fn refused(bed: &Bed) -> Vec<String> {
    let calls = bed.take_calls().0;
    calls.into_iter().filter_map(|call| call.error).collect()
}

#[tokio::test(start_paused = true)]
async fn the_ingress_that_overflows_is_told_and_the_rest_of_the_group_is_applied() {
    let mut bed = Bed::new(Options::default()).await;
    bed.start();
    bed.apply(member("first", 1, 60).object());
    bed.apply(member("second", 2, 60).object());
    bed.apply(member("third", 3, 40).object());
    bed.settle().await;
    assert_eq!(bed.holds().2, 100);
    let text = told(&bed, "second");
    assert!(
        text.contains("AWS allows 100 rules under one load balancer; 60 are there"),
        "{text}"
    );
    assert_eq!(
        (told(&bed, "first"), told(&bed, "third")),
        (String::new(), String::new())
    );
    let calls = bed.take_calls();
    let asked = calls.0.iter().filter(|call| call.operation == "DescribeAccountLimits");
    assert_eq!(asked.count(), 1);
    assert!(
        calls.0.iter().all(|call| call.error.is_none()),
        "nothing was tried that does not fit"
    );
    // Who comes later and first in the group takes nothing from who stands.
    bed.apply(member("zeroth", 0, 1).object());
    bed.settle().await;
    assert!(told(&bed, "zeroth").contains("AWS allows 100 rules"));
    assert_eq!(bed.holds().2, 100);
    assert_eq!(refused(&bed), [""; 0]);
    // Granted on request; it is noticed within the hour, or two.
    bed.double
        .set_quota(ACCOUNT, REGION, "rules-per-application-load-balancer", 200);
    tokio::time::sleep(std::time::Duration::from_secs(3 * 3600)).await;
    assert_eq!(bed.holds().2, 161);
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_more_than_the_account_may_have_is_told_before_anything_is_made_for_it() {
    let mut bed = Bed::new(Options::default()).await;
    wide_subnets(&bed).await.expect("subnets");
    bed.start();
    for number in 0..50 {
        bed.apply(
            Ingress::new("shop", &format!("web-{number}"))
                .host("", &[("/", "a")])
                .object(),
        );
    }
    bed.settle().await;
    assert_eq!(bed.holds().0, 50);
    bed.take_calls();
    bed.apply(Ingress::new("shop", "more").host("", &[("/", "a")]).object());
    bed.settle().await;
    let text = told(&bed, "more");
    assert!(
        text.contains("AWS allows 50 load balancers in this account and Region, and this cluster has 50"),
        "{text}"
    );
    assert_eq!(refused(&bed), [""; 0]);
    assert_eq!(
        bed.security_groups().len(),
        51,
        "one of each load balancer, and the shared one"
    );
    bed.delete_ingress("shop", "web-7");
    tokio::time::sleep(std::time::Duration::from_secs(2 * 3600)).await;
    assert_eq!(bed.holds().0, 50, "there is room again");
    assert!(told(&bed, "web-8").is_empty());
}
