//! What every operation goes through: buckets, faults, journal, paging.

use aws_sdk_elasticloadbalancingv2::error::ProvideErrorMetadata as _;

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
