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

/// Everything booked since the start.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By kind of call.
    pub by_kind: BTreeMap<Kind, Spent>,
    /// By the unit the call was made for; forgotten with the unit.
    pub by_unit: BTreeMap<Unit, Spent>,
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
    }
}
