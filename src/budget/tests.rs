//! The budget as a whole, under paused time.

use super::*;
use crate::model::{GroupKey, ObjectKey};
use std::sync::atomic::{AtomicUsize, Ordering};

fn unit(namespace: &str) -> Unit {
    Unit::Group(GroupKey::Implicit(ObjectKey::new(namespace, "web")))
}

fn elb(operation: &'static str, lane: Lane, namespace: &str) -> Ask {
    Ask {
        service: Service::ElasticLoadBalancing,
        operation,
        lane,
        unit: unit(namespace),
    }
}

fn full() -> Budget {
    Budget::new(BudgetConfig {
        ceiling: 1.0,
        overrides: Vec::new(),
    })
}

/// Takes tokens as long as they come at once.
async fn at_once(budget: &Budget, ask: Ask) -> usize {
    let mut taken = 0;
    while let Ok(permit) = tokio::time::timeout(Duration::ZERO, budget.acquire(ask.clone())).await {
        permit.settle(Outcome::Done);
        taken += 1;
    }
    taken
}

/// Lets spawned tasks run until all of them wait.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_category_gives_its_burst_at_once_and_then_its_rate() {
    let budget = full();
    assert_eq!(at_once(&budget, elb("CreateRule", Lane::Change, "a")).await, 20);
    let start = Instant::now();
    for _ in 0..3 {
        let _permit = budget.acquire(elb("CreateRule", Lane::Change, "a")).await;
    }
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(1000) && took < Duration::from_millis(1010),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn routine_work_leaves_the_first_lane_its_reserve() {
    let budget = full();
    assert_eq!(at_once(&budget, elb("DescribeRules", Lane::Audit, "a")).await, 36);
    assert_eq!(at_once(&budget, elb("RegisterTargets", Lane::Targets, "a")).await, 4);
}

#[tokio::test(start_paused = true)]
async fn the_ceiling_leaves_a_share_to_others_and_an_override_is_literal() {
    let overrides = vec!["elasticloadbalancing.register=2:5".parse().unwrap()];
    let budget = Budget::new(BudgetConfig {
        ceiling: 0.5,
        overrides,
    });
    assert_eq!(at_once(&budget, elb("CreateRule", Lane::Change, "a")).await, 10);
    assert_eq!(at_once(&budget, elb("RegisterTargets", Lane::Targets, "a")).await, 5);
}

#[tokio::test(start_paused = true)]
async fn the_urgent_overtake_and_namespaces_take_turns() {
    let budget = full();
    at_once(&budget, elb("DescribeRules", Lane::Change, "a")).await;
    at_once(&budget, elb("DescribeRules", Lane::Targets, "a")).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let wanted = [
        ("tidy", Lane::Tidy),
        ("noisy", Lane::Change),
        ("noisy", Lane::Change),
        ("noisy", Lane::Change),
        ("quiet", Lane::Change),
        ("urgent", Lane::Health),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for (namespace, lane) in wanted {
        let waiting = budget.acquire(elb("DescribeTargetHealth", lane, namespace));
        let order = order.clone();
        tasks.spawn(async move {
            let _permit = waiting.await;
            order.lock().unwrap().push(namespace);
        });
        settle().await;
    }
    tasks.join_all().await;
    assert_eq!(
        *order.lock().unwrap(),
        ["urgent", "noisy", "quiet", "noisy", "noisy", "tidy"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_category_does_not_hold_up_another() {
    let budget = full();
    at_once(&budget, elb("CreateLoadBalancer", Lane::Change, "a")).await;
    let stuck = budget.acquire(elb("CreateLoadBalancer", Lane::Change, "a"));
    assert_eq!(
        stuck.to_string(),
        "a token of elasticloadbalancing.create for CreateLoadBalancer (change lane)"
    );
    let mut stuck = std::pin::pin!(stuck);
    assert!(tokio::time::timeout(Duration::ZERO, stuck.as_mut()).await.is_err());
    assert_eq!(at_once(&budget, elb("CreateRule", Lane::Tidy, "a")).await, 20);
    let start = Instant::now();
    let _permit = stuck.await;
    assert!(start.elapsed() <= Duration::from_millis(5010), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_the_line_to_the_next() {
    let budget = full();
    at_once(&budget, elb("CreateRule", Lane::Change, "a")).await;
    let mut first = Box::pin(budget.acquire(elb("CreateRule", Lane::Change, "a")));
    assert!(tokio::time::timeout(Duration::ZERO, first.as_mut()).await.is_err());
    let second = tokio::spawn(budget.acquire(elb("CreateRule", Lane::Change, "b")));
    settle().await;
    drop(first);
    let start = Instant::now();
    let _permit = second.await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(340), "{:?}", start.elapsed());
    assert!(budget.levels().iter().all(|level| level.waiting.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_is_served_before_who_came_later() {
    let budget = full();
    at_once(&budget, elb("CreateRule", Lane::Change, "a")).await;
    let ask = || elb("CreateRule", Lane::Change, "a");
    let mut refused = budget.acquire(ask()).await;
    let later = tokio::spawn(budget.acquire(ask()));
    settle().await;
    refused.sent();
    refused.settle(Outcome::Throttled);
    let _permit = budget.acquire(ask()).again(true).await;
    assert!(!later.is_finished());
    let _permit = later.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_with_what_changed_meanwhile_keeps_the_place() {
    let budget = full();
    at_once(&budget, elb("CreateRule", Lane::Change, "a")).await;
    let ask = |name: &str| Ask {
        unit: Unit::Group(GroupKey::Implicit(ObjectKey::new("a", name))),
        ..elb("CreateRule", Lane::Change, "a")
    };
    let mut changed = Box::pin(budget.acquire(ask("first")));
    assert!(futures::poll!(&mut changed).is_pending());
    let second = tokio::spawn(budget.acquire(ask("second")));
    settle().await;
    drop(changed);
    let _permit = budget.acquire(ask("first")).await;
    assert!(!second.is_finished());
    // Who comes back after long stands behind.
    let mut gone = Box::pin(budget.acquire(ask("first")));
    assert!(futures::poll!(&mut gone).is_pending());
    drop(gone);
    let _permit = second.await.unwrap();
    tokio::time::advance(PLACE).await;
    at_once(&budget, elb("CreateRule", Lane::Change, "a")).await;
    let third = tokio::spawn(budget.acquire(ask("third")));
    settle().await;
    let _permit = budget.acquire(ask("first")).await;
    assert!(third.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_forecast_is_when_the_last_token_comes() {
    let budget = full();
    let rules = vec![(Service::ElasticLoadBalancing, "CreateRule"); 32];
    let forecast = |namespace| budget.forecast(&rules, Lane::Change, &unit(namespace));
    assert_eq!(
        forecast("a").as_secs_f64().round(),
        4.0,
        "twenty are there, three come each second"
    );
    assert_eq!(budget.forecast(&rules[..20], Lane::Change, &unit("a")), Duration::ZERO);
    at_once(&budget, elb("CreateRule", Lane::Change, "a")).await;
    let start = Instant::now();
    let told = forecast("a");
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let asked = budget.acquire(elb("CreateRule", Lane::Change, "a"));
        waiting.spawn(async move { drop(asked.await) });
    }
    settle().await;
    let others = forecast("b");
    waiting.join_all().await;
    let took = start.elapsed().as_secs_f64();
    assert!(
        (took - told.as_secs_f64()).abs() < 0.5,
        "{told:?} were told, {took} s it took"
    );
    assert!(
        others.as_secs_f64() > 1.9 * told.as_secs_f64(),
        "{others:?}: they take turns"
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_of_two_categories_together_are_the_account_s() {
    let budget = full();
    let speed = |name: &str| {
        let level = budget
            .levels()
            .into_iter()
            .find(|level| level.bucket.to_string() == name);
        level.unwrap().per_second
    };
    let refuse = async |operation| {
        let mut permit = budget.acquire(elb(operation, Lane::Change, "a")).await;
        tokio::time::advance(Duration::from_millis(1)).await;
        permit.sent();
        permit.settle(Outcome::Throttled);
    };
    refuse("CreateRule").await;
    assert_eq!(speed("elasticloadbalancing.mutate"), 1.5);
    assert_eq!(speed("elasticloadbalancing.account"), 10.0);
    refuse("DescribeRules").await;
    assert_eq!(speed("elasticloadbalancing.describe"), 5.0);
    assert_eq!(speed("elasticloadbalancing.account"), 5.0);
}

#[tokio::test(start_paused = true)]
async fn every_call_is_booked_once() {
    let budget = full();
    for outcome in [Outcome::Done, Outcome::Throttled, Outcome::Refused] {
        budget
            .acquire(elb("CreateRule", Lane::Change, "a"))
            .await
            .settle(outcome);
    }
    let ledger = budget.ledger();
    assert_eq!(ledger.by_kind.values().map(|spent| spent.calls).sum::<u64>(), 3);
    assert_eq!(
        (budget.spent(&unit("a")).calls, budget.spent(&unit("a")).throttled),
        (3, 1)
    );
    budget.forget(&unit("a"));
    assert_eq!(budget.spent(&unit("a")), Spent::default());
}

const HOUR: Duration = Duration::from_secs(3600);

/// AWS' own bucket, shared by several controllers.
struct Aws(Mutex<Bucket>, AtomicUsize);

impl Aws {
    fn answer(&self) -> Outcome {
        match self.0.lock().unwrap().take(false, Instant::now()) {
            Ok(()) => Outcome::Done,
            Err(_) => {
                self.1.fetch_add(1, Ordering::Relaxed);
                Outcome::Throttled
            }
        }
    }
}

/// Calls one operation for an hour as often as the budget lets it.
async fn keep_calling(budget: Budget, aws: Arc<Aws>) -> usize {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < HOUR {
        let mut permit = budget.acquire(elb("CreateRule", Lane::Change, "a")).await;
        permit.sent();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let outcome = aws.answer();
        done += usize::from(outcome == Outcome::Done);
        permit.settle(outcome);
    }
    done
}

fn aws() -> Arc<Aws> {
    let documented = Rate {
        per_second: 3.0,
        burst: 20,
    };
    Arc::new(Aws(
        Mutex::new(Bucket::new(documented, 0, Instant::now())),
        AtomicUsize::new(0),
    ))
}

#[tokio::test(start_paused = true)]
async fn alone_in_an_account_nothing_is_refused_and_little_is_left_over() {
    let aws = aws();
    let done = keep_calling(Budget::new(BudgetConfig::default()), aws.clone()).await;
    assert_eq!(aws.1.load(Ordering::Relaxed), 0);
    assert!(done as f64 > 0.94 * 3.0 * HOUR.as_secs_f64(), "{done}");
}

#[tokio::test(start_paused = true)]
async fn three_controllers_share_without_talking() {
    let aws = aws();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        tasks.spawn(keep_calling(Budget::new(BudgetConfig::default()), aws.clone()));
    }
    let done = tasks.join_all().await;
    let refused = aws.1.load(Ordering::Relaxed);
    let total: usize = done.iter().sum();
    assert!(total as f64 > 0.8 * 3.0 * HOUR.as_secs_f64(), "{done:?}");
    assert!((refused as f64) < 0.02 * total as f64, "{refused} of {total}");
    let third = total as f64 / 3.0;
    assert!(
        done.iter().all(|&one| (one as f64 - third).abs() < 0.25 * third),
        "{done:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dozen_calls_to_a_service_are_under_way_at_once_and_another_goes_as_soon_as_one_ends() {
    let budget = full();
    let ask = || budget.acquire(elb("DescribeRules", Lane::Change, "a"));
    let mut permits = Vec::new();
    for _ in 0..UNDER_WAY {
        permits.push(ask().await);
    }
    let mut next = Box::pin(ask());
    assert!(
        futures::poll!(&mut next).is_pending(),
        "tokens are left, but a dozen are out"
    );
    // Who asks another service does not wait for this one.
    let other = Ask {
        service: Service::Ec2,
        operation: "DescribeSubnets",
        ..elb("DescribeRules", Lane::Change, "a")
    };
    drop(budget.acquire(other).await);
    // Whether it ended with an answer, was never sent, or nobody waits for it any more.
    permits.pop().expect("one").settle(Outcome::Done);
    drop(next.await);
    drop(ask().await);
    permits.push(ask().await);
    let gone = tokio::spawn(ask());
    settle().await;
    assert!(!gone.is_finished());
    gone.abort();
    // It is still in line, is served, and is gone when it would come for it.
    permits.clear();
    assert_eq!(
        at_once(&budget, elb("DescribeRules", Lane::Change, "b")).await,
        36 - UNDER_WAY - 4
    );
}
