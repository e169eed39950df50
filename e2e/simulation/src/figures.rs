//! What something cost, what it had to cost, and what it may cost.

use crate::bed::Calls;
use albacore_aws::{bucket, call::Service};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What something cost, and what it had to cost.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What was done.
    pub name: String,
    /// Calls of any kind to any service.
    pub calls: usize,
    /// The same, by operation.
    pub operations: BTreeMap<String, usize>,
    /// Those that are needed: the writes that make the difference.
    pub needed: usize,
    /// Calls that AWS refused for want of tokens.
    pub throttled: usize,
    /// What ALBC calls for the same.
    pub albc: Option<Peer>,
    /// From the moment users asked until it was so.
    pub seconds: f64,
    /// What the buckets alone impose on the writes needed, and AWS' own delays where it makes one wait.
    pub bound: f64,
    /// `seconds` by `bound`.
    pub ratio: f64,
    /// What it may be.
    #[serde(skip)]
    pub most: Most,
}

/// What ALBC calls for the same.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Peer {
    /// Calls.
    pub calls: usize,
    /// How that is known: `measured` through the documented buckets, `scaled` from that, or by a `formula` of its code.
    pub known: &'static str,
}

/// What figures may be.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Calls by calls needed.
    pub calls: f64,
    /// Time by the time that the buckets impose.
    pub ratio: f64,
    /// Share of all calls that may be throttled.
    pub throttled: f64,
}

/// Anything; for what only one figure of counts.
pub const ANYTHING: Most = Most {
    calls: f64::INFINITY,
    ratio: f64::INFINITY,
    throttled: 1.0,
};

impl Figures {
    /// What these calls cost, and so many seconds.
    pub fn of(name: impl Into<String>, calls: &Calls, seconds: f64, bound: f64, most: Most) -> Self {
        let mut operations = BTreeMap::new();
        for call in &calls.0 {
            *operations.entry(call.operation.clone()).or_default() += 1;
        }
        Self {
            name: name.into(),
            calls: calls.0.len(),
            operations,
            needed: 0,
            throttled: calls.0.iter().filter(|call| call.throttled).count(),
            albc: None,
            seconds,
            bound,
            ratio: seconds / bound,
            most,
        }
    }

    /// With what is needed.
    #[must_use]
    pub fn needing(mut self, needed: usize) -> Self {
        self.needed = needed;
        self
    }

    /// With what ALBC calls for the same.
    #[must_use]
    pub fn beside(mut self, calls: usize, known: &'static str) -> Self {
        self.albc = Some(Peer { calls, known });
        self
    }

    /// Whether they are what they may be.
    pub fn hold(&self) -> bool {
        let calls = self.most.calls.is_infinite() || self.calls as f64 <= self.most.calls * self.needed as f64;
        let throttled = self.throttled as f64 <= self.most.throttled * self.calls as f64;
        throttled && calls && self.ratio <= self.most.ratio
    }
}

/// Writes by operation.
pub type Writes = BTreeMap<(Service, &'static str), usize>;

/// How long full buckets impose on these writes, whoever makes them.
pub fn bound(writes: &Writes) -> f64 {
    let mut asked: BTreeMap<(Service, String), (bucket::Limit, usize)> = BTreeMap::new();
    for (&(service, operation), &count) in writes {
        for limit in bucket::limits(service, operation, &Value::Null) {
            asked.entry((service, limit.name.clone())).or_insert((limit, 0)).1 += count;
        }
    }
    let seconds = |(limit, count): &(bucket::Limit, usize)| (*count as f64 - limit.capacity).max(0.0) / limit.refill;
    asked.values().map(seconds).fold(0.0, f64::max)
}
