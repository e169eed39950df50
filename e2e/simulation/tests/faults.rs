//! Everything that can go wrong with a call, at every call of six scenarios: it always ends where it should.

use albacore_aws::{
    Double, Options,
    faults::{Fault, Kind},
};
use albacore_simulation::{
    bed::Bed,
    objects::{self, Ingress},
    picture, world,
};
use serde_json::Value;
use std::time::Duration;

/// Longer than a load balancer that was replaced lingers.
const LONG: Duration = Duration::from_secs(400);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    /// The process dies after AWS did what was asked.
    Crash,
    Throttle,
    ServerError,
    ResetBefore,
    ReplyLost,
}

const ALL: [Trouble; 5] = [
    Trouble::Crash,
    Trouble::Throttle,
    Trouble::ServerError,
    Trouble::ResetBefore,
    Trouble::ReplyLost,
];

/// What users do, what they may do when trouble strikes, and what must hold.
struct Scenario {
    name: &'static str,
    before: fn(&Bed),
    change: fn(&Bed),
    /// How long reads lag behind writes.
    lag: Duration,
    /// Done as soon as trouble has struck.
    and_then: fn(&Bed),
    /// Load balancers and target groups that may exist at once.
    at_most: (usize, usize),
    /// Whether load balancers may be deleted at all.
    deletes: bool,
    /// Schemes of our load balancers in the end.
    ends_with: &'static [&'static str],
}

fn member(name: &str, order: &str, paths: &[(&str, &str)]) -> Ingress {
    Ingress::new("shop", name)
        .annotated("group.name", "shop")
        .annotated("group.order", order)
        .host("shop.example.com", paths)
}

fn two_members(bed: &Bed) {
    bed.apply(member("one", "1", &[("/a", "a")]).object());
    bed.apply(member("two", "2", &[("/b", "b")]).object());
}

fn rule_changed(bed: &Bed) {
    bed.apply(member("one", "1", &[("/changed", "a"), ("/more", "c")]).object());
}

fn rule_as_it_was(bed: &Bed) {
    bed.apply(member("one", "1", &[("/a", "a")]).object());
}

fn scheme_changed(bed: &Bed) {
    for (name, order, path, service) in [("one", "1", "/a", "a"), ("two", "2", "/b", "b")] {
        bed.apply(
            member(name, order, &[(path, service)])
                .annotated("scheme", "internet-facing")
                .object(),
        );
    }
}

fn everything_deleted(bed: &Bed) {
    bed.delete_ingress("shop", "one");
    bed.delete_ingress("shop", "two");
}

fn two_members_on_two_nodes(bed: &Bed) {
    bed.delete("v1", "Node", "", "host-c");
    two_members(bed);
}

fn nodes_swapped(bed: &Bed) {
    bed.delete("v1", "Node", "", "host-a");
    let back = objects::nodes(&bed.world)
        .into_iter()
        .filter(|node| node["metadata"]["name"] == "host-c");
    back.for_each(|node| bed.apply(node));
}

fn nothing(_: &Bed) {}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "create",
        before: nothing,
        change: two_members,
        lag: Duration::ZERO,
        and_then: nothing,
        at_most: (1, 2),
        deletes: false,
        ends_with: &["internal"],
    },
    Scenario {
        name: "change and revert",
        before: two_members,
        change: rule_changed,
        lag: Duration::ZERO,
        and_then: rule_as_it_was,
        at_most: (1, 3),
        deletes: false,
        ends_with: &["internal"],
    },
    Scenario {
        name: "replace the scheme",
        before: two_members,
        change: scheme_changed,
        lag: Duration::ZERO,
        and_then: nothing,
        at_most: (2, 4),
        deletes: true,
        ends_with: &["internet-facing"],
    },
    Scenario {
        name: "delete",
        before: two_members,
        change: everything_deleted,
        lag: Duration::ZERO,
        and_then: nothing,
        at_most: (1, 2),
        deletes: true,
        ends_with: &[],
    },
    Scenario {
        name: "create, and delete at once, while reads lag",
        before: nothing,
        change: two_members,
        lag: Duration::from_secs(30),
        and_then: everything_deleted,
        at_most: (1, 2),
        deletes: true,
        ends_with: &[],
    },
    Scenario {
        name: "a node leaves and another comes back",
        before: two_members_on_two_nodes,
        change: nodes_swapped,
        lag: Duration::ZERO,
        and_then: nothing,
        at_most: (1, 2),
        deletes: false,
        ends_with: &["internal"],
    },
];

/// A bed in which somebody else has a load balancer, a target group and a security group too.
async fn bed(lag: Duration) -> Bed {
    let short = Duration::from_secs(20);
    let options = Options {
        throttling: false,
        provisioning: short,
        interface_linger: short,
        ..Options::default()
    };
    let bed = Bed::new(options).await;
    albacore_simulation::world::add_strangers(&bed.double, &bed.world)
        .await
        .expect("strangers");
    bed.double.configure(|options| options.stale_reads = lag);
    bed.double.clear_journal();
    bed
}

/// Runs a scenario with trouble at its nth call; `None` when it makes fewer calls.
async fn run(scenario: &Scenario, trouble: Option<(Trouble, u64)>, and_then: fn(&Bed)) -> Option<(Value, u64)> {
    let mut bed = bed(scenario.lag).await;
    let strangers = picture::strangers(&bed.double);
    bed.start();
    (scenario.before)(&bed);
    bed.settle_for(LONG).await;
    bed.double.clear_journal();
    let begun = bed.double.journal().last().map_or(0, |call| call.n);
    let watch = watch(bed.double.clone(), scenario.at_most);
    match trouble {
        None => {
            (scenario.change)(&bed);
            and_then(&bed);
        }
        Some((trouble, nth)) => {
            let before = bed.wire().calls();
            let fault = |kind| Fault::new(kind).nth(nth);
            match trouble {
                Trouble::Crash => bed.wire().set(nth),
                Trouble::Throttle => bed.double.inject(fault(Kind::Throttle)),
                Trouble::ServerError => bed.double.inject(fault(Kind::Error {
                    status: 503,
                    code: "ServiceUnavailable".to_owned(),
                    message: String::new(),
                })),
                Trouble::ResetBefore => bed.double.inject(fault(Kind::ResetBefore)),
                Trouble::ReplyLost => bed.double.inject(fault(Kind::ReplyLost)),
            }
            (scenario.change)(&bed);
            let struck = async {
                if trouble == Trouble::Crash {
                    bed.wire().tripped().await;
                } else {
                    while bed.wire().calls() < before + nth {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            };
            if tokio::time::timeout(Duration::from_secs(500), struck).await.is_err() {
                return None;
            }
            if trouble == Trouble::Crash {
                bed.crash().await;
            }
            and_then(&bed);
            if trouble == Trouble::Crash {
                bed.start();
            }
        }
    }
    bed.settle_for(LONG).await;
    let what = format!("{}, {trouble:?}", scenario.name);
    let told = || bed.take_calls().told();
    assert!(bed.is_running(), "{what}: the controller ended");
    watch.abort();
    if let Ok(seen) = watch.await {
        panic!("{what}: there were {seen:?} at once: {:#?}", told());
    }
    assert_eq!(
        picture::strangers(&bed.double),
        strangers,
        "{what}: somebody else's was touched: {:#?}",
        told()
    );
    let calls = bed.double.journal_after(begun);
    if !scenario.deletes {
        let deletes: Vec<&str> = calls
            .iter()
            .map(|call| call.operation.as_str())
            .filter(|name| *name == "DeleteLoadBalancer")
            .collect();
        assert_eq!(deletes, [""; 0], "{what}");
    }
    Some((picture::of(&bed), u64::try_from(calls.len()).expect("few")))
}

/// Ends when more of ours exist than may.
fn watch(double: Double, at_most: (usize, usize)) -> tokio::task::JoinHandle<(usize, usize)> {
    let mut changed = double.changed();
    tokio::spawn(async move {
        loop {
            let held = ours(&double);
            if held.0 > at_most.0 || held.1 > at_most.1 {
                return held;
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    })
}

/// Our load balancers and target groups, by their tags.
fn ours(double: &Double) -> (usize, usize) {
    let world = double.world();
    let mut sum = (0, 0);
    for region in world.regions.values() {
        let tagged = |arn: &String| {
            region
                .elbv2
                .tags
                .get(arn)
                .is_some_and(|tags| tags.contains_key("elbv2.k8s.aws/cluster"))
        };
        sum.0 += region.elbv2.load_balancers.keys().filter(|arn| tagged(arn)).count();
        sum.1 += region.elbv2.target_groups.keys().filter(|arn| tagged(arn)).count();
    }
    sum
}

async fn exhaust(scenario: &Scenario) {
    let (expected, _) = run(scenario, None, scenario.and_then)
        .await
        .expect("a run without trouble ends");
    let (_, calls) = run(scenario, None, nothing).await.expect("a run without trouble ends");
    let schemes: Vec<&str> = expected["aws"][world::REGION]["load balancers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|lb| lb["name"] != "legacy")
        .filter_map(|lb| lb["scheme"].as_str())
        .collect();
    assert_eq!(schemes, scenario.ends_with, "{}", scenario.name);
    let mut runs = 0;
    for trouble in ALL {
        for nth in 1..=calls {
            let Some((picture, _)) = run(scenario, Some((trouble, nth)), scenario.and_then).await else {
                break;
            };
            let difference = picture::difference(&expected, &picture);
            assert!(
                difference.is_empty(),
                "{}: {trouble:?} at call {nth}: {difference:#?}",
                scenario.name
            );
            runs += 1;
        }
    }
    assert!(
        runs >= ALL.len() as u64,
        "{}: trouble struck {runs} times only",
        scenario.name
    );
    println!("{}: {calls} calls, {runs} runs", scenario.name);
}

#[tokio::test(start_paused = true)]
async fn a_group_of_two_members_is_created_whatever_goes_wrong() {
    exhaust(&SCENARIOS[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_reverted_leaves_nothing_behind_whatever_goes_wrong() {
    exhaust(&SCENARIOS[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_scheme_is_replaced_whatever_goes_wrong() {
    exhaust(&SCENARIOS[2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_is_deleted_whatever_goes_wrong() {
    exhaust(&SCENARIOS[3]).await;
}

#[tokio::test(start_paused = true)]
async fn what_aws_does_not_show_yet_is_not_left_behind_whatever_goes_wrong() {
    exhaust(&SCENARIOS[4]).await;
}

#[tokio::test(start_paused = true)]
async fn targets_follow_the_nodes_whatever_goes_wrong() {
    exhaust(&SCENARIOS[5]).await;
}
