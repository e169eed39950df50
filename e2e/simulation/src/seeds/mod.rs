//! Seeds: random wishes and random trouble over two replicas, AWS and the API server; in the end AWS must hold what a
//! fresh controller would have built, and on the way nothing may happen that should not.
//!
//! ```text
//! seed ─► wishes ┐                                          ┌─► at every change in AWS: no second of anything, nothing
//!      ─► trouble┼─► steps ─► all is well again ─► at rest ─┤   deleted that was always needed
//!      ─► staff  ┘                                          └─► at rest: what was lost unseen is reported, and goes when
//!                                                               that is confirmed; a restart asks AWS nothing; equal to
//!                                                               a fresh controller's; nobody else's was touched
//! ```
//! Everything that happens follows from the seed: one thread, tokio's time and tokio's choices, no map in random order.

mod judge;
mod panics;
mod staff;
mod trouble;
mod wish;

use crate::{
    bed::{self, Bed},
    picture,
    replica::Replica,
    scale::wide_subnets,
    world::add_strangers,
};
use albacore::reconcile::CONFIRM_DELETION;
use albacore_aws::{Double, Options, call::Service, journal::Entry};
use fastrand::Rng;
use judge::Judge;
use serde_json::{Value, json};
use staff::Staff;
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::{
    runtime::{Builder, RngSeed},
    task::{JoinHandle, LocalSet, spawn_local},
};
use tracing::subscriber::NoSubscriber;
use wish::Wishes;

/// Longer than a load balancer that was replaced lingers.
const REST: Duration = Duration::from_secs(400);
/// How long AWS takes for what takes time, as little as tests need.
const SHORT: Duration = Duration::from_secs(20);

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// What was done and what went wrong, in order.
    pub story: String,
    /// Every call to AWS.
    pub journal: Vec<Entry>,
    /// What should not be.
    pub broken: Option<String>,
}

/// How a seed is run alone.
pub fn alone(seed: u64) -> String {
    format!("make simulate FROM={seed} SEEDS=1 VERBOSE=1")
}

/// Runs a seed; it depends on nothing else. A panic, of the controller or of the simulation, is what should not be.
pub fn run(seed: u64) -> Outcome {
    let (ran, panics) = panics::of(|| run_unguarded(seed));
    let mut outcome = ran.unwrap_or_else(|| Outcome {
        story: String::new(),
        journal: Vec::new(),
        broken: None,
    });
    outcome.broken = panics.into_iter().next().or(outcome.broken);
    outcome
}

fn run_unguarded(seed: u64) -> Outcome {
    // Where nobody ever listened, `tracing` offers every span to `log`, and the AWS SDK draws a number for each of them: with
    // a listener who wants nothing, a seed does the same whether it is told or not.
    drop(tracing::subscriber::set_default(NoSubscriber::new()));
    // What libraries draw (jitter of a watch's back-off).
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, simulate(seed))
}

async fn simulate(seed: u64) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let bed = empty(Options {
        seed,
        throttling: rng.bool(),
        ..Options::default()
    })
    .await;
    let lag = [0, 0, 2, 15][rng.usize(..4)];
    bed.double
        .configure(|options| options.stale_reads = Duration::from_secs(lag));
    let strangers = picture::strangers(&bed.double);
    bed.double.clear_journal();
    let wishes = Rc::new(RefCell::new(Wishes::begin(&mut rng)));
    let mut staff = Staff::hire(&bed);
    let judging = watch(bed.double.clone(), Rc::clone(&wishes));
    let mut story = format!(
        "reads lag {lag} s, throttling {}\n",
        bed.double.world().options.throttling
    );
    let calm = rng.u8(2..10);
    for _ in 0..rng.usize(8..30) {
        let said = if rng.u8(..10) < calm {
            wishes.borrow_mut().change(&mut rng, &bed)
        } else {
            trouble::strike(&mut rng, &bed, &mut staff).await
        };
        // Mostly at once, sometimes when everything had time.
        let time = Duration::from_millis(match rng.u8(..6) {
            0..3 => rng.u64(..1_500),
            3..5 => rng.u64(..20_000),
            _ => rng.u64(..300_000),
        });
        story += &format!("{said}; {time:?} pass\n");
        staff.work(&mut rng, &bed, time).await;
    }
    bed.double.clear_faults();
    bed.double.neighbour(Service::Elbv2, "account", 0.0);
    bed.api.clear_faults();
    staff.connect();
    staff.work(&mut rng, &bed, REST).await;
    let mut broken = end(&mut rng, &bed, &wishes, &mut staff).await.err();
    if broken.is_none() && judging.is_finished() {
        broken = judging.await.ok();
    } else {
        judging.abort();
    }
    let wishes = wishes.borrow().clone();
    let broken = match broken {
        None => compare(&bed, &wishes, seed).await,
        broken => broken,
    };
    let touched =
        (picture::strangers(&bed.double) != strangers).then(|| "somebody else's resources were touched".to_owned());
    Outcome {
        story,
        journal: bed.double.journal(),
        broken: broken.or(touched),
    }
}

async fn empty(options: Options) -> Bed {
    let bed = Bed::new(Options {
        provisioning: SHORT,
        interface_linger: SHORT,
        throttling: false,
        ..options.clone()
    })
    .await;
    add_strangers(&bed.double, &bed.world).await.expect("strangers");
    wide_subnets(&bed).await.expect("subnets, with the pods' addresses");
    bed.double.configure(|now| now.throttling = options.throttling);
    bed
}

/// Judges whatever happens in AWS; ends with what should not be.
fn watch(double: Double, wishes: Rc<RefCell<Wishes>>) -> JoinHandle<String> {
    let mut changed = double.changed();
    let mut judge = Judge::new(wishes.borrow().replaces());
    spawn_local(async move {
        loop {
            if let Err(broken) = judge.look(&double, &wishes.borrow()) {
                return broken;
            }
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                // Wishes change without AWS.
                () = tokio::time::sleep(Duration::from_millis(50)) => judge.note(&wishes.borrow()),
            }
        }
    })
}

/// Everything comes to rest: what is there, what was lost, new processes.
async fn end(rng: &mut Rng, bed: &Bed, wishes: &RefCell<Wishes>, staff: &mut Staff) -> Result<(), String> {
    rest(bed).await?;
    release(bed).await?;
    let lost = with_problem(bed, LOST);
    if let Some(object) = lost.iter().find(|object| !wishes.borrow().is_lost(group_of(object))) {
        return Err(format!("{object} is reported as lost, and was not"));
    }
    wishes.borrow_mut().confirm_losses();
    for mut object in lost {
        object["metadata"]["annotations"] = json!({CONFIRM_DELETION: "true"});
        bed.apply(object);
    }
    rest(bed).await?;
    let calls = bed.double.calls();
    staff.replace_all(bed).await;
    staff.work(rng, bed, REST).await;
    rest(bed).await?;
    let asked = bed.double.journal_after(calls);
    if !asked.is_empty() {
        let told: Vec<String> = asked.iter().map(bed::told).collect();
        return Err(format!("a restart asks: {told:#?}"));
    }
    Ok(())
}

/// Said of a group that has no member any more, and nobody saw why.
const LOST: &str = "nobody saw one being deleted";
/// Said of a group of which much vanished.
const HELD: &str = "What they have in AWS stays";

/// The LoadBalancer objects that say so.
fn with_problem(bed: &Bed, text: &str) -> Vec<Value> {
    let mut objects = bed.list("albacore.dev/v1alpha1", "LoadBalancer");
    objects.retain(|object| object["status"]["problems"].to_string().contains(text));
    objects
}

/// Somebody confirms whatever is held, until nothing is.
async fn release(bed: &Bed) -> Result<(), String> {
    for _ in 0..8 {
        let held = with_problem(bed, HELD);
        if held.is_empty() {
            return Ok(());
        }
        for annotations in [json!({}), json!({CONFIRM_DELETION: "true"}), json!({})] {
            for object in &held {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                // Its group may be gone by now.
                if let Some(mut object) = bed.get("albacore.dev/v1alpha1", "LoadBalancer", "", name) {
                    object["metadata"]["annotations"] = annotations.clone();
                    bed.apply(object);
                }
            }
            rest(bed).await?;
        }
    }
    Err("deletions are held though they are confirmed".to_owned())
}

fn group_of(load_balancer: &Value) -> &str {
    load_balancer["spec"]["group"].as_str().unwrap_or_default()
}

/// Waits until nothing happens any more.
///
/// # Errors
/// When that takes for ever.
async fn rest(bed: &Bed) -> Result<(), String> {
    let state = || (bed.double.calls(), objects(bed));
    for _ in 0..30 {
        let before = state();
        tokio::time::sleep(REST).await;
        if state() == before {
            return Ok(());
        }
    }
    Err("it never comes to rest".to_owned())
}

/// What is in Kubernetes, but for what changes by the clock.
fn objects(bed: &Bed) -> Vec<Value> {
    let kinds = [
        ("networking.k8s.io/v1", "Ingress"),
        ("elbv2.k8s.aws/v1beta1", "TargetGroupBinding"),
    ];
    kinds.iter().flat_map(|(api, kind)| bed.list(api, kind)).collect()
}

/// How it differs from what a fresh controller builds.
async fn compare(bed: &Bed, wishes: &Wishes, seed: u64) -> Option<String> {
    let fresh = empty(Options {
        seed,
        throttling: false,
        ..Options::default()
    })
    .await;
    wishes.apply_all(&fresh);
    let controller = Replica::contend(&fresh, "fresh");
    if let Err(broken) = rest(&fresh).await {
        return Some(format!("a fresh controller: {broken}"));
    }
    controller.crash().await;
    let difference = picture::difference(&picture::of(&fresh), &picture::of(bed));
    if !difference.is_empty() {
        return Some(difference.join("\n"));
    }
    None
}
