//! Pods that come and go behind target groups of type `ip`: what a rollout costs, and how long a pod waits.

use crate::{
    bed::{Bed, Calls},
    figures::{Figures, Most, Writes, bound},
    objects::{self, Ingress},
    scale::Scale,
};
use albacore_aws::call::Service;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::sleep;

/// Namespace of every rollout.
const TEAM: &str = "rollouts";
/// How long a pod may wait for its registration, whatever else is done.
pub const SOON: Duration = Duration::from_secs(2);

/// A Deployment behind a target group of its own.
#[derive(Debug)]
pub struct Rollout {
    service: String,
    pods: BTreeSet<usize>,
    next: usize,
    /// Addresses of pods, and when each was ready.
    came: Vec<(String, Timestamp)>,
    /// The readiness gate of pods that come.
    gate: Option<String>,
    /// Pods whose gate is open, and when it was seen to be.
    opened: BTreeMap<usize, Timestamp>,
}

impl Rollout {
    /// Deployments with so many pods each, behind one load balancer, numbered from `first` on among all pods.
    pub async fn start(scale: &Scale, deployments: usize, pods: usize) -> Vec<Self> {
        let bed = &scale.bed;
        bed.apply(objects::namespace(TEAM));
        let mut all: Vec<Self> = (0..deployments)
            .map(|n| Self {
                service: format!("rolled-{n}"),
                pods: BTreeSet::new(),
                next: n * 4 * pods,
                came: Vec::new(),
                gate: None,
                opened: BTreeMap::new(),
            })
            .collect();
        for (rollout, port) in all.iter_mut().zip(20_000..) {
            bed.apply(objects::service(TEAM, &rollout.service, port));
            rollout.come(bed, pods);
        }
        let paths: Vec<(String, &str)> = all
            .iter()
            .map(|r| (format!("/{}", r.service), r.service.as_str()))
            .collect();
        let paths: Vec<(&str, &str)> = paths.iter().map(|(path, service)| (path.as_str(), *service)).collect();
        let ingress = Ingress::new(TEAM, "rolled")
            .annotated("target-type", "ip")
            .annotated("subnets", "wide-a,wide-b,wide-c")
            .host("rolled.example.com", &paths);
        bed.apply(ingress.object());
        bed.settle().await;
        bed.take_calls();
        all.iter_mut().for_each(|rollout| rollout.came.clear());
        all
    }

    fn pod(&self, bed: &Bed, number: usize) -> Value {
        objects::pod(&bed.world, TEAM, &self.service, number)
    }

    /// From now on pods come with a readiness gate, as the webhook gives them one.
    pub fn with_gates(&mut self, bed: &Bed) {
        let bindings = bed.list("elbv2.k8s.aws/v1beta1", "TargetGroupBinding");
        let mut of_service = bindings
            .iter()
            .filter(|binding| binding["spec"]["serviceRef"]["name"] == self.service);
        let name = of_service
            .next()
            .and_then(|binding| binding["metadata"]["name"].as_str());
        self.gate = name.map(|name| format!("target-health.elbv2.k8s.aws/{name}"));
    }

    /// Plays kubelet and EndpointSlice controller: pods whose gate was opened are ready. Says whether all are.
    pub fn look(&mut self, bed: &Bed) -> bool {
        let Some(gate) = self.gate.clone() else {
            return true;
        };
        let before = self.opened.len();
        let shut = |number: &&usize| !self.opened.contains_key(number);
        let waiting: Vec<usize> = self.pods.iter().filter(shut).copied().collect();
        for number in waiting {
            let name = self.pod(bed, number)["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let pod = bed.get("v1", "Pod", TEAM, &name).unwrap_or_default();
            let gated = pod["spec"]["readinessGates"].is_array();
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            if !gated || conditions.any(|condition| condition["type"] == gate && condition["status"] == "True") {
                self.opened.insert(number, bed.double.now());
            }
        }
        if self.opened.len() != before {
            self.write(bed);
        }
        self.pods.iter().all(|number| self.opened.contains_key(number))
    }

    /// Seconds from the moment at which AWS takes a pod for healthy to the one at which its gate is open.
    pub fn gate_waits(&self, bed: &Bed, healthy_after: Duration) -> Vec<f64> {
        let world = bed.double.world();
        let groups: Vec<_> = world
            .regions
            .values()
            .flat_map(|region| region.elbv2.target_groups.values())
            .collect();
        let wait = |(number, opened): (&usize, &Timestamp)| {
            let pod = self.pod(bed, *number);
            let address = pod["status"]["podIP"].as_str()?;
            self.came.iter().find(|(came, _)| came == address)?;
            let mut targets = groups
                .iter()
                .flat_map(|group| &group.targets)
                .filter(|(key, _)| key.id == address);
            let registered = targets.next()?.1.registered;
            Some(opened.duration_since(registered).as_secs_f64() - healthy_after.as_secs_f64())
        };
        self.opened.iter().filter_map(wait).collect()
    }

    /// So many pods become ready at once.
    pub fn come(&mut self, bed: &Bed, count: usize) {
        for number in self.next..self.next + count {
            let mut pod = self.pod(bed, number);
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            self.came.push((address.to_owned(), bed.double.now()));
            if let Some(gate) = &self.gate {
                pod["spec"]["readinessGates"] = json!([{ "conditionType": gate }]);
            }
            bed.apply(pod);
            self.pods.insert(number);
        }
        self.next += count;
        self.write(bed);
    }

    /// The oldest pods go at once.
    pub fn go(&mut self, bed: &Bed, count: usize) {
        let gone: Vec<usize> = self.pods.iter().copied().take(count).collect();
        self.pods.retain(|number| !gone.contains(number));
        self.opened.retain(|number, _| !gone.contains(number));
        self.write(bed);
        for number in gone {
            let pod = self.pod(bed, number);
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            bed.delete("v1", "Pod", TEAM, name);
        }
    }

    fn write(&self, bed: &Bed) {
        let pods: Vec<Value> = self.pods.iter().map(|&number| self.pod(bed, number)).collect();
        let mut slice = objects::endpoint_slice(TEAM, &self.service, &pods);
        if self.gate.is_some() {
            let endpoints = slice["endpoints"].as_array_mut().into_iter().flatten();
            for (endpoint, number) in endpoints.zip(&self.pods) {
                endpoint["conditions"]["ready"] = self.opened.contains_key(number).into();
            }
        }
        bed.apply(slice);
    }

    /// Whether AWS has its pods and no others.
    pub fn is_done(&self, bed: &Bed) -> bool {
        let wanted: BTreeSet<String> = self
            .pods
            .iter()
            .filter_map(|&number| Some(self.pod(bed, number)["status"]["podIP"].as_str()?.to_owned()))
            .collect();
        let world = bed.double.world();
        let mut groups = world
            .regions
            .values()
            .flat_map(|region| region.elbv2.target_groups.values());
        groups.any(|group| {
            let there = group.targets.iter().filter(|(_, target)| target.deregistered.is_none());
            there.map(|(key, _)| key.id.clone()).collect::<BTreeSet<_>>() == wanted
        })
    }

    /// Seconds that each pod waited for its registration.
    fn waits(&self, calls: &Calls) -> Vec<f64> {
        let registered = |address: &str| {
            let registers = calls
                .0
                .iter()
                .filter(|call| call.operation == "RegisterTargets" && call.applied);
            let mut with = registers.filter(|call| call.params.to_string().contains(&format!("\"{address}\"")));
            with.next().map(|call| call.time)
        };
        let wait = |(address, at): &(String, Timestamp)| {
            registered(address).map_or(f64::INFINITY, |then| then.duration_since(*at).as_secs_f64())
        };
        self.came.iter().map(wait).collect()
    }
}

/// How long all but one in a hundred pods waited at most.
pub fn p99(rollouts: &[Rollout], calls: &Calls) -> f64 {
    percentile(rollouts.iter().flat_map(|rollout| rollout.waits(calls)).collect())
}

/// What all but one in a hundred are at most.
pub fn percentile(mut waits: Vec<f64>) -> f64 {
    waits.sort_by(f64::total_cmp);
    let at = (waits.len() * 99).div_ceil(100).saturating_sub(1);
    waits.get(at).copied().unwrap_or(f64::INFINITY)
}

/// What the rollout of a hundred pods cost, of which each was to be registered soon, and which may take so many calls.
/// ALBC registers, deregisters and asks twice for each pod, and asks every quarter of a minute.
fn of_a_hundred(how: &str, bed: &Bed, rollouts: &[Rollout], allowed: usize, took: Duration) -> Figures {
    let most = Most {
        calls: 1.0,
        ratio: 1.0,
        throttled: 0.0,
    };
    let calls = bed.take_calls();
    let name = format!("100 pods {how} (p99 of a pod's wait)");
    let figures = Figures::of(name, &calls, p99(rollouts, &calls), SOON.as_secs_f64(), most);
    let albc = 2 * 100 + 2 * 100 + took.as_secs() as usize / 15;
    figures.needing(allowed).beside(albc, "formula")
}

/// A hundred pods are replaced in ten waves of ten: figures are of the wait of a pod.
pub async fn in_waves() -> Figures {
    let scale = Scale::new(0).await;
    let bed = &scale.bed;
    let mut rollouts = Rollout::start(&scale, 1, 100).await;
    for _ in 0..10 {
        for _ in 0..10 {
            rollouts[0].come(bed, 1);
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(15)).await;
        rollouts[0].go(bed, 10);
        sleep(Duration::from_secs(15)).await;
    }
    of_a_hundred("in ten waves", bed, &rollouts, 60, Duration::from_secs(300))
}

/// A hundred pods are replaced one by one in ten minutes.
pub async fn one_by_one() -> Figures {
    let scale = Scale::new(0).await;
    let bed = &scale.bed;
    let mut rollouts = Rollout::start(&scale, 1, 100).await;
    for _ in 0..100 {
        rollouts[0].come(bed, 1);
        sleep(Duration::from_secs(3)).await;
        rollouts[0].go(bed, 1);
        sleep(Duration::from_secs(3)).await;
    }
    of_a_hundred("one by one", bed, &rollouts, 240, Duration::from_secs(600))
}

/// Three hundred pods in twenty target groups are replaced at once. The bound is that of AWS' buckets; at the budget's
/// ceiling, 19 calls at once and 3.8 a second, it takes a tenth longer.
pub async fn everywhere() -> Figures {
    let scale = Scale::new(0).await;
    let bed = &scale.bed;
    let mut rollouts = Rollout::start(&scale, 20, 15).await;
    let began = tokio::time::Instant::now();
    for rollout in &mut rollouts {
        rollout.come(bed, 15);
        rollout.go(bed, 15);
    }
    while !rollouts.iter().all(|rollout| rollout.is_done(bed)) {
        sleep(Duration::from_millis(20)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let needed = Writes::from([
        ((Service::Elbv2, "RegisterTargets"), 20),
        ((Service::Elbv2, "DeregisterTargets"), 20),
    ]);
    let most = Most {
        calls: 1.15,
        ratio: 1.12,
        throttled: 0.0,
    };
    let calls = bed.take_calls();
    let figures = Figures::of(
        "300 pods in 20 target groups at once",
        &calls,
        seconds,
        bound(&needed),
        most,
    );
    figures.needing(needed.values().sum()).beside(20 * 4, "formula")
}
