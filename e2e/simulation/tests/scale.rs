//! Fifty groups of five Services each, under the buckets that AWS documents.

use albacore_simulation::scale::Scale;

#[tokio::test(start_paused = true)]
async fn fifty_groups_are_created_restarted_over_and_deleted_for_what_that_must_cost() {
    let mut scale = Scale::new(50).await;
    let create = scale.create().await;
    println!("{create:?}");
    let restart = scale.restart().await;
    println!("{restart:?}");
    let delete = scale.delete().await;
    println!("{delete:?}");
}
