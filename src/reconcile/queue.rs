//! Which unit is due when, and which are being worked on.
//!
//! ```text
//! wake ──► due (earliest moment wins) ──take──► running ──finish──► gone, or due again
//!                       ▲                          │ woken meanwhile: told through its Generation,
//!                       └──────────────────────────┘ and due again when it ends
//! ```
//! A unit is worked on by one task at a time. The order is that of the keys, so that the same events give the same
//! run.

use crate::model::Unit;
use std::{collections::BTreeMap, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How long events of one unit are gathered before it runs. Fixed from the first event on, so that a busy unit cannot
/// be starved by its own events.
pub const GATHER: Duration = Duration::from_millis(300);

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    due: BTreeMap<Unit, Instant>,
    running: BTreeMap<Unit, watch::Sender<bool>>,
}

/// Whether what a task saw of its unit is still the latest.
#[derive(Clone, Debug)]
pub struct Generation(watch::Receiver<bool>);

impl Generation {
    /// Whether nothing woke the unit since its task began.
    pub fn is_current(&self) -> bool {
        !*self.0.borrow()
    }

    /// Ends when the unit is woken.
    pub async fn superseded(&mut self) {
        // An error means that the queue is gone; then nothing will ever be woken.
        if self.0.wait_for(|woken| *woken).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Queue {
    /// The unit is due at `at`, or earlier if it was already. Its running task, if any, is told that what it saw is old.
    pub fn wake(&mut self, unit: Unit, at: Instant) {
        if let Some(running) = self.running.get(&unit) {
            running.send_replace(true);
        }
        self.schedule(unit, at);
    }

    /// The unit wants to run again at `at`; what its task saw is not old for that.
    pub fn schedule(&mut self, unit: Unit, at: Instant) {
        self.due.entry(unit).and_modify(|due| *due = at.min(*due)).or_insert(at);
    }

    /// The first unit that is due and not running; it counts as running from now on.
    pub fn take(&mut self, now: Instant) -> Option<(Unit, Generation)> {
        let unit = self
            .due
            .iter()
            .find(|(unit, at)| **at <= now && !self.running.contains_key(*unit))?
            .0
            .clone();
        self.due.remove(&unit);
        let (sender, receiver) = watch::channel(false);
        self.running.insert(unit.clone(), sender);
        Some((unit, Generation(receiver)))
    }

    /// The unit's task has ended.
    pub fn finish(&mut self, unit: &Unit) {
        self.running.remove(unit);
    }

    /// When the next unit that is not running is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due
            .iter()
            .filter(|(unit, _)| !self.running.contains_key(*unit))
            .map(|(_, at)| *at)
            .min()
    }

    /// Units waiting, and units running.
    pub fn depth(&self) -> (usize, usize) {
        (self.due.len(), self.running.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_busy_unit_runs_at_its_first_moment() {
        let mut queue = Queue::default();
        let start = Instant::now();
        queue.wake(Unit::Network, start + GATHER);
        queue.wake(Unit::Network, start + GATHER * 2);
        assert_eq!(queue.next_due(), Some(start + GATHER));
        assert!(queue.take(start).is_none());
        assert!(queue.take(start + GATHER).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_woken_while_it_runs_is_told_and_runs_again_afterwards() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.wake(Unit::Network, now);
        let (unit, mut generation) = queue.take(now).expect("due");
        assert!(generation.is_current());
        queue.wake(Unit::Network, now);
        assert!(!generation.is_current());
        generation.superseded().await;
        assert!(queue.take(now).is_none(), "one task at a time");
        queue.finish(&unit);
        let (_, generation) = queue.take(now).expect("due again");
        assert!(generation.is_current());
    }
}
