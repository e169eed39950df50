//! A day in which everything comes and goes under new names: what the controller remembers of it goes too.

use albacore_simulation::{api::Reply, objects, scale::Scale};
use std::time::Duration;
use tikv_jemalloc_ctl::{epoch, stats};
use tokio::time::{Instant, sleep_until};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Groups that come and go in an hour, each of [`albacore_simulation::scale::SERVICES`] Services.
const GROUPS: usize = 4;
const HOURS: usize = 24;
const HOUR: Duration = Duration::from_secs(3600);
/// Caches are full after this many hours.
const WARM: usize = 2;
/// What may have come on top by the end, bytes: less than 32 for each Service that came and went.
const SLACK: usize = 16 * 1024;

/// Bytes that are in use in this process: the controller, the double and the API server.
fn allocated() -> usize {
    epoch::advance().expect("jemalloc's figures");
    stats::allocated::read().expect("jemalloc's figures")
}

/// What a controller holds after so many hours: what is free again when it has stopped.
async fn held_after(hours: usize) -> usize {
    let mut scale = Scale::new(GROUPS * HOURS).await;
    // kube's recorder keeps what it told for minutes by the clock on the wall, which hardly moves here.
    scale.bed.api.set_faults(|request| match request.resource.kind {
        "Event" => Reply::unavailable(),
        _ => Reply::Serve,
    });
    let began = Instant::now();
    for hour in 0..hours {
        let bed = &scale.bed;
        let groups = GROUPS * hour..GROUPS * (hour + 1);
        groups.clone().for_each(|group| scale.add(group));
        let node = format!("node-of-hour-{hour}");
        let mut more = objects::nodes(&bed.world).remove(0);
        more["metadata"]["name"] = node.as_str().into();
        bed.apply(more);
        bed.settle().await;
        assert_eq!(bed.holds().0, GROUPS, "load balancers in hour {hour}");
        groups.clone().for_each(|group| scale.narrow(group));
        bed.delete("v1", "Node", "", &node);
        bed.settle().await;
        groups.for_each(|group| scale.remove(group));
        bed.settle().await;
        assert_eq!(bed.holds(), (0, 0, 0, 0), "hour {hour}");
        sleep_until(began + HOUR * u32::try_from(hour + 1).expect("a few")).await;
    }
    let before = allocated();
    scale.bed.stop().await;
    before - allocated()
}

#[tokio::test(start_paused = true)]
async fn a_day_of_churn_ends_where_it_began() {
    let (early, late) = (held_after(WARM).await, held_after(HOURS).await);
    assert!(late <= early + SLACK, "{early} bytes became {late}");
}
