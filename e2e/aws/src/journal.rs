//! Every call that came in, in order.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::call::{Call, Service};

/// A call that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counted from 1 since the double began; not reset when the journal is cleared.
    pub n: u64,
    /// When it came in, by the double's clock.
    pub time: Timestamp,
    /// Asked service.
    pub service: Service,
    /// Operation in AWS' spelling.
    pub operation: String,
    /// Region of the credential scope.
    pub region: String,
    /// Who asked.
    pub access_key: String,
    /// Whether the operation changes nothing by its nature.
    pub read: bool,
    /// The input with the member names of the models; null if it could not be understood.
    pub params: Value,
    /// Refused for want of tokens, truly or as scripted.
    pub throttled: bool,
    /// Error code of the answer.
    pub error: Option<String>,
    /// The connection was cut, by order of a scripted fault.
    pub cut: bool,
    /// Whether it took effect or was answered from the world's state.
    pub applied: bool,
}

/// The calls since the double began or the journal was cleared.
#[derive(Debug, Default)]
pub struct Journal {
    entries: Vec<Entry>,
    count: u64,
}

impl Journal {
    /// Notes a call; what became of it is noted later under the returned number.
    pub fn begin(&mut self, call: &Call, params: &Value) -> u64 {
        self.count += 1;
        self.entries.push(Entry {
            n: self.count,
            time: call.now,
            service: call.service,
            operation: call.operation.clone(),
            region: call.region.clone(),
            access_key: call.access_key.clone(),
            read: call.is_read(),
            params: params.clone(),
            throttled: false,
            error: None,
            cut: false,
            applied: false,
        });
        self.count
    }

    /// Notes what became of call `n`.
    pub fn note(&mut self, n: u64, change: impl FnOnce(&mut Entry)) {
        if let Ok(found) = self.entries.binary_search_by_key(&n, |entry| entry.n) {
            change(&mut self.entries[found]);
        }
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many calls there were, forgotten ones too.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
