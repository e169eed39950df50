//! What many groups share and AWS answers slowly: held for a while, in bounded memory.
//!
//! An entry carries when it was fetched, and a reader says how old is still good; who asks while somebody fetches waits
//! for that answer. A refresh that fails serves the old value.

use super::Fault;
use crate::{
    budget::{Budget, Saving},
    ingress::quota::Quotas,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Memory for all entries together, in bytes.
const WEIGHT: usize = 8 << 20;
/// What an entry takes besides its name, which is kept twice, and what was found.
const ENTRY: usize = 500;
/// When an entry goes that nobody asked for again.
const KEPT: Duration = Duration::from_secs(3600);

/// What is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Subnets of the VPC.
    Subnets,
    /// Subnets of the VPC that reach the internet by themselves.
    PublicSubnets,
    /// Security groups of the VPC with one of these names, or ids.
    SecurityGroups(Vec<String>),
    /// Whether a certificate exists.
    Certificate(String),
    /// Quotas of the account.
    Quotas,
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
    /// Quotas.
    Quotas(Arc<Quotas>),
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

/// The entries; clones share them.
#[derive(Clone)]
pub(super) struct Lookup {
    held: Arc<Mutex<Held>>,
    /// Books what was saved.
    budget: Budget,
}

#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<What, Entry>,
    /// The entries by when they were last asked for.
    order: BTreeMap<u64, What>,
    asks: u64,
    figures: CacheFigures,
}

#[derive(Debug)]
struct Entry {
    /// When somebody last asked, and where it stands in the order of that.
    asked: (Instant, u64),
    bytes: usize,
    /// Locked while somebody fetches.
    answer: Arc<tokio::sync::Mutex<Answer>>,
}

#[derive(Debug, Default)]
struct Answer {
    /// What was found, and when.
    found: Option<(Found, Instant)>,
    /// What the last fetch ran into, and when.
    failed: Option<(Fault, Instant)>,
}

/// How lookups were answered, and what is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Answered by what was held.
    pub hits: u64,
    /// Answered by what somebody else was fetching already.
    pub shared: u64,
    /// Fetched from AWS.
    pub misses: u64,
    /// Answered by something old, since AWS could not be asked.
    pub stale: u64,
    /// Dropped for want of room, or since nobody asked for an hour.
    pub evictions: u64,
    /// Bytes held, roughly.
    pub bytes: usize,
    /// Entries held.
    pub entries: usize,
}

impl What {
    /// Roughly what it takes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Subnets | Self::PublicSubnets | Self::Quotas => 0,
            Self::SecurityGroups(names) => names.iter().map(|name| name.len() + 24).sum(),
            Self::Certificate(arn) => arn.len(),
        }
    }
}

impl Found {
    /// Roughly what it takes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Subnets(subnets) => subnets
                .iter()
                .map(|subnet| 200 + subnet.tags.len() * 100)
                .sum::<usize>(),
            Self::Ids(ids) => ids.len() * 50,
            Self::Named(named) => named.len() * 100,
            Self::Exists(_) => 0,
            Self::Quotas(quotas) => quotas.0.len() * 100,
        }
    }
}

impl Lookup {
    /// Nothing is held.
    pub fn new(budget: Budget) -> Self {
        Self {
            held: Arc::default(),
            budget,
        }
    }

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
        let asked = Instant::now();
        let answer = self.held().ask(&what, asked);
        let mut answer = answer.lock().await;
        if let Some((found, at)) = &answer.found
            && at.elapsed() < good_for
        {
            self.budget.save(Saving::Cache, 1);
            let figures = &mut self.held().figures;
            *if *at > asked {
                &mut figures.shared
            } else {
                &mut figures.hits
            } += 1;
            return Ok(found.clone());
        }
        let fault = match &answer.failed {
            // Somebody fetched since: it would fail again.
            Some((fault, at)) if *at > asked => fault.clone(),
            _ => {
                self.held().figures.misses += 1;
                match fetch.await {
                    Ok(found) => {
                        *answer = Answer {
                            found: Some((found.clone(), Instant::now())),
                            failed: None,
                        };
                        self.held().weigh(&what, found.bytes());
                        return Ok(found);
                    }
                    Err(fault) => {
                        answer.failed = Some((fault.clone(), Instant::now()));
                        fault
                    }
                }
            }
        };
        let Some((old, _)) = &answer.found else {
            // Whoever waits has it still.
            self.forget(&what);
            return Err(fault);
        };
        tracing::warn!(%fault, ?what, "what was looked up before is used");
        self.held().figures.stale += 1;
        Ok(old.clone())
    }

    /// Lets go of an entry that may change at any moment.
    pub fn forget(&self, what: &What) {
        self.held().remove(what);
    }

    /// How lookups were answered so far, and what is held.
    pub fn figures(&self) -> CacheFigures {
        let held = self.held();
        CacheFigures {
            entries: held.entries.len(),
            ..held.figures
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change is one step: a panic elsewhere leaves nothing half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn ask(&mut self, what: &What, now: Instant) -> Arc<tokio::sync::Mutex<Answer>> {
        self.asks += 1;
        let asked = (now, self.asks);
        let bytes = ENTRY + 2 * what.bytes();
        let entry = self.entries.entry(what.clone()).or_insert_with(|| {
            self.figures.bytes += bytes;
            Entry {
                asked,
                bytes,
                answer: Arc::default(),
            }
        });
        self.order.remove(&entry.asked.1);
        self.order.insert(asked.1, what.clone());
        entry.asked = asked;
        Arc::clone(&entry.answer)
    }

    /// Notes what an entry weighs now, and drops what nobody asked for lately, or what is too much.
    fn weigh(&mut self, what: &What, found: usize) {
        if let Some(entry) = self.entries.get_mut(what) {
            let bytes = ENTRY + 2 * what.bytes() + found;
            self.figures.bytes = self.figures.bytes + bytes - entry.bytes;
            entry.bytes = bytes;
        }
        while let Some((_, oldest)) = self.order.first_key_value() {
            let is_old = |entry: &Entry| entry.asked.0.elapsed() >= KEPT;
            if self.figures.bytes <= WEIGHT && !self.entries.get(oldest).is_some_and(is_old) {
                return;
            }
            let oldest = oldest.clone();
            self.remove(&oldest);
            self.figures.evictions += 1;
        }
    }

    fn remove(&mut self, what: &What) {
        if let Some(entry) = self.entries.remove(what) {
            self.order.remove(&entry.asked.1);
            self.figures.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aws::Class,
        budget::{BudgetConfig, Service},
    };
    use futures::{FutureExt, future::join_all};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    fn lookup() -> Lookup {
        Lookup::new(Budget::new(BudgetConfig::default()))
    }

    fn certificate(name: usize) -> What {
        What::Certificate(name.to_string())
    }

    fn fault() -> Fault {
        Fault {
            class: Class::Unreachable,
            service: Service::Acm,
            operation: "DescribeCertificate",
            code: String::new(),
            message: String::new(),
        }
    }

    /// Many ask at once for something that takes a second to come; gives what they got and how often it was fetched.
    async fn ask(lookup: &Lookup, answer: Result<Found, Fault>) -> (Vec<Result<Found, Fault>>, usize) {
        let fetches = AtomicUsize::new(0);
        let one = || async {
            let fetch = async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                answer.clone()
            };
            lookup.get(certificate(0), MINUTE, fetch).await
        };
        let got = join_all((0..5).map(|_| one())).await;
        (got, fetches.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_while_somebody_fetches_gets_that_answer_and_a_refresh_that_fails_the_old_one() {
        let lookup = lookup();
        let (there, gone) = (Ok(Found::Exists(true)), Err(fault()));
        assert_eq!(ask(&lookup, gone.clone()).await, (vec![gone.clone(); 5], 1));
        assert_eq!(ask(&lookup, there.clone()).await, (vec![there.clone(); 5], 1));
        assert_eq!(ask(&lookup, gone.clone()).await, (vec![there.clone(); 5], 0));
        tokio::time::sleep(MINUTE).await;
        assert_eq!(ask(&lookup, gone.clone()).await, (vec![there.clone(); 5], 1));
        lookup.forget(&certificate(0));
        assert_eq!(ask(&lookup, gone.clone()).await, (vec![gone; 5], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_or_too_old_is_dropped() {
        let lookup = lookup();
        let held = async |n: usize| {
            let found = lookup.get(certificate(n), MINUTE, async { Err(fault()) });
            found.now_or_never().is_some_and(|found| found.is_ok())
        };
        let ids = Found::Ids(Arc::new(vec![String::new(); (WEIGHT - 4 * ENTRY - 1000) / 50 / 4]));
        for n in 0..8 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let fetch = async { Ok(ids.clone()) };
            assert!(lookup.get(certificate(n), MINUTE, fetch).await.is_ok());
        }
        assert!(!held(3).await, "it had to go");
        assert!(held(4).await && held(5).await && held(6).await && held(7).await);
        let figures = lookup.figures();
        assert!(
            figures.bytes <= WEIGHT && figures.evictions == 4 && figures.entries == 4,
            "{figures:?}"
        );
        tokio::time::advance(KEPT).await;
        let fetch = async { Ok(Found::Exists(true)) };
        assert!(lookup.get(certificate(8), MINUTE, fetch).await.is_ok());
        assert!(!held(7).await, "nobody asked for it for an hour");
        let figures = lookup.figures();
        assert!(figures.entries == 1 && figures.bytes < 2 * ENTRY, "{figures:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_thousand_lookups_stay_within_their_bytes() {
        let lookup = lookup();
        for n in 0..100_000 {
            let fetch = async { Ok(Found::Exists(true)) };
            assert!(lookup.get(certificate(n), MINUTE, fetch).await.is_ok());
            assert!(lookup.figures().bytes <= WEIGHT);
        }
        let figures = lookup.figures();
        assert_eq!(figures.misses, 100_000);
        assert_eq!(figures.evictions as usize + figures.entries, 100_000);
        assert!(figures.bytes > WEIGHT * 9 / 10, "{figures:?}");
    }
}
