//! Many groups at once under the buckets that AWS documents: what they cost, how long they take, and how long they must
//! take because of the buckets alone.

use crate::{
    api::Resource,
    bed::{Bed, QUIET, STEP},
    figures::{ANYTHING, Figures, Most, Writes, bound},
    objects::{self, Ingress},
    world::{REGION, sdk_config},
};
use albacore_aws::{Options, call::Service, world::ACCOUNT};
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Services of a group, each with a path of its own.
pub const SERVICES: usize = 5;
/// Subnets of all load balancers: names, zones, addresses. Pods get theirs from what is free there from
/// [`objects::pod`]'s first one on.
const SUBNETS: [(&str, &str, &str); 3] = [
    ("wide-a", "a", "10.0.128.0/19"),
    ("wide-b", "b", "10.0.160.0/19"),
    ("wide-c", "c", "10.0.192.0/18"),
];
/// Namespaces that the groups are spread over.
const TEAMS: usize = 10;
/// How often the world is looked at while something is waited for; an error of every time measured.
const LOOK: Duration = Duration::from_millis(250);
/// How long anything may take that is measured.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// A cluster of many groups.
pub struct Scale {
    /// Everything.
    pub bed: Bed,
    groups: usize,
}

impl Scale {
    /// An empty cluster, for this many groups, with a controller.
    pub async fn new(groups: usize) -> Self {
        Self::begin(groups, false).await
    }

    /// The same; `audits` where the controller looks for what somebody else changed.
    pub async fn begin(groups: usize, audits: bool) -> Self {
        let mut bed = Bed::new(Options::default()).await;
        bed.audits = audits;
        raise_quotas(&bed);
        wide_subnets(&bed).await.expect("subnets");
        for group in 0..groups.min(TEAMS) {
            bed.apply(objects::namespace(&team(group)));
        }
        bed.start();
        bed.settle().await;
        bed.take_calls();
        Self { bed, groups }
    }

    /// Creates all groups at once.
    pub async fn create(&self) -> Figures {
        let groups = 0..self.groups;
        let most = Most {
            calls: 1.15,
            ratio: 1.1,
            throttled: 0.0,
        };
        let figures = self.measure("create", &writes(self.groups, true), most, || {
            groups.clone().for_each(|group| self.add(group));
        });
        let figures = figures.until(|bed| served(bed) == self.groups).await;
        self.beside(figures, 2276, (45, "scaled"))
    }

    /// Replaces the controller's process; then once more, and asks for one more group at the same moment.
    pub async fn restart(&mut self) -> [Figures; 2] {
        self.bed.stop().await;
        self.bed.take_calls();
        let began = Instant::now();
        self.bed.start();
        self.bed.settle().await;
        let seconds = (began.elapsed() - QUIET).as_secs_f64();
        let calls = self.bed.take_calls();
        let most = Most {
            calls: 1.0,
            ratio: 2.0,
            throttled: 0.0,
        };
        // Nothing has to be done; the bound is how soon that is noticed.
        let name = format!("restart with {} groups", self.groups);
        let restart = Figures::of(name, &calls, seconds, STEP.as_secs_f64(), most);
        let restart = self.beside(restart, 964, (15, "formula"));
        let (more, alone) = (self.groups, alone().await);
        self.bed.stop().await;
        self.bed.start();
        // What its subnets and the like are is looked up; it waits for nobody.
        let most = Most {
            calls: 1.3,
            ratio: 1.5,
            throttled: 0.0,
        };
        let mut new = self.measure("a new Ingress at the restart of", &writes(1, false), most, || {
            self.add(more);
        });
        new.bound = alone.seconds;
        let new = new.until(|bed| served(bed) == more + 1).await;
        self.remove(more);
        self.bed.settle().await;
        self.bed.take_calls();
        [restart, new]
    }

    /// Deletes all groups at once.
    pub async fn delete(&self) -> Figures {
        let most = Most {
            calls: 1.1,
            ratio: 1.1,
            throttled: 0.0,
        };
        let mut figures = self.measure("delete", &deletes(self.groups), most, || {
            (0..self.groups).for_each(|group| self.remove(group));
        });
        // A security group goes when the network interfaces of its load balancer are gone.
        let load_balancers = Writes::from([((Service::Elbv2, "DeleteLoadBalancer"), self.groups)]);
        let linger = self.bed.double.world().options.interface_linger;
        figures.bound = figures.bound.max(bound(&load_balancers) + linger.as_secs_f64());
        let gone = |bed: &Bed| {
            bed.holds() == (0, 0, 0, 0)
                && bed.list("networking.k8s.io/v1", "Ingress").is_empty()
                && bed.security_groups().is_empty()
        };
        let figures = figures.until(gone).await;
        self.beside(figures, 1054, (21, "formula"))
    }

    /// What ALBC calls beside it: measured with 50 groups; for other numbers by what it calls for each.
    fn beside(&self, figures: Figures, of_fifty: usize, (of_each, known): (usize, &'static str)) -> Figures {
        match self.groups {
            50 => figures.beside(of_fifty, "measured"),
            groups => figures.beside(of_each * groups, known),
        }
    }

    /// Adds a group with its Services.
    pub fn add(&self, group: usize) {
        self.add_in(&team(group), group, group);
    }

    /// Adds a group with its Services in a namespace; `block` is that of its node ports, five each.
    pub fn add_in(&self, namespace: &str, group: usize, block: usize) {
        add_services(&self.bed, namespace, group, block);
        let ingress = ingress(namespace, group, &services(group));
        self.bed.apply(https(&self.bed, ingress).object());
    }

    /// Waits until all groups are served.
    pub async fn until_served(&self) {
        while served(&self.bed) < self.groups {
            tokio::time::sleep(STEP).await;
        }
    }

    /// Gives a group another host: each of its rules changes.
    pub fn turn(&self, group: usize, turn: usize) {
        let host = format!("app-{group}-{turn}.example.com");
        self.bed
            .apply(ingress_at(&team(group), group, &host, &services(group)).object());
    }

    /// Leaves a group one path of its five.
    pub fn narrow(&self, group: usize) {
        let first = format!("app-{group}-0");
        let narrow = ingress(&team(group), group, &[first]);
        self.bed.apply(https(&self.bed, narrow).object());
    }

    /// Deletes a group and its Services.
    pub fn remove(&self, group: usize) {
        let (namespace, name) = (team(group), format!("app-{group}"));
        self.bed.delete_ingress(&namespace, &name);
        for n in 0..SERVICES {
            self.bed.delete("v1", "Service", &namespace, &format!("{name}-{n}"));
        }
    }

    fn measure(&self, what: &str, needed: &Writes, most: Most, act: impl FnOnce()) -> Measured<'_> {
        self.bed.take_calls();
        let began = Instant::now();
        act();
        Measured {
            bed: &self.bed,
            name: format!("{what} {} groups", self.groups),
            bound: bound(needed),
            needed: needed.values().sum(),
            most,
            began,
        }
    }
}

struct Measured<'a> {
    bed: &'a Bed,
    name: String,
    bound: f64,
    needed: usize,
    most: Most,
    began: Instant,
}

impl Measured<'_> {
    /// The figures, once it is so and everything has come to rest.
    async fn until(self, so: impl Fn(&Bed) -> bool) -> Figures {
        while !so(self.bed) {
            assert!(self.began.elapsed() < PATIENCE, "{} takes for ever", self.name);
            tokio::time::sleep(LOOK).await;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        self.bed.settle().await;
        let calls = self.bed.take_calls();
        Figures::of(self.name, &calls, seconds, self.bound, self.most).needing(self.needed)
    }
}

/// What one group costs in an empty account.
async fn alone() -> Figures {
    let scale = Box::pin(Scale::new(1)).await;
    let measured = scale.measure("create", &writes(1, true), ANYTHING, || scale.add(0));
    measured.until(|bed| served(bed) == 1).await
}

pub(crate) fn team(group: usize) -> String {
    format!("team-{}", group % TEAMS)
}

/// The same, served with the bed's certificate.
pub(crate) fn https(bed: &Bed, ingress: Ingress) -> Ingress {
    ingress
        .annotated("listen-ports", r#"[{"HTTPS": 443}]"#)
        .annotated("certificate-arn", &bed.world.certificate)
}

/// Names of a group's Services.
pub(crate) fn services(group: usize) -> Vec<String> {
    (0..SERVICES).map(|n| format!("app-{group}-{n}")).collect()
}

/// The Ingress of a group: a path to each of its Services.
pub(crate) fn ingress(namespace: &str, group: usize, services: &[String]) -> Ingress {
    ingress_at(namespace, group, &format!("app-{group}.example.com"), services)
}

/// The same for another host.
pub(crate) fn ingress_at(namespace: &str, group: usize, host: &str, services: &[String]) -> Ingress {
    let paths: Vec<(String, &str)> = services
        .iter()
        .enumerate()
        .map(|(n, s)| (format!("/{n}"), s.as_str()))
        .collect();
    let paths: Vec<(&str, &str)> = paths.iter().map(|(path, service)| (path.as_str(), *service)).collect();
    Ingress::new(namespace, &format!("app-{group}"))
        .annotated("subnets", &SUBNETS.map(|(name, ..)| name).join(","))
        .host(host, &paths)
}

/// Adds the Services of a group; `block` is that of its node ports, five each.
pub(crate) fn add_services(bed: &Bed, namespace: &str, group: usize, block: usize) {
    for (n, service) in services(group).iter().enumerate() {
        let port = u16::try_from(1024 + block * SERVICES + n).expect("a port");
        bed.apply(objects::service(namespace, service, port));
    }
}

/// As many load balancers and target groups as AWS grants on request; by default 50 and 3 000 a Region.
pub(crate) fn raise_quotas(bed: &Bed) {
    for name in ["application-load-balancers", "target-groups"] {
        bed.double.set_quota(ACCOUNT, REGION, name, 100_000);
    }
}

/// Makes subnets with addresses for a thousand load balancers, and for pods.
///
/// # Errors
/// They cannot be made.
pub async fn wide_subnets(bed: &Bed) -> anyhow::Result<()> {
    let ec2 = aws_sdk_ec2::Client::new(&sdk_config(&bed.double).await);
    bed.double.configure(|options| options.throttling = false);
    for (name, zone, cidr) in SUBNETS {
        let tag = Tag::builder().key("Name").value(name).build();
        let tags = TagSpecification::builder()
            .resource_type(ResourceType::Subnet)
            .tags(tag);
        ec2.create_subnet()
            .vpc_id(&bed.world.vpc)
            .cidr_block(cidr)
            .availability_zone(format!("{REGION}{zone}"))
            .tag_specifications(tags.build())
            .send()
            .await?;
    }
    bed.double.configure(|options| options.throttling = true);
    Ok(())
}

/// Groups whose load balancer is known to their users and whose target groups all have their targets.
fn served(bed: &Bed) -> usize {
    let rules = bed.holds().2 / SERVICES;
    let full = {
        let world = bed.double.world();
        let groups = world
            .regions
            .values()
            .flat_map(|region| region.elbv2.target_groups.values());
        let full = groups.filter(|group| group.targets.len() == bed.world.nodes.len());
        full.count() / SERVICES
    };
    let named = |object: &&Value| object["status"]["loadBalancer"]["ingress"][0]["hostname"].is_string();
    let ingresses = Resource::of("networking.k8s.io/v1", "Ingress").expect("a kind that is served");
    let told = bed.api.store().list(ingresses, None).into_iter().filter(named).count();
    full.min(told).min(rules)
}

/// The writes that make so many groups; `first` when the cluster had none before, and so no security group on whose behalf
/// load balancers reach the nodes.
fn writes(groups: usize, first: bool) -> Writes {
    let (first, each) = (usize::from(first), groups * SERVICES);
    BTreeMap::from([
        ((Service::Ec2, "CreateSecurityGroup"), groups + first),
        ((Service::Ec2, "AuthorizeSecurityGroupIngress"), groups + first),
        ((Service::Elbv2, "CreateLoadBalancer"), groups),
        ((Service::Elbv2, "CreateListener"), groups),
        // As ALBC does: the listener's own certificate is chosen by name too.
        ((Service::Elbv2, "AddListenerCertificates"), groups),
        ((Service::Elbv2, "CreateTargetGroup"), each),
        ((Service::Elbv2, "CreateRule"), each),
        ((Service::Elbv2, "RegisterTargets"), each),
    ])
}

/// The writes that delete all groups: listeners and rules go with their load balancer, the shared security group with the
/// last of them.
fn deletes(groups: usize) -> Writes {
    BTreeMap::from([
        ((Service::Elbv2, "DeleteLoadBalancer"), groups),
        ((Service::Elbv2, "DeleteTargetGroup"), groups * SERVICES),
        ((Service::Ec2, "DeleteSecurityGroup"), groups + 1),
        ((Service::Ec2, "RevokeSecurityGroupIngress"), 1),
    ])
}
