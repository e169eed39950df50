//! The double's clock: tokio's time counted from a fixed moment, so that tests with paused time decide what time it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// The one clock of a double.
#[derive(Debug)]
pub struct Clock {
    epoch: Timestamp,
    start: Instant,
    skipped_ms: AtomicU64,
}

impl Clock {
    /// A clock that shows `epoch` now.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Clock {
            epoch,
            start: Instant::now(),
            skipped_ms: AtomicU64::new(0),
        }
    }

    /// What time it is in the double.
    pub fn now(&self) -> Timestamp {
        let passed = self.start.elapsed() + Duration::from_millis(self.skipped_ms.load(Ordering::Relaxed));
        self.epoch.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// Lets time jump ahead, for a person or a test that does not want to wait.
    pub fn skip(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.skipped_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Durations as seconds in JSON, for orders that people write.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
