//! What the budget promises while others drink from the same buckets; `make bench` has more groups, and three controllers.

use albacore_simulation::{contention, figures::Figures, idle, rollout};

fn holds(figures: &Figures) {
    assert!(figures.hold(), "{figures:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_costs_little_and_its_pods_go_in_soon() {
    holds(&rollout::in_waves().await);
    holds(&rollout::one_by_one().await);
}

#[tokio::test(start_paused = true)]
async fn pods_of_many_target_groups_are_replaced_as_fast_as_the_bucket_allows() {
    holds(&rollout::everywhere().await);
}

#[tokio::test(start_paused = true)]
async fn pods_go_in_soon_though_a_neighbour_takes_most_and_many_groups_change() {
    holds(&contention::neighbour(40).await);
}

#[tokio::test(start_paused = true)]
async fn pods_go_in_soon_though_many_groups_are_deleted() {
    holds(&contention::deletion(40).await);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_with_many_groups_delays_another_little() {
    holds(&contention::namespaces(100).await);
}

#[tokio::test(start_paused = true)]
async fn a_day_without_changes_costs_nothing_but_the_audit() {
    for figures in idle::day(20).await {
        holds(&figures);
    }
}
