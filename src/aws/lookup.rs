//! What many groups share and AWS answers slowly: held for a while, in bounded memory.
//!
//! An entry carries when it was fetched, and a reader says how old is still good; who asks while somebody fetches waits
//! for that answer. A refresh that fails serves the old value.

use super::Fault;
use moka::future::Cache;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Memory for all entries together, in bytes.
const WEIGHT: u64 = 8 << 20;
/// When an entry goes that nobody asked for again.
const KEPT: Duration = Duration::from_secs(3600);

/// What is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// Subnets of the VPC.
    Subnets,
    /// Subnets of the VPC that reach the internet by themselves.
    PublicSubnets,
    /// Security groups of the VPC with one of these names, or ids.
    SecurityGroups(Vec<String>),
    /// Whether a certificate exists.
    Certificate(String),
}

/// An answer of AWS, reduced to what is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Subnets.
    Subnets(Arc<Vec<Subnet>>),
    /// Ids.
    Ids(Arc<Vec<String>>),
    /// Ids with the `Name` tag.
    Named(Arc<Vec<(String, Option<String>)>>),
    /// Whether it is there.
    Exists(bool),
}

/// A subnet, as far as choosing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    pub id: String,
    pub zone: String,
    /// Free IPv4 addresses.
    pub free: i32,
    pub has_ipv6: bool,
    pub is_outpost: bool,
    pub tags: crate::model::Tags,
}

#[derive(Clone, Debug)]
struct Entry {
    found: Found,
    at: Instant,
}

/// The entries; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Lookup(Cache<What, Entry>);

impl Default for Lookup {
    fn default() -> Self {
        let weigh = |_: &What, entry: &Entry| u32::try_from(entry.found.bytes()).unwrap_or(u32::MAX);
        Self(
            Cache::builder()
                .weigher(weigh)
                .max_capacity(WEIGHT)
                .time_to_idle(KEPT)
                .build(),
        )
    }
}

impl Found {
    /// Roughly what it takes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Subnets(subnets) => subnets.iter().map(|subnet| 200 + subnet.tags.len() * 100).sum(),
            Self::Ids(ids) => ids.len() * 50,
            Self::Named(named) => named.len() * 100,
            Self::Exists(_) => 200,
        }
    }
}

impl Lookup {
    /// The entry, if it is younger than `good_for`; else what `fetch` brings.
    ///
    /// # Errors
    /// What `fetch` says, when nothing older is held.
    pub async fn get(
        &self,
        what: What,
        good_for: Duration,
        fetch: impl Future<Output = Result<Found, Fault>>,
    ) -> Result<Found, Fault> {
        let before = self.0.get(&what).await;
        if let Some(entry) = &before {
            if entry.at.elapsed() < good_for {
                return Ok(entry.found.clone());
            }
            self.0.invalidate(&what).await;
        }
        let fetched = async {
            fetch.await.map(|found| Entry {
                found,
                at: Instant::now(),
            })
        };
        match (self.0.try_get_with(what.clone(), fetched).await, before) {
            (Ok(entry), _) => Ok(entry.found),
            (Err(fault), Some(old)) => {
                tracing::warn!(%fault, ?what, "what was looked up before is used");
                Ok(old.found)
            }
            (Err(fault), None) => Err(Arc::unwrap_or_clone(fault)),
        }
    }

    /// Lets go of an entry that may change at any moment.
    pub async fn forget(&self, what: &What) {
        self.0.invalidate(what).await;
    }
}
