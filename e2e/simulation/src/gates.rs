//! Rollouts whose pods wait for the load balancer: what that costs, and how long a gate stays shut although the target is
//! healthy.

use crate::{
    bed::Bed,
    figures::{ANYTHING, Figures, Most},
    rollout::{Rollout, percentile},
    scale::Scale,
};
use albacore_aws::Options;
use std::time::Duration;
use tokio::time::sleep;

/// Time from the registration of a target to its being healthy, on the double.
fn healthy_after() -> Duration {
    let options = Options::default();
    options.registration + options.first_check
}

/// Waits until all pods of all rollouts are ready.
async fn ready(bed: &Bed, rollouts: &mut [Rollout]) {
    loop {
        let mut all = true;
        for rollout in rollouts.iter_mut() {
            all &= rollout.look(bed);
        }
        if all {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn start(scale: &Scale, deployments: usize, pods: usize) -> Vec<Rollout> {
    let mut rollouts = Rollout::start(scale, deployments, pods).await;
    for rollout in &mut rollouts {
        rollout.with_gates(&scale.bed);
    }
    ready(&scale.bed, &mut rollouts).await;
    // No target is healthy before its load balancer is provisioned.
    sleep(Options::default().provisioning).await;
    rollouts
}

/// How long gates stayed shut although their targets were healthy, with so many calls allowed for all of it.
fn figures(name: String, bed: &Bed, waits: Vec<f64>, most_wait: f64, allowed: Option<usize>) -> Figures {
    let limits = Most {
        calls: if allowed.is_some() { 1.0 } else { f64::INFINITY },
        ratio: 1.0,
        ..ANYTHING
    };
    let figures = Figures::of(name, &bed.take_calls(), percentile(waits), most_wait, limits);
    figures.needing(allowed.unwrap_or_default())
}

/// A hundred pods with gates are replaced, so many at a time, each wave when the one before is ready.
pub async fn in_waves_of(size: usize, allowed: usize) -> Figures {
    let scale = Scale::new(0).await;
    let bed = &scale.bed;
    let mut rollouts = start(&scale, 1, 100).await;
    let mut waits = Vec::new();
    for _ in 0..100 / size {
        for _ in 0..size {
            rollouts[0].come(bed, 1);
            sleep(Duration::from_millis(50)).await;
        }
        ready(bed, &mut rollouts).await;
        waits.extend(rollouts[0].gate_waits(bed, healthy_after()));
        rollouts[0].go(bed, size);
    }
    bed.settle().await;
    let name = format!("100 pods with gates, {size} at a time (p99 of a gate's delay)");
    figures(name, bed, waits, 5.0, Some(allowed))
}

/// A pod of each of so many Deployments is replaced at once. One DescribeTargetHealth for each target group is what the
/// bucket allows: forty are within seconds, beyond that each waits for its turn.
pub async fn side_by_side(deployments: usize) -> Figures {
    let scale = Scale::new(0).await;
    let bed = &scale.bed;
    let mut rollouts = start(&scale, deployments, 2).await;
    for rollout in &mut rollouts {
        rollout.come(bed, 1);
    }
    ready(bed, &mut rollouts).await;
    let waits = rollouts
        .iter()
        .flat_map(|rollout| rollout.gate_waits(bed, healthy_after()))
        .collect();
    let beyond = deployments.saturating_sub(40) as f64;
    let most = if beyond > 0.0 { 1.2 * beyond / 9.5 + 3.0 } else { 5.0 };
    let name = format!("{deployments} target groups with gates at once (p99 of a gate's delay)");
    figures(name, bed, waits, most, None)
}
