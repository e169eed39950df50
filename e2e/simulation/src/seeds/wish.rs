//! What users wish, drawn at random: Ingresses of a few groups, the Services, pods and nodes behind them.

use crate::{
    bed::Bed,
    objects::{self, Ingress},
};
use albacore::model::{GroupKey, ObjectKey};
use fastrand::Rng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Services that may be there.
const SERVICES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Pods that may be behind each of them.
const PODS: usize = 3;
/// Ingresses that may be there.
const MEMBERS: usize = 6;
/// Groups they may belong to; an Ingress without one is a group of its own.
const GROUPS: [Option<&str>; 3] = [Some("red"), Some("blue"), None];
/// What the load balancer of a group is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shared {
    public: bool,
    ports: usize,
    idle: Option<u32>,
    narrow: bool,
    tag: Option<u32>,
}

/// An Ingress.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    group: Option<&'static str>,
    host: usize,
    paths: BTreeMap<usize, &'static str>,
    check: usize,
    /// Whether its targets are pods.
    ip: bool,
    /// What it asks for when it is a group of its own.
    own: Shared,
}

/// Everything users wish.
#[derive(Clone, Debug)]
pub struct Wishes {
    members: BTreeMap<String, Member>,
    groups: BTreeMap<&'static str, Shared>,
    services: BTreeMap<&'static str, u16>,
    /// By Service, whether that is there or not.
    pods: BTreeMap<&'static str, BTreeSet<usize>>,
    nodes: BTreeSet<usize>,
    /// Stacks whose last member vanished without anybody seeing it, and the backends it had.
    lost: BTreeMap<String, BTreeSet<String>>,
    /// Stacks whose last member was deleted before anybody had put a finalizer on it: that may go unseen. What the stack
    /// has is that of an earlier member.
    unclaimed: BTreeSet<String>,
    /// Stacks of which another member vanished without anybody seeing it: what it had may be held, also when the last one goes.
    held: BTreeSet<String>,
    /// Whether wishes may come that take another load balancer or target group.
    replaces: bool,
}

const PORTS: [&str; 3] = [
    r#"[{"HTTP": 80}]"#,
    r#"[{"HTTP": 8080}]"#,
    r#"[{"HTTP": 80}, {"HTTP": 8080}]"#,
];
const INGRESS: (&str, &str) = ("networking.k8s.io/v1", "Ingress");
const SLICE: (&str, &str) = ("discovery.k8s.io/v1", "EndpointSlice");
const CHECKS: [&str; 3] = ["/", "/healthz", "/ready"];

impl Shared {
    fn draw(rng: &mut Rng, public: bool) -> Self {
        Self {
            public,
            ports: rng.usize(..PORTS.len()),
            idle: rng.bool().then(|| rng.u32(60..64)),
            narrow: rng.bool(),
            tag: rng.bool().then(|| rng.u32(..3)),
        }
    }

    fn on(&self, ingress: Ingress) -> Ingress {
        let mut ingress = ingress
            .annotated("listen-ports", PORTS[self.ports])
            .annotated("scheme", if self.public { "internet-facing" } else { "internal" });
        if let Some(seconds) = self.idle {
            let value = format!("idle_timeout.timeout_seconds={seconds}");
            ingress = ingress.annotated("load-balancer-attributes", &value);
        }
        if self.narrow {
            ingress = ingress.annotated("inbound-cidrs", "10.0.0.0/8");
        }
        if let Some(tag) = self.tag {
            ingress = ingress.annotated("tags", &format!("team=t{tag}"));
        }
        ingress
    }
}

impl Wishes {
    /// What is there in the beginning: Services and nodes, no Ingress.
    pub fn begin(rng: &mut Rng) -> Self {
        let groups = GROUPS.into_iter().flatten().map(|name| (name, Shared::default()));
        Self {
            members: BTreeMap::new(),
            groups: groups.collect(),
            services: SERVICES.into_iter().zip(30001..).collect(),
            pods: SERVICES.into_iter().map(|name| (name, BTreeSet::new())).collect(),
            nodes: (0..3).collect(),
            lost: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
            held: BTreeSet::new(),
            replaces: rng.u8(..4) == 0,
        }
    }

    /// Whether wishes may come that take another load balancer or target group.
    pub fn replaces(&self) -> bool {
        self.replaces
    }

    /// Changes something, in the wishes and in the cluster; says what.
    pub fn change(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        match rng.u8(..24) {
            0..8 => self.write_member(rng, bed),
            8..12 => self.delete_member(rng, bed),
            12..14 => self.write_group(rng, bed),
            14..16 => self.change_service(rng, bed),
            16..20 => self.change_pods(rng, bed),
            20..22 => self.change_nodes(rng, bed),
            22 => self.lose_member(rng, bed),
            _ => self.delete_all(bed),
        }
    }

    fn write_member(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let name = format!("m{}", rng.usize(..MEMBERS));
        if is_going(bed, &name) {
            return format!("{name} is still being deleted");
        }
        let before = self.members.get(&name);
        let public = before.is_some_and(|member| member.own.public) ^ (self.replaces && rng.u8(..4) == 0);
        let own = match before {
            Some(member) if rng.bool() => member.own.clone(),
            _ => Shared::draw(rng, public),
        };
        let group = match before {
            Some(member) if rng.u8(..3) > 0 => member.group,
            _ => GROUPS[rng.usize(..GROUPS.len())],
        };
        // Another target type is another target group.
        let ip = match before {
            Some(member) => member.ip ^ (self.replaces && rng.u8(..4) == 0),
            None => name.as_bytes()[1] % 2 == 0,
        };
        let mut paths = BTreeMap::new();
        for _ in 0..rng.usize(1..4) {
            paths.insert(rng.usize(..5), SERVICES[rng.usize(..SERVICES.len())]);
        }
        let member = Member {
            group,
            host: rng.usize(..2),
            paths,
            check: rng.usize(..CHECKS.len()),
            ip,
            own,
        };
        let said = format!("{name} becomes {member:?}");
        if self.lost.remove(&member.stack(&name)).is_some() {
            self.held.insert(member.stack(&name));
        }
        self.unclaimed.remove(&member.stack(&name));
        self.members.insert(name.clone(), member);
        bed.apply(self.render(&name));
        said
    }

    fn delete_member(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let Some(name) = self.any_member(rng) else {
            return "nothing to delete".to_owned();
        };
        self.end_member(&name, bed);
        format!("{name} is deleted")
    }

    fn end_member(&mut self, name: &str, bed: &Bed) {
        let Some(member) = self.members.remove(name) else {
            return;
        };
        let stack = member.stack(name);
        let is_last = self.members.iter().all(|(name, other)| other.stack(name) != stack);
        if is_last && finalizers(bed, name).is_empty() {
            self.unclaimed.insert(stack);
        }
        bed.delete_ingress("shop", name);
    }

    /// An Ingress vanishes unseen.
    fn lose_member(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let Some(name) = self.any_member(rng) else {
            return "nothing to lose".to_owned();
        };
        let group = self.members[&name].group_key(&name);
        let stack = group.stack();
        let all_stay = (0..MEMBERS).all(|number| !is_going(bed, &format!("m{number}")));
        if !all_stay || !stands_only_in(bed, &name, &group) {
            return format!("{name} is not lost while something is on its way out of a group");
        }
        bed.lose_ingress("shop", &name);
        let mut backends = self.needed().remove(&stack).unwrap_or_default();
        self.members.remove(&name);
        if self.members.iter().all(|(name, member)| member.stack(name) != stack) {
            backends.retain(|backend| backend.starts_with(&format!("shop/{name}-")));
            self.lost.insert(stack, backends);
        } else {
            self.held.insert(stack);
        }
        format!("{name} vanishes and nobody sees it")
    }

    fn any_member(&self, rng: &mut Rng) -> Option<String> {
        let names: Vec<&String> = self.members.keys().collect();
        (!names.is_empty()).then(|| names[rng.usize(..names.len())].clone())
    }

    fn delete_all(&mut self, bed: &Bed) -> String {
        let names: Vec<String> = self.members.keys().cloned().collect();
        names.iter().for_each(|name| self.end_member(name, bed));
        "all are deleted".to_owned()
    }

    fn write_group(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let name = GROUPS[rng.usize(..2)].unwrap_or_default();
        let public = self.groups[name].public ^ (self.replaces && rng.bool());
        self.groups.insert(name, Shared::draw(rng, public));
        for member in self.members.keys() {
            if self.members[member].group == Some(name) {
                bed.apply(self.render(member));
            }
        }
        format!("group {name} becomes {:?}", self.groups[name])
    }

    fn change_service(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let name = SERVICES[rng.usize(..SERVICES.len())];
        if self.services.remove(name).is_some() && rng.bool() {
            bed.delete("v1", "Service", "shop", name);
            self.write_endpoints(name, bed);
            return format!("Service {name} is deleted");
        }
        let port = rng.u16(30001..30100);
        if self.services.values().any(|&taken| taken == port) {
            self.services.insert(name, 31000 + port);
        } else {
            self.services.insert(name, port);
        }
        bed.apply(objects::service("shop", name, self.services[name]));
        self.write_endpoints(name, bed);
        format!("Service {name} has node port {}", self.services[name])
    }

    fn change_pods(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let name = SERVICES[rng.usize(..SERVICES.len())];
        let pods = (0..PODS).filter(|_| rng.bool()).collect();
        let gone: Vec<usize> = self.pods[name].difference(&pods).copied().collect();
        self.pods.insert(name, pods);
        self.write_endpoints(name, bed);
        for pod in gone {
            let object = pod_of(bed, name, pod);
            bed.delete(
                "v1",
                "Pod",
                "shop",
                object["metadata"]["name"].as_str().unwrap_or_default(),
            );
        }
        format!("Service {name} has pods {:?}", self.pods[name])
    }

    /// The pods of a Service and, as long as that is there, its EndpointSlice.
    fn write_endpoints(&self, name: &str, bed: &Bed) {
        let pods: Vec<Value> = self.pods[name].iter().map(|&pod| pod_of(bed, name, pod)).collect();
        let slice = objects::endpoint_slice("shop", name, &pods);
        pods.into_iter().for_each(|pod| bed.apply(pod));
        let slice_name = slice["metadata"]["name"].as_str().unwrap_or_default();
        let (api_version, kind) = SLICE;
        if self.services.contains_key(name) {
            bed.apply(slice);
        } else if bed.get(api_version, kind, "shop", slice_name).is_some() {
            bed.delete(api_version, kind, "shop", slice_name);
        }
    }

    fn change_nodes(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let node = rng.usize(..3);
        let object = &objects::nodes(&bed.world)[node];
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if self.nodes.remove(&node) {
            bed.delete("v1", "Node", "", name);
            return format!("{name} leaves");
        }
        self.nodes.insert(node);
        bed.apply(object.clone());
        format!("{name} comes back")
    }

    fn render(&self, name: &str) -> Value {
        let member = &self.members[name];
        let order = name.trim_start_matches('m');
        let mut ingress = Ingress::new("shop", name)
            .annotated("healthcheck-path", CHECKS[member.check])
            .annotated("target-type", if member.ip { "ip" } else { "instance" });
        ingress = match member.group {
            Some(group) => {
                self.groups[group].on(ingress.annotated("group.name", group).annotated("group.order", order))
            }
            None => member.own.on(ingress),
        };
        let paths: Vec<(String, &str)> = member
            .paths
            .iter()
            .map(|(n, service)| (format!("/{order}/{n}"), *service))
            .collect();
        let paths: Vec<(&str, &str)> = paths.iter().map(|(path, service)| (path.as_str(), *service)).collect();
        ingress.host(["", "shop.example.com"][member.host], &paths).object()
    }

    /// Creates everything at once in a fresh cluster.
    pub fn apply_all(&self, bed: &Bed) {
        for service in SERVICES {
            match self.services.get(service) {
                Some(&port) => bed.apply(objects::service("shop", service, port)),
                None => bed.delete("v1", "Service", "shop", service),
            }
            self.write_endpoints(service, bed);
        }
        for (node, object) in objects::nodes(&bed.world).iter().enumerate() {
            if !self.nodes.contains(&node) {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                bed.delete("v1", "Node", "", name);
            }
        }
        for name in self.members.keys() {
            bed.apply(self.render(name));
        }
    }

    /// The stacks (values of the tag `ingress.k8s.aws/stack`) that have a member or lost it unseen, and the backends each
    /// of them needs target groups for.
    pub fn needed(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut needed = self.lost.clone();
        for (name, member) in &self.members {
            let backends = member
                .paths
                .values()
                .filter(|service| self.services.contains_key(*service));
            let resources = backends.map(|service| format!("shop/{name}-{service}:80"));
            needed.entry(member.stack(name)).or_default().extend(resources);
        }
        needed
    }

    /// Whether a stack may have lost its last member unseen.
    pub fn is_lost(&self, stack: &str) -> bool {
        self.lost.contains_key(stack) || self.unclaimed.contains(stack) || self.held.contains(stack)
    }

    /// What was lost is to go, users say.
    pub fn confirm_losses(&mut self) {
        self.lost.clear();
        self.unclaimed.clear();
        self.held.clear();
    }
}

impl Member {
    fn group_key(&self, name: &str) -> GroupKey {
        let alone = || GroupKey::Implicit(ObjectKey::new("shop", name));
        self.group
            .map_or_else(alone, |group| GroupKey::Explicit(group.to_owned()))
    }

    /// The value of the tag `ingress.k8s.aws/stack` on its resources.
    fn stack(&self, name: &str) -> String {
        self.group_key(name).stack()
    }
}

fn pod_of(bed: &Bed, service: &str, number: usize) -> Value {
    let place = SERVICES.iter().position(|name| *name == service).unwrap_or_default();
    objects::pod(&bed.world, "shop", service, place * PODS + number)
}

/// Whether an Ingress carries no other group's finalizer than this one's.
fn stands_only_in(bed: &Bed, name: &str, group: &GroupKey) -> bool {
    let finalizer = group.finalizer();
    finalizers(bed, name).iter().all(|one| *one == *finalizer)
}

fn finalizers(bed: &Bed, name: &str) -> Vec<Value> {
    let object = bed.get(INGRESS.0, INGRESS.1, "shop", name).unwrap_or_default();
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.cloned().unwrap_or_default()
}

/// Whether an Ingress is there and being deleted: it cannot be written again before it is gone.
fn is_going(bed: &Bed, name: &str) -> bool {
    bed.get(INGRESS.0, INGRESS.1, "shop", name)
        .is_some_and(|object| object["metadata"]["deletionTimestamp"].is_string())
}
