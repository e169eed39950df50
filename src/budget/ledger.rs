//! Who spent what: every call is booked once, when its outcome is known.

use super::{Ask, Service};
use crate::model::{Lane, Unit};
use std::{collections::BTreeMap, time::Duration};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// AWS did it.
    Done,
    /// AWS refused for lack of tokens.
    Throttled,
    /// AWS refused for another reason.
    Refused,
    /// No answer, or one that leaves open whether it was done.
    Unknown,
}

impl Outcome {
    /// The outcome's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// What saves calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Saving {
    /// What was looked up a while ago is good enough.
    Cache,
    /// The account was listed for another group at the same time.
    Census,
    /// Targets went in with others, in one call.
    Batch,
}

impl Saving {
    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Census => "census",
            Self::Batch => "batch",
        }
    }
}

/// A kind of call: the labels of the metrics, all of them from closed sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Service.
    pub service: Service,
    /// Operation, as AWS names it.
    pub operation: &'static str,
    /// Lane.
    pub lane: Lane,
    /// Outcome.
    pub outcome: Outcome,
}

/// Calls and what they waited for their tokens, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Calls.
    pub calls: u64,
    /// Of these, refused for lack of tokens.
    pub throttled: u64,
    /// Time spent waiting for tokens.
    pub waited: Duration,
}

impl Spent {
    fn add(&mut self, outcome: Outcome, waited: Duration) {
        self.calls += 1;
        self.throttled += u64::from(outcome == Outcome::Throttled);
        self.waited += waited;
    }
}

/// Namespaces that are told by name.
const NAMED: usize = 50;

/// Calls by namespace, or by group where that spans namespaces: those that spend most by name, the others together. No
/// count ever falls: a namespace that becomes one of the first begins anew under its name.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    all: BTreeMap<String, u64>,
    /// Those that are told by name.
    pub named: BTreeMap<String, u64>,
    /// Calls of all others.
    pub others: u64,
}

impl Namespaces {
    fn book(&mut self, namespace: &str) {
        let total = self.all.entry(namespace.to_owned()).or_default();
        *total += 1;
        if let Some(calls) = self.named.get_mut(namespace) {
            *calls += 1;
            return;
        }
        if self.named.len() == NAMED {
            let total = *total;
            let smallest = self.named.keys().min_by_key(|named| self.all.get(*named));
            match smallest.cloned() {
                // Well above it: two that are alike do not take turns.
                Some(smallest) if total > self.all.get(&smallest).map_or(0, |calls| calls + calls / 4 + 1) => {
                    self.named.remove(&smallest);
                }
                _ => {
                    self.others += 1;
                    return;
                }
            }
        }
        self.named.insert(namespace.to_owned(), 1);
    }
}

/// Everything booked since the start.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By kind of call.
    pub by_kind: BTreeMap<Kind, Spent>,
    /// By the unit the call was made for; forgotten with the unit.
    pub by_unit: BTreeMap<Unit, Spent>,
    /// By namespace.
    pub by_namespace: Namespaces,
    /// Calls that were not needed, by what saved them.
    pub saved: BTreeMap<Saving, u64>,
    /// Requests of the credential providers, which need no token.
    pub credentials: u64,
}

impl Ledger {
    /// Books a call.
    pub fn book(&mut self, ask: &Ask, waited: Duration, outcome: Outcome) {
        let kind = Kind {
            service: ask.service,
            operation: ask.operation,
            lane: ask.lane,
            outcome,
        };
        self.by_kind.entry(kind).or_default().add(outcome, waited);
        self.by_unit.entry(ask.unit.clone()).or_default().add(outcome, waited);
        self.by_namespace.book(&super::turn(&ask.unit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spends_most_is_told_by_name_and_no_count_falls() {
        let mut namespaces = Namespaces::default();
        for number in 0..60 {
            namespaces.book(&format!("small-{number}"));
        }
        assert_eq!((namespaces.named.len(), namespaces.others), (NAMED, 10));
        let mut before = namespaces.clone();
        for _ in 0..100 {
            namespaces.book("large");
            assert!(namespaces.others >= before.others);
            let falls = |(name, calls): (&String, &u64)| namespaces.named.get(name).is_some_and(|now| now < calls);
            assert!(!before.named.iter().any(falls));
            before = namespaces.clone();
        }
        assert_eq!(namespaces.named.len(), NAMED);
        assert!(namespaces.named["large"] > 90, "{:?}", namespaces.named["large"]);
        let told: u64 = namespaces.named.values().sum();
        // One that left took a call with it.
        assert_eq!(told + namespaces.others, 159);
    }
}
