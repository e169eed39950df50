//! Scripted faults: what shall go wrong, at which call.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::{Call, Service};
use crate::time::seconds;

/// An order that calls fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Fault {
    /// Only calls of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Only calls of this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Only calls that change something.
    #[serde(default)]
    pub writes: bool,
    /// Only calls whose input, written as JSON, contains this text (a name, an ARN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containing: Option<String>,
    /// The first matching call that fails, counted from 1 since the order was given.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many matching calls fail from there on.
    #[serde(default = "one")]
    pub times: u64,
    /// What goes wrong.
    pub kind: Kind,
    /// Matching calls so far.
    #[serde(default)]
    pub seen: u64,
}

fn one() -> u64 {
    1
}

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Refused as if a bucket were empty.
    Throttle,
    /// Answered with this error; not applied.
    Error {
        /// HTTP status, such as 503.
        status: u16,
        /// Error code, such as `ServiceUnavailable`.
        code: String,
        /// For people.
        #[serde(default)]
        message: String,
    },
    /// The connection is cut; not applied.
    ResetBefore,
    /// Applied, then the connection is cut: the caller cannot know.
    ReplyLost,
    /// Performed and answered this much later; in JSON `{"latency": 1.5}`, in seconds.
    Latency(#[serde(with = "seconds")] Duration),
}

impl Fault {
    /// The next call of any kind fails; narrow it with the fields.
    pub fn new(kind: Kind) -> Self {
        Fault {
            service: None,
            operation: None,
            writes: false,
            containing: None,
            nth: 1,
            times: 1,
            kind,
            seen: 0,
        }
    }

    /// The same for calls of one operation.
    pub fn of(self, operation: &str) -> Self {
        Fault {
            operation: Some(operation.to_owned()),
            ..self
        }
    }

    /// The same from the nth matching call on.
    pub fn nth(self, nth: u64) -> Self {
        Fault { nth, ..self }
    }

    /// The same for this many calls.
    pub fn times(self, times: u64) -> Self {
        Fault { times, ..self }
    }

    /// Counts a call, if it matches; whether it shall fail.
    fn strikes(&mut self, call: &Call, params: &Value) -> bool {
        let matching = self.service.is_none_or(|service| service == call.service)
            && self
                .operation
                .as_ref()
                .is_none_or(|operation| *operation == call.operation)
            && !(self.writes && call.is_read())
            && self
                .containing
                .as_ref()
                .is_none_or(|text| params.to_string().contains(text.as_str()));
        if !matching {
            return false;
        }
        self.seen += 1;
        self.seen >= self.nth && self.seen < self.nth.saturating_add(self.times)
    }
}

/// What the faults in force say of a call: the first that strikes decides how it ends, latencies add up.
pub fn judge(faults: &mut [Fault], call: &Call, params: &Value) -> (Duration, Option<Kind>) {
    let (mut delay, mut end) = (Duration::ZERO, None);
    for fault in faults {
        if fault.strikes(call, params) {
            match &fault.kind {
                Kind::Latency(more) => delay += *more,
                kind => end = end.or_else(|| Some(kind.clone())),
            }
        }
    }
    (delay, end)
}
