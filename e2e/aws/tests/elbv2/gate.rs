//! What every operation goes through: the models, buckets, faults, journal, stale reads, snapshots.

use std::time::Duration;

use albacore_aws::call::Service;
use albacore_aws::faults::{Fault, Kind};
use aws_sdk_elasticloadbalancingv2::error::ProvideErrorMetadata as _;

use super::place::{A, B, SG, build, here, load_balancer, target_group};
use super::*;

#[tokio::test(start_paused = true)]
async fn quotas_are_answered_in_pages() {
    let (double, client) = instant();
    let first = client.describe_account_limits().page_size(10).send().await.unwrap();
    assert_eq!(first.limits().len(), 10);
    let second = client
        .describe_account_limits()
        .page_size(100)
        .marker(first.next_marker().unwrap())
        .send()
        .await
        .unwrap();
    let all: Vec<_> = first.limits().iter().chain(second.limits()).collect();
    assert_eq!(second.next_marker(), None);
    let rules = all
        .iter()
        .find(|limit| limit.name() == Some("rules-per-application-load-balancer"))
        .unwrap();
    assert_eq!(rules.max(), Some("100"));
    assert_eq!(double.journal().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_zero_breaks_the_model() {
    let (_, client) = instant();
    let error = client.describe_account_limits().page_size(0).send().await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationError"));
    assert_eq!(
        error.message(),
        Some(
            "1 validation error detected: Value '0' at 'pageSize' failed to satisfy constraint: Member must have value greater than or equal to 1"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn buckets_refuse_and_refill_with_tokios_time() {
    let (double, client) = with(Options {
        throttling: true,
        ..Options::instant()
    });
    for _ in 0..40 {
        client.describe_load_balancers().send().await.unwrap();
    }
    let refused = client.describe_load_balancers().send().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Some("ThrottlingException"), Some("Rate exceeded"))
    );
    tokio::time::advance(Duration::from_millis(300)).await;
    for _ in 0..3 {
        client.describe_load_balancers().send().await.unwrap();
    }
    assert_eq!(
        code(&client.describe_load_balancers().send().await),
        "ThrottlingException"
    );
    assert_eq!(double.journal().iter().filter(|entry| entry.throttled).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn other_buckets_still_have_tokens_when_registration_has_none() {
    let (double, client) = with(Options {
        throttling: true,
        ..Options::instant()
    });
    build(&double);
    let group = target_group(&client, "one").await;
    let register = || {
        client
            .register_targets()
            .target_group_arn(&group)
            .targets(place::target("10.0.1.9"))
            .send()
    };
    for _ in 0..20 {
        register().await.unwrap();
    }
    assert_eq!(code(&register().await), "ThrottlingException");
    client.describe_target_groups().send().await.unwrap();
    double.neighbour(Service::Elbv2, "registration", 3.0);
    tokio::time::advance(Duration::from_secs(2)).await;
    register().await.unwrap();
    register().await.unwrap();
    assert_eq!(
        code(&register().await),
        "ThrottlingException",
        "the neighbour takes three of four tokens a second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_leaves_the_load_balancer_behind() {
    let (double, client) = here();
    double.inject(Fault::new(Kind::ReplyLost).of("CreateLoadBalancer"));
    let create = || {
        client
            .create_load_balancer()
            .name("web")
            .subnets(A)
            .subnets(B)
            .security_groups(SG)
            .send()
    };
    let lost = create().await.unwrap_err();
    assert!(lost.as_service_error().is_none(), "the caller cannot know: {lost:?}");
    assert_eq!(
        double
            .world()
            .regions
            .values()
            .map(|region| region.elbv2.load_balancers.len())
            .sum::<usize>(),
        1
    );
    let again = create().await.unwrap();
    assert_eq!(
        again.load_balancers().len(),
        1,
        "creating it again answers the one that is there"
    );
    let entries = double.journal();
    assert_eq!(
        (entries[0].cut, entries[0].applied, entries[1].cut),
        (true, true, false)
    );
}

#[tokio::test(start_paused = true)]
async fn a_reset_before_the_call_leaves_nothing_behind() {
    let (double, client) = here();
    double.inject(Fault {
        writes: true,
        ..Fault::new(Kind::ResetBefore).nth(2)
    });
    target_group(&client, "one").await;
    client.describe_target_groups().send().await.unwrap();
    let create = client.create_target_group().name("two").port(80).vpc_id(place::VPC);
    assert_eq!(code(&create.protocol("HTTP".into()).send().await), "no answer");
    assert_eq!(
        client
            .describe_target_groups()
            .send()
            .await
            .unwrap()
            .target_groups()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn scripted_errors_throttles_and_latency_come_when_ordered() {
    let (double, client) = here();
    let error = Kind::Error {
        status: 503,
        code: "ServiceUnavailable".into(),
        message: "later".into(),
    };
    double.inject(Fault::new(error).of("DescribeListeners"));
    double.inject(Fault::new(Kind::Throttle).of("DescribeRules").times(2));
    double.inject(Fault::new(Kind::Latency(Duration::from_secs(7))).of("DescribeTags"));
    assert_eq!(code(&client.describe_listeners().send().await), "ServiceUnavailable");
    assert_eq!(code(&client.describe_listeners().send().await), "ValidationError");
    for expected in ["ThrottlingException", "ThrottlingException", "ValidationError"] {
        assert_eq!(code(&client.describe_rules().send().await), expected);
    }
    let before = double.now();
    let _ = client.describe_tags().resource_arns("x").send().await;
    assert_eq!(double.now().duration_since(before).as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn reads_lag_behind_writes_when_asked_to() {
    let (double, client) = here();
    double.configure(|options| options.stale_reads = Duration::from_secs(5));
    let group = target_group(&client, "one").await;
    let describe = || client.describe_target_groups().target_group_arns(&group).send();
    assert_eq!(code(&describe().await), "TargetGroupNotFound");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(code(&describe().await), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_brings_the_world_back() {
    let (double, client) = here();
    load_balancer(&client, "web").await;
    let before = double.snapshot();
    let mut changes = double.changed();
    changes.mark_unchanged();
    load_balancer(&client, "more").await;
    assert!(changes.has_changed().unwrap());
    double.restore(before);
    assert_eq!(
        client
            .describe_load_balancers()
            .send()
            .await
            .unwrap()
            .load_balancers()
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn regions_and_accounts_are_kept_apart() {
    let (double, client) = here();
    load_balancer(&client, "web").await;
    let elsewhere = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-west-2"))
        .credentials_provider(Credentials::new("AKIDEXAMPLE", "secret", None, None, "test"))
        .http_client(double.http_client())
        .build();
    let there = Client::from_conf(elsewhere)
        .describe_load_balancers()
        .send()
        .await
        .unwrap();
    assert_eq!(there.load_balancers().len(), 0);
    double.configure(|options| _ = options.accounts.insert("AKIDEXAMPLE".into(), "210987654321".into()));
    assert_eq!(
        client
            .describe_load_balancers()
            .send()
            .await
            .unwrap()
            .load_balancers()
            .len(),
        0
    );
}
