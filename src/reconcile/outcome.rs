//! How a task ended.

use std::{fmt, time::Duration};
use tokio::time::Instant;

/// How a task ended, and so when its unit runs again. A user's mistake is not an outcome: it is reported, and what can be
/// done without it is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing is left to do until something changes.
    Settled,
    /// Something takes its time; look again after so long, or when the unit is woken.
    Waiting {
        /// What is waited for.
        on: String,
        /// When to look again.
        again: Duration,
    },
    /// It was woken: what it saw was old.
    Superseded,
    /// Another process leads.
    Deposed,
    /// AWS or Kubernetes said no, or nothing; tried again, later each time.
    Failed {
        /// What happened.
        why: String,
    },
}

impl Outcome {
    /// AWS was read so soon after something was made that what it does not show may still be there.
    pub fn until_proven(at: Instant) -> Self {
        Self::Waiting {
            on: "AWS to show what was made a moment ago".to_owned(),
            again: at.duration_since(Instant::now()),
        }
    }

    /// For metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Waiting { .. } => "waiting",
            Self::Superseded => "superseded",
            Self::Deposed => "deposed",
            Self::Failed { .. } => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { on, .. } => write!(f, "waiting for {on}"),
            Self::Failed { why } => write!(f, "failed: {why}"),
            other => f.write_str(other.name()),
        }
    }
}

/// How long a unit rests after `failures` failed tasks in a row: a second, doubling, five minutes at most. A throttled
/// call never counts: it waits for its token.
pub fn rest(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(8)).min(Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_keeps_failing_rests_longer_but_never_long() {
        assert_eq!(rest(1), Duration::from_secs(1));
        assert_eq!(rest(4), Duration::from_secs(8));
        assert_eq!(rest(60), Duration::from_secs(256));
    }
}
