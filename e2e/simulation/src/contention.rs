//! Who drinks from the same buckets: neighbours, other controllers, other lanes and other namespaces.

use crate::{
    bed::{Bed, Calls},
    figures::{Figures, Most},
    objects,
    rollout::{Rollout, SOON, p99},
    scale::{SERVICES, Scale, add_services, https, ingress, ingress_at, raise_quotas, services, team, wide_subnets},
};
use albacore::budget::{Budget, Outcome};
use albacore_aws::{Options, call::Service};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Share of calls that may be refused where others drink from the same buckets.
const REFUSED: f64 = 0.02;
/// What may be where only the figure that is measured, and refusals, count.
const PROMPT: Most = Most {
    calls: f64::INFINITY,
    ratio: 1.0,
    throttled: REFUSED,
};
/// How often a pod of the rollout is replaced that runs beside something else.
const PACE: Duration = Duration::from_secs(5);

/// Replaces sixty pods, one at a time; gives all calls made meanwhile.
async fn roll(bed: &Bed, rollout: &mut Rollout) -> Calls {
    bed.take_calls();
    for _ in 0..60 {
        rollout.come(bed, 1);
        sleep(PACE / 2).await;
        rollout.go(bed, 1);
        sleep(PACE / 2).await;
    }
    sleep(PACE).await;
    bed.take_calls()
}

/// So many groups that stand, and a Deployment of twenty pods.
async fn standing(groups: usize) -> (Scale, Vec<Rollout>) {
    let scale = Scale::new(groups).await;
    (0..groups).for_each(|group| scale.add(group));
    scale.until_served().await;
    scale.bed.settle().await;
    let rollouts = Rollout::start(&scale, 1, 20).await;
    (scale, rollouts)
}

/// A neighbour takes 70 % of the account's bucket, and so many groups change while a rollout runs.
pub async fn neighbour(groups: usize) -> Figures {
    let (scale, mut rollouts) = standing(groups).await;
    let bed = &scale.bed;
    bed.double.neighbour(Service::Elbv2, "account", 7.0);
    for group in 0..groups {
        scale.turn(group, 1);
    }
    let calls = roll(bed, &mut rollouts[0]).await;
    let wait = p99(&rollouts, &calls);
    let name = format!("70 % to a neighbour, {groups} groups change (p99 of a pod's wait)");
    Figures::of(name, &calls, wait, SOON.as_secs_f64(), PROMPT)
}

/// So many groups are deleted at once while a rollout runs.
pub async fn deletion(groups: usize) -> Figures {
    let (scale, mut rollouts) = standing(groups).await;
    (0..groups).for_each(|group| scale.remove(group));
    let bed = &scale.bed;
    let calls = roll(bed, &mut rollouts[0]).await;
    let wait = p99(&rollouts, &calls);
    let name = format!("{groups} groups deleted beside a rollout (p99 of a pod's wait)");
    Figures::of(name, &calls, wait, SOON.as_secs_f64(), PROMPT)
}

/// A namespace has many groups that wait to be made when another one gets one: how much longer that takes.
pub async fn namespaces(pending: usize) -> Figures {
    async fn made(bed: &Bed, began: Instant) -> f64 {
        loop {
            let active = is_active(bed);
            let told = bed
                .get("networking.k8s.io/v1", "Ingress", "quiet", "app-0")
                .unwrap_or_default();
            if active && told["status"]["loadBalancer"]["ingress"][0]["hostname"].is_string() && full(bed) {
                return began.elapsed().as_secs_f64();
            }
            sleep(Duration::from_millis(250)).await;
        }
    }
    let alone = {
        let scale = Scale::new(1).await;
        scale.bed.apply(objects::namespace("quiet"));
        scale.add_in("quiet", 0, 900);
        made(&scale.bed, Instant::now()).await
    };
    let scale = Scale::new(pending).await;
    for namespace in ["noisy", "quiet"] {
        scale.bed.apply(objects::namespace(namespace));
    }
    for group in 0..pending {
        scale.add_in("noisy", group, group);
    }
    sleep(Duration::from_secs(60)).await;
    scale.bed.take_calls();
    scale.add_in("quiet", 0, 900);
    let seconds = made(&scale.bed, Instant::now()).await;
    let most = Most {
        calls: f64::INFINITY,
        ratio: 1.5,
        throttled: 0.0,
    };
    let name = format!("one group beside {pending} of another namespace");
    Figures::of(name, &scale.bed.take_calls(), seconds, alone, most)
}

/// Three controllers in one account, all of them always with more to do than they may: what each got of the calls that
/// change something, the least and the most by a third of all.
pub async fn controllers() -> Figures {
    const GROUPS: usize = 30;
    const LONG: Duration = Duration::from_secs(3600);
    let mut first = Bed::new(Options {
        bucket_scale: 1000.0,
        ..Options::default()
    })
    .await;
    raise_quotas(&first);
    wide_subnets(&first).await.expect("subnets");
    let mut others = [first.beside("second"), first.beside("third")];
    let mut budgets: Vec<Budget> = vec![first.start_with_budget()];
    budgets.extend(others.iter_mut().map(Bed::start_with_budget));
    let beds = [&first, &others[0], &others[1]];
    for bed in beds {
        for namespace in 0..GROUPS.min(10) {
            bed.apply(objects::namespace(&team(namespace)));
        }
        for group in 0..GROUPS {
            add_services(bed, &team(group), group, group);
            bed.apply(https(bed, ingress(&team(group), group, &services(group))).object());
        }
    }
    first.settle().await;
    first.double.configure(|options| options.bucket_scale = 1.0);
    first.take_calls();
    let done = |budget: &Budget| -> u64 {
        let ledger = budget.ledger();
        let writes = ledger.by_kind.iter().filter(|(kind, _)| {
            kind.outcome == Outcome::Done && ["ModifyRule", "CreateRule", "DeleteRule"].contains(&kind.operation)
        });
        writes.map(|(_, spent)| spent.calls).sum()
    };
    let before: Vec<u64> = budgets.iter().map(done).collect();
    let began = Instant::now();
    let mut turn = 0;
    while began.elapsed() < LONG {
        turn += 1;
        for bed in beds {
            // Users of different clusters do nothing at the same millisecond.
            sleep(Duration::from_millis(777)).await;
            for group in 0..GROUPS {
                let host = format!("app-{group}-{turn}.example.com");
                bed.apply(https(bed, ingress_at(&team(group), group, &host, &services(group))).object());
            }
        }
        sleep(Duration::from_secs(58)).await;
    }
    let calls = first.take_calls();
    let got: Vec<f64> = budgets
        .iter()
        .zip(before)
        .map(|(budget, before)| (done(budget) - before) as f64)
        .collect();
    let third = got.iter().sum::<f64>() / 3.0;
    let furthest = got.iter().map(|got| (got - third).abs() / third).fold(0.0, f64::max);
    let name = "three controllers, an hour (how far off a third one was, as a share)";
    Figures::of(name, &calls, furthest, 0.25, PROMPT)
}

/// Whether the load balancer of the quiet namespace serves.
fn is_active(bed: &Bed) -> bool {
    let world = bed.double.world();
    let mut all = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.load_balancers.values());
    all.any(|lb| lb.name.starts_with("k8s-quiet-") && lb.is_active(bed.double.now()))
}

/// Whether the target groups of the quiet namespace have their targets.
fn full(bed: &Bed) -> bool {
    let world = bed.double.world();
    let groups = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.target_groups.values());
    let of_quiet = groups.filter(|group| group.name.starts_with("k8s-quiet-"));
    let of_quiet = of_quiet.filter(|group| group.targets.len() == bed.world.nodes.len());
    of_quiet.count() == SERVICES
}
