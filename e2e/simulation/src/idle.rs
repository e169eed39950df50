//! What is asked of AWS while nobody wishes anything: nothing but what the audit asks, and how soon that comes round.

use crate::{
    bed::Calls,
    figures::{Figures, Most},
    scale::{Scale, add_services, ingress, services, team},
};
use albacore_aws::call::Service;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How soon a change of a load balancer, listener, rule, target group, security group or tag is to be found.
const SOON: Duration = Duration::from_secs(30 * 60);
/// How soon one of an attribute, a certificate or a target is.
const LATE: Duration = Duration::from_secs(3 * 3600);
/// Calls of the account's bucket that the audit may take, a second.
const TENTH: f64 = 1.0;

/// A day of so many groups with an HTTP and an HTTPS listener each: calls outside the audit, and how long the audit takes
/// to come back to the same listener, and to the same attributes.
pub async fn day(groups: usize) -> [Figures; 3] {
    let scale = Scale::begin(groups, true).await;
    let bed = &scale.bed;
    for group in 0..groups {
        add_services(bed, &team(group), group, group);
        let both = ingress(&team(group), group, &services(group))
            .annotated("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 443}]"#)
            .annotated("certificate-arn", &bed.world.certificate);
        bed.apply(both.object());
    }
    scale.until_served().await;
    sleep(Duration::from_secs(1800)).await;
    bed.take_calls();
    sleep(DAY).await;
    let calls = bed.take_calls();
    let most = |calls| Most {
        calls,
        ratio: 1.0,
        throttled: 0.0,
    };
    let audit = [
        "DescribeListenerCertificates",
        "DescribeListeners",
        "DescribeLoadBalancerAttributes",
        "DescribeLoadBalancers",
        "DescribeRules",
        "DescribeSecurityGroups",
        "DescribeTags",
        "DescribeTargetGroupAttributes",
        "DescribeTargetGroups",
        "DescribeTargetHealth",
    ];
    let (of_audit, others): (Vec<_>, Vec<_>) = calls
        .0
        .into_iter()
        .partition(|call| audit.contains(&call.operation.as_str()));
    let of_bucket = of_audit.into_iter().filter(|call| call.service == Service::Elbv2);
    let (of_audit, others) = (Calls(of_bucket.collect()), Calls(others));
    let day = DAY.as_secs_f64();
    let name = format!("a day with {groups} groups, but for the audit");
    let idle = Figures::of(name, &others, day, day, most(1.0)).beside(groups * 15 * 24 / 10, "formula");
    let allowed = (day * TENTH) as usize;
    let round = |what: &str, operation: &str, limit: Duration| {
        let name = format!("audit of {groups} groups: {what}");
        let figures = Figures::of(
            name,
            &of_audit,
            longest_gap(&of_audit, operation),
            limit.as_secs_f64(),
            most(1.0),
        );
        figures.needing(allowed)
    };
    [
        idle,
        round("all but attributes, certificates, targets", "DescribeListeners", SOON),
        round(
            "attributes, certificates, targets",
            "DescribeLoadBalancerAttributes",
            LATE,
        ),
    ]
}

/// The longest time between two calls of an operation about the same load balancer.
fn longest_gap(calls: &Calls, operation: &str) -> f64 {
    let mut last = BTreeMap::new();
    let mut longest: f64 = 0.0;
    for call in calls.0.iter().filter(|call| call.operation == operation) {
        let about = call.params["LoadBalancerArn"].as_str().unwrap_or_default();
        if let Some(before) = last.insert(about, call.time) {
            longest = longest.max(call.time.duration_since(before).as_secs_f64());
        }
    }
    if last.is_empty() { f64::INFINITY } else { longest }
}
