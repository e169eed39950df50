//! How a task ended.

use crate::{
    aws::{Fault, Lack},
    k8s,
};
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
    /// A permission is missing; tried again, rarely: it takes a person to give it.
    Denied(Lack),
    /// AWS or Kubernetes said no, or nothing; tried again, later each time.
    Failed {
        /// What happened.
        why: String,
    },
}

impl Outcome {
    /// AWS said no, or nothing.
    pub fn of(fault: &Fault) -> Self {
        match fault.lack() {
            Some(lack) => Self::Denied(lack),
            None => Self::Failed { why: fault.to_string() },
        }
    }

    /// Kubernetes said no, or nothing, about an object.
    pub fn said_no(about: impl fmt::Display) -> impl FnOnce(k8s::Fault) -> Self {
        move |fault| match fault {
            k8s::Fault::Deposed => Self::Deposed,
            fault => Self::Failed {
                why: format!("{about} could not be written: {fault}"),
            },
        }
    }

    /// Of two reasons to look again, the one that comes first; what failed comes before what waits.
    pub fn sooner(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Waiting { again: mine, .. }, Self::Waiting { again: its, .. }) if mine <= its => self,
            (Self::Waiting { .. }, _) => other,
            _ => self,
        }
    }

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
            Self::Denied(_) => "denied",
            Self::Failed { .. } => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { on, .. } => write!(f, "waiting for {on}"),
            Self::Denied(lack) => write!(f, "waiting for a permission: {lack}"),
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

/// How long a unit rests after `failures` tasks in a row that ended for want of a permission: half a minute, doubling, five
/// minutes at most. A policy takes effect within seconds to a minute of being changed, and every try is a call that is
/// lost.
pub fn rest_denied(failures: u32) -> Duration {
    Duration::from_secs(30 << failures.saturating_sub(1).min(4)).min(Duration::from_secs(300))
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

    #[test]
    fn a_missing_permission_is_asked_for_rarely_and_never_later_than_in_five_minutes() {
        let seconds = |failures| rest_denied(failures).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 60].map(seconds), [30, 60, 120, 240, 300, 300]);
    }
}
