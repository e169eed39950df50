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

#[tokio::test(start_paused = true)]
async fn a_simulated_clock_follows_tokios_time() {
    let clock = Clock::simulated();
    assert_eq!(clock.now().to_string(), "2026-01-01T00:00:00Z");
    tokio::time::advance(std::time::Duration::from_secs(90)).await;
    assert_eq!(clock.now().to_string(), "2026-01-01T00:01:30Z");
}
