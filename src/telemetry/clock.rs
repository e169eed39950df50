//! What time it is, for people and for what is written down. What is waited for is measured with tokio's clock.

use jiff::Timestamp;
use tokio::time::Instant;

/// A clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Simulated(Instant),
}

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// One that begins with the year 2026 and follows tokio's time.
    pub fn simulated() -> Self {
        Self(Source::Simulated(Instant::now()))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Simulated(begun) => {
                let since = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
                Timestamp::from_second(1_767_225_600_i64.saturating_add(since)).unwrap_or(Timestamp::MAX)
            }
        }
    }
}
