//! All that exists in the double: accounts, regions, and what stands in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::iam::Policy;
use crate::ids::Ids;
use crate::time::seconds;
use crate::{acm, ec2, elbv2, identity};

/// How the double behaves where AWS gives no number, or where a test wants another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Seed of all ids.
    pub seed: u64,
    /// What time it is when the double starts.
    pub epoch: Timestamp,
    /// Account of an access key; keys not named here belong to [`ACCOUNT`].
    pub accounts: BTreeMap<String, String>,
    /// How long a new load balancer is `provisioning`. AWS gives no number; two to three minutes are usual.
    #[serde(with = "seconds")]
    pub provisioning: Duration,
    /// How long a target that was just registered is `initial` with `Elb.RegistrationInProgress`.
    #[serde(with = "seconds")]
    pub registration: Duration,
    /// How long a target that was deregistered still gets new requests. AWS gives no number; seconds are usual.
    #[serde(with = "seconds")]
    pub deregistration: Duration,
    /// How long after a registration is known its first check passes, unless somebody says otherwise.
    #[serde(with = "seconds")]
    pub first_check: Duration,
    /// How long network interfaces of a deleted load balancer stay. AWS gives no number; minutes are usual.
    #[serde(with = "seconds")]
    pub interface_linger: Duration,
    /// Whether the documented token buckets refuse calls.
    pub throttling: bool,
    /// Rate and size of all buckets, as a multiple of what is documented.
    pub bucket_scale: f64,
    /// How long reads may lag behind writes; zero for none.
    #[serde(with = "seconds")]
    pub stale_reads: Duration,
    /// Who says whether a target is healthy.
    pub health: HealthMode,
    /// What callers may do, by access key id, or [`EVERYBODY`](crate::iam::EVERYBODY) for those who are not named; whoever
    /// has no policy may do anything.
    pub policies: BTreeMap<String, Policy>,
    /// Whether a call needs credentials that were handed out and have not ended, and a role a token that it trusts; else any
    /// will do.
    pub strict_credentials: bool,
}

/// Who says whether a target is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthMode {
    /// Every target passes its first check at the time AWS documents, unless the admin door says otherwise.
    Modelled,
    /// The data plane probes and reports; a target stays `initial` until it did.
    Probed,
    /// Every target stays `initial` unless the admin door says otherwise.
    Initial,
    /// Every target fails its checks unless the admin door says otherwise.
    Unhealthy,
}

/// The account of access keys that no table names.
pub const ACCOUNT: &str = "123456789012";

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 1,
            epoch: "2026-01-01T00:00:00Z".parse().expect("a timestamp"),
            accounts: BTreeMap::new(),
            provisioning: Duration::from_secs(120),
            registration: Duration::from_secs(2),
            deregistration: Duration::from_secs(2),
            first_check: Duration::from_secs(3),
            interface_linger: Duration::from_secs(120),
            throttling: true,
            bucket_scale: 1.0,
            stale_reads: Duration::ZERO,
            health: HealthMode::Modelled,
            policies: BTreeMap::new(),
            strict_credentials: false,
        }
    }
}

impl Options {
    /// AWS without its waits: load balancers are active and targets registered at once, interfaces do not linger, nothing
    /// is throttled. For tests that are about something else.
    pub fn instant() -> Self {
        Options {
            provisioning: Duration::ZERO,
            registration: Duration::ZERO,
            deregistration: Duration::ZERO,
            first_check: Duration::ZERO,
            interface_linger: Duration::ZERO,
            throttling: false,
            ..Options::default()
        }
    }

    /// The account that an access key belongs to.
    pub fn account(&self, access_key: &str) -> String {
        self.accounts
            .get(access_key)
            .cloned()
            .unwrap_or_else(|| ACCOUNT.to_owned())
    }
}

/// Everything that exists.
#[derive(Clone, Debug)]
pub struct World {
    /// How the double behaves.
    pub options: Options,
    /// Where new ids come from.
    pub ids: Ids,
    /// Regions that were ever asked for, by account and name.
    pub regions: BTreeMap<(String, String), Region>,
    /// Accounts that have Elastic Load Balancing's service-linked role.
    pub linked_accounts: BTreeSet<String>,
    /// Roles, issuers of tokens, credentials.
    pub identity: identity::State,
}

/// What stands in one region of one account.
#[derive(Clone, Debug, Default)]
pub struct Region {
    /// Load balancers and what belongs to them.
    pub elbv2: elbv2::State,
    /// Networks, security groups, instances.
    pub ec2: ec2::State,
    /// Certificates.
    pub acm: acm::State,
}

/// The parts of a world that a handler works with, borrowed at once.
pub struct Scene<'a> {
    /// The call's region.
    pub region: &'a mut Region,
    /// Where new ids come from.
    pub ids: &'a mut Ids,
    /// How the double behaves.
    pub options: &'a Options,
}

impl World {
    /// An empty world.
    pub fn new(options: Options) -> Self {
        World {
            ids: Ids::seeded(options.seed),
            options,
            regions: BTreeMap::new(),
            linked_accounts: BTreeSet::new(),
            identity: identity::State::default(),
        }
    }

    /// The region a call is about.
    pub fn region(&mut self, call: &Call) -> &mut Region {
        self.scene(call).region
    }

    /// The region a call is about, with the generator of ids and the options.
    pub fn scene(&mut self, call: &Call) -> Scene<'_> {
        let key = (call.account.clone(), call.region.clone());
        Scene {
            region: self.regions.entry(key).or_default(),
            ids: &mut self.ids,
            options: &self.options,
        }
    }
}
