//! The AWS edge: the only place that names the AWS SDK.
//!
//! ```text
//!  Mutation ─► perform ─┐                                ┌─► convert ─► Observed, NetworkObserved, targets
//!  reason   ─► observe ─┼─► budget ─► client ─► AWS ─────┤
//!  Selectors ► resolve ─┘   (a permit a call)            └─► fault (one class an error)
//! ```
//! Every call takes its token before it is signed, and the HTTP client lets nothing out that did not pay.

mod audit;
mod census;
mod client;
mod convert;
mod credentials;
mod endpoints;
mod fault;
mod interfaces;
mod lookup;
mod observe;
mod perform;
mod quotas;
mod resolve;

pub use audit::Account;
pub use client::{AwsConfig, Place, discover};
pub use fault::{Class, Fault, Lack};
pub use interfaces::INTERFACES;
pub use lookup::CacheFigures;
pub use observe::{Health, TAGGED};

use crate::{
    budget::{Ask, Budget, Permit, Saving, Service},
    model::{Lane, TargetGroupArn, Unit},
    plan::{Mutation, Step},
    telemetry::Clock,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use census::Census;
use client::Clients;
use interfaces::Interfaces;
use lookup::Lookup;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// AWS, as seen from one account, region and VPC; clones share everything.
#[derive(Clone)]
pub struct Aws {
    clients: Clients,
    budget: Budget,
    /// Tells an answer about something older from one about something new.
    clock: Clock,
    lookup: Lookup,
    census: Census,
    interfaces: Arc<tokio::sync::Mutex<Interfaces>>,
    /// Target groups that this process made and has not put a target into; nobody else has.
    made: Arc<Mutex<BTreeSet<TargetGroupArn>>>,
}

impl Aws {
    /// AWS with the credentials that the environment offers.
    ///
    /// # Errors
    /// No credentials can be looked for.
    pub async fn connect(config: &AwsConfig, place: &Place, budget: Budget, clock: Clock) -> anyhow::Result<Self> {
        let credentials = client::default_chain(place, &budget).await?;
        Ok(Self::at(config, place, credentials, budget, clock))
    }

    /// AWS at the endpoints that `config` names, or its own, with these credentials.
    pub fn at(
        config: &AwsConfig,
        place: &Place,
        credentials: SharedCredentialsProvider,
        budget: Budget,
        clock: Clock,
    ) -> Self {
        let clients = Clients::new(config, place, client::https(), credentials, &clock);
        Self::with(clients, budget, clock)
    }

    /// AWS behind another HTTP client: the double, in process.
    pub fn through(
        http: SharedHttpClient,
        credentials: SharedCredentialsProvider,
        place: &Place,
        budget: Budget,
        clock: Clock,
    ) -> Self {
        let clients = Clients::new(&AwsConfig::default(), place, http, credentials, &clock);
        Self::with(clients, budget, clock)
    }

    fn with(clients: Clients, budget: Budget, clock: Clock) -> Self {
        Self {
            clients,
            lookup: Lookup::new(budget.clone()),
            budget,
            clock,
            census: Census::default(),
            interfaces: Arc::default(),
            made: Arc::default(),
        }
    }

    /// Waits for the token of a mutation, or for the next one if `again`.
    pub async fn permit_for(&self, call: &Mutation, lane: Lane, unit: &Unit, again: bool) -> Permit {
        let ask = Ask {
            service: service_of(call),
            operation: call.operation(),
            lane,
            unit: unit.clone(),
        };
        self.budget.acquire(ask).again(again).await
    }

    /// How long until these steps of a unit have their tokens.
    pub fn forecast(&self, steps: &[Step], unit: &Unit) -> Duration {
        let calls: Vec<_> = steps
            .iter()
            .map(|step| (service_of(&step.call), step.call.operation()))
            .collect();
        let lane = steps.iter().map(|step| step.lane).max().unwrap_or(Lane::Change);
        self.budget.forecast(&calls, lane, unit)
    }

    /// Whether this process made a target group and has not put a target into it.
    pub fn made(&self, group: &TargetGroupArn) -> bool {
        self.made_groups().contains(group)
    }

    /// Calls made for a unit so far.
    pub fn spent(&self, unit: &Unit) -> u64 {
        self.budget.spent(unit).calls
    }

    /// Forgets what was spent for a unit that is gone.
    pub fn forget(&self, unit: &Unit) {
        self.budget.forget(unit);
    }

    /// Books calls that were not needed.
    pub fn save(&self, by: Saving, calls: u64) {
        self.budget.save(by, calls);
    }

    /// How lookups were answered so far.
    pub fn cache(&self) -> CacheFigures {
        self.lookup.figures()
    }

    fn made_groups(&self) -> std::sync::MutexGuard<'_, BTreeSet<TargetGroupArn>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Security groups are EC2's, everything else that is changed is Elastic Load Balancing's.
fn service_of(call: &Mutation) -> Service {
    match call {
        Mutation::CreateSecurityGroup { .. }
        | Mutation::AuthorizeIngress { .. }
        | Mutation::RevokeIngress { .. }
        | Mutation::TagSecurityGroup { .. }
        | Mutation::UntagSecurityGroup { .. }
        | Mutation::DeleteSecurityGroup { .. } => Service::Ec2,
        _ => Service::ElasticLoadBalancing,
    }
}
