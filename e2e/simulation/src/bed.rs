//! A controller between an AWS double and an API server, all in this process and on tokio's (paused) time.

use crate::{
    api::{Resource, Server},
    objects, permissions,
    replica::Replica,
    tripwire::Tripwire,
    world::{self, CLUSTER, REGION, World},
};
use albacore::{
    aws::{Aws, Place},
    budget::{Budget, BudgetConfig},
    facts::Facts,
    k8s::{Client, Leadership, watch},
    model::{Scheme, Settings, TargetType},
    reconcile::{self, Parts},
    report::preview::Preview,
    telemetry::{Clock, Metrics},
};
use albacore_aws::{Double, Options, call::Service, journal::Entry};
use aws_credential_types::provider::SharedCredentialsProvider;
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// How long nothing may happen for everything to count as settled: longer than anything but a load balancer that
/// lingers, and a name that was not found, waits.
pub const QUIET: Duration = Duration::from_secs(100);

/// How often it is looked whether anything happened.
pub const STEP: Duration = Duration::from_secs(5);

/// Everything.
pub struct Bed {
    /// AWS.
    pub double: Double,
    /// What was in it from the start.
    pub world: World,
    /// Kubernetes.
    pub api: Server,
    /// What the operator configured.
    pub settings: Settings,
    /// Whether the controller leads; at once, unless a test says otherwise.
    pub leadership: Leadership,
    /// What time it is, from the beginning of the world on.
    pub(crate) clock: Clock,
    /// Whether the controller looks in the background for what somebody else changed; not, unless a test says otherwise.
    pub audits: bool,
    running: Option<Replica>,
}

impl Bed {
    /// A bed with nodes, a class, and a namespace `shop` with Services `a` to `f`; no controller runs yet.
    pub async fn new(options: Options) -> Self {
        let clock = Clock::simulated();
        let double = Double::new(Options {
            throttling: false,
            ..options.clone()
        });
        let world = world::build(&double).await.expect("a world");
        double.configure(|now| now.throttling = options.throttling);
        permissions::attach(&double, permissions::CONTROLLER, permissions::document());
        double.clear_journal();
        let api = Server::default();
        let settings = Settings {
            cluster: CLUSTER.to_owned(),
            vpc: world.vpc.as_str().into(),
            ingress_class: "alb".to_owned(),
            disable_class_annotation: false,
            disable_group_name_annotation: false,
            default_tags: BTreeMap::new(),
            external_managed_tags: Default::default(),
            default_target_type: TargetType::Instance,
            default_scheme: Scheme::Internal,
            default_ssl_policy: "ELBSecurityPolicy-2016-08".to_owned(),
            backend_security_group: true,
            manage_backend_rules: false,
        };
        let bed = Self {
            double,
            world,
            api,
            settings,
            leadership: Leadership::alone(),
            clock,
            audits: false,
            running: None,
        };
        bed.apply(objects::namespace("shop"));
        bed.apply(objects::class());
        objects::nodes(&bed.world).into_iter().for_each(|node| bed.apply(node));
        for (number, name) in (30001..).zip(["a", "b", "c", "d", "e", "f"]) {
            bed.apply(objects::service("shop", name, number));
        }
        bed
    }

    /// Another cluster in the same account, Region and VPC; no controller runs there yet.
    pub fn beside(&self, cluster: &str) -> Self {
        let bed = Self {
            double: self.double.clone(),
            world: self.world.clone(),
            api: Server::default(),
            settings: Settings {
                cluster: cluster.to_owned(),
                ..self.settings.clone()
            },
            leadership: Leadership::alone(),
            clock: self.clock.clone(),
            audits: false,
            running: None,
        };
        bed.apply(objects::class());
        objects::nodes(&bed.world).into_iter().for_each(|node| bed.apply(node));
        bed
    }

    /// Creates or replaces an object.
    pub fn apply(&self, object: Value) {
        self.api.apply(object).expect("an object that is served");
    }

    /// Deletes an object, as `kubectl delete` does.
    pub fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) {
        let resource = Resource::of(api_version, kind).expect("a kind that is served");
        let place = (resource, namespace.to_owned(), name.to_owned());
        self.api.store().delete(&place).expect("an object that is there");
    }

    /// Deletes what albacore keeps in Kubernetes for itself: then everything is as ALBC would have left it.
    pub fn forget(&self) {
        for kind in ["LoadBalancer", "ClusterNetwork"] {
            for object in self.list("albacore.dev/v1alpha1", kind) {
                let name = object["metadata"]["name"].as_str().expect("a name");
                self.delete("albacore.dev/v1alpha1", kind, "", name);
            }
        }
    }

    /// Deletes an Ingress.
    pub fn delete_ingress(&self, namespace: &str, name: &str) {
        self.delete("networking.k8s.io/v1", "Ingress", namespace, name);
    }

    /// An Ingress goes while all watches are interrupted, without waiting for anybody's finalizer: nobody sees it.
    pub fn lose_ingress(&self, namespace: &str, name: &str) {
        self.api.cut_watches();
        let resource = Resource::of("networking.k8s.io/v1", "Ingress").expect("a kind that is served");
        let place = (resource, namespace.to_owned(), name.to_owned());
        let without_finalizers = |mut object: Value| {
            object["metadata"]["finalizers"] = Value::Array(Vec::new());
            Ok(object)
        };
        let mut store = self.api.store();
        store.update(&place, false, without_finalizers).expect("it is there");
        store.delete(&place).expect("it is there");
        store.compact();
    }

    /// Objects go while all watches are interrupted: nobody sees it.
    pub fn lose(&self, api_version: &str, kind: &str, namespace: &str, names: impl IntoIterator<Item = String>) {
        self.api.cut_watches();
        let resource = Resource::of(api_version, kind).expect("a kind that is served");
        let mut store = self.api.store();
        for name in names {
            store
                .delete(&(resource, namespace.to_owned(), name))
                .expect("it is there");
        }
        store.compact();
    }

    /// An object as it is; `None` when it is not there.
    pub fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = Resource::of(api_version, kind)?;
        self.api
            .store()
            .get(&(resource, namespace.to_owned(), name.to_owned()))
            .ok()
            .cloned()
    }

    /// All objects of a kind.
    pub fn list(&self, api_version: &str, kind: &str) -> Vec<Value> {
        let resource = Resource::of(api_version, kind).expect("a kind that is served");
        self.api.store().list(resource, None).into_iter().cloned().collect()
    }

    /// Where the controller is.
    pub fn place(&self) -> Place {
        Place {
            region: REGION.to_owned(),
            vpc: self.settings.vpc.clone(),
        }
    }

    /// The way to AWS over a wire.
    pub(crate) fn aws(&self, wire: &Tripwire, credentials: SharedCredentialsProvider) -> Aws {
        self.aws_within(wire, credentials, Budget::new(BudgetConfig::default()))
    }

    fn aws_within(&self, wire: &Tripwire, credentials: SharedCredentialsProvider, budget: Budget) -> Aws {
        let http = wire.over(self.double.http_client());
        Aws::through(http, credentials, &self.place(), budget, self.clock.clone())
    }

    pub(crate) fn parts(&self, client: Client, aws: Aws, identity: &str, leadership: Leadership) -> Parts {
        Parts {
            settings: self.settings.clone(),
            aws,
            client,
            facts: Facts::new(self.settings.clone()),
            instance: identity.to_owned(),
            leadership,
            clock: self.clock.clone(),
            metrics: Metrics::default(),
            audits: self.audits,
        }
    }

    /// What `albacore migrate check` finds out.
    ///
    /// # Errors
    /// Why it finds out nothing.
    pub async fn preview(&self) -> Result<Preview, reconcile::Unclear> {
        let aws = self.aws(&Tripwire::default(), permissions::credentials());
        let parts = self.parts(self.api.client(), aws, "", Leadership::never());
        let mut watches = JoinSet::new();
        let seen = watch::start_without_own(&parts.client, None, &mut watches);
        reconcile::preview(parts, seen).await
    }

    /// Starts a controller.
    pub fn start(&mut self) {
        self.start_as(permissions::credentials());
    }

    /// Starts a controller with these credentials.
    pub fn start_as(&mut self, credentials: SharedCredentialsProvider) {
        let wire = Tripwire::default();
        let aws = self.aws(&wire, credentials);
        self.start_over(wire, aws);
    }

    /// Starts a controller; gives its budget.
    pub fn start_with_budget(&mut self) -> Budget {
        let (wire, budget) = (Tripwire::default(), Budget::new(BudgetConfig::default()));
        let aws = self.aws_within(&wire, permissions::credentials(), budget.clone());
        self.start_over(wire, aws);
        budget
    }

    /// Starts a controller that reaches AWS this way.
    pub fn start_with(&mut self, aws: Aws) {
        self.start_over(Tripwire::default(), aws);
    }

    fn start_over(&mut self, wire: Tripwire, aws: Aws) {
        assert!(self.running.is_none(), "a controller is running");
        self.running = Some(Replica::start(self, wire, aws));
    }

    /// Between the controller and AWS.
    ///
    /// # Panics
    /// When none runs.
    pub fn wire(&self) -> &Tripwire {
        &self.running.as_ref().expect("a controller that runs").wire
    }

    /// Stops the controller as SIGTERM does.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Ends the controller as SIGKILL does: in the middle of whatever it does.
    pub async fn crash(&mut self) {
        if let Some(running) = self.running.take() {
            running.crash().await;
        }
    }

    /// Whether the controller is running.
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.has_ended())
    }

    /// Waits until nothing has happened for [`QUIET`], in AWS or in Kubernetes.
    ///
    /// # Panics
    /// When that is not so within four hours.
    pub async fn settle(&self) {
        self.settle_for(QUIET).await;
    }

    /// Waits until nothing has happened for `quiet`.
    ///
    /// # Panics
    /// When that is not so within four hours.
    pub async fn settle_for(&self, quiet: Duration) {
        let state = || (self.double.calls(), self.api.store().revision());
        let (mut before, mut still) = (state(), Duration::ZERO);
        for _ in 0..4 * 3600 / STEP.as_secs() {
            sleep(STEP).await;
            let now = state();
            still = if now == before { still + STEP } else { Duration::ZERO };
            before = now;
            if still >= quiet {
                return;
            }
        }
        let last: Vec<String> = self.double.journal().iter().rev().take(12).map(told).collect();
        panic!("nothing settles; the last calls were {last:#?}");
    }

    /// The calls since the last time this was asked, forgotten by that.
    pub fn take_calls(&self) -> Calls {
        let calls = self.double.journal();
        self.double.clear_journal();
        Calls(calls)
    }

    /// Names of the security groups that a controller made.
    pub fn security_groups(&self) -> Vec<String> {
        let world = self.double.world();
        let regions = world.regions.values();
        let names = regions.flat_map(|region| region.ec2.security_groups.values().map(|group| &group.name));
        names.filter(|name| name.starts_with("k8s-")).cloned().collect()
    }

    /// What AWS holds of Elastic Load Balancing: (load balancers, listeners, rules but the default ones, target groups).
    pub fn holds(&self) -> (usize, usize, usize, usize) {
        let world = self.double.world();
        let mut sum = (0, 0, 0, 0);
        for region in world.regions.values() {
            let elb = &region.elbv2;
            sum.0 += elb.load_balancers.len();
            sum.1 += elb.listeners.len();
            sum.2 += elb.rules.values().filter(|rule| rule.priority.is_some()).count();
            sum.3 += elb.target_groups.len();
        }
        sum
    }
}

/// A call, for messages.
pub fn told(entry: &Entry) -> String {
    let error = entry.error.as_deref().unwrap_or_default();
    format!("{} {} {error} {}", entry.n, entry.operation, entry.params)
}

/// Calls to AWS.
#[derive(Clone, Debug)]
pub struct Calls(pub Vec<Entry>);

impl Calls {
    /// Names of the operations that change something, in order.
    pub fn writes(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter(|call| !call.read)
            .map(|call| call.operation.as_str())
            .collect()
    }

    /// Names of the operations of a service that only ask, in order.
    pub fn reads(&self, service: Service) -> Vec<&str> {
        let asks = |call: &&Entry| call.read && call.service == service;
        self.0.iter().filter(asks).map(|call| call.operation.as_str()).collect()
    }

    /// Every call, for messages.
    pub fn told(&self) -> Vec<String> {
        self.0.iter().map(told).collect()
    }
}
