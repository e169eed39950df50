//! Holds deletions that nobody is seen to have asked for, when they are many.
//!
//! ```text
//! a list lacks objects ─► their units lack evidence ─► deletions ─┬─ few within a minute: done
//! a kind shrank a lot ─► for a while nothing has any              └─ many: held, told, done when somebody confirms
//! ```
//! A deletion has evidence when the object was seen to be deleted, or a spec was seen to change: then nothing is held, however
//! much it is. An API server that loses its memory, or tells a part of it, must not take the load balancers with it.

use super::{CONFIRM_DELETION, Controller, group::Task};
use crate::{
    ingress::Built,
    model::*,
    plan::{Observed, Plan},
};
use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// Deletions without evidence are counted over this long.
const WINDOW: Duration = Duration::from_secs(60);
/// As many may be done in that time whatever is owned …
const FEW: usize = 5;
/// … and one in so many of what is owned.
const SHARE: usize = 50;
/// After a kind shrank a lot, no deletion has evidence for this long.
const SHRUNK: Duration = Duration::from_secs(300);
/// A kind shrank a lot when a list lacks more than one in so many objects, and more than [`FEW`].
const LOT: usize = 5;

/// Which deletions are held.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Units that lost something unseen since they last came to rest.
    unseen: BTreeSet<Unit>,
    /// When a kind shrank a lot.
    shrunk: Option<Instant>,
    /// Deletions without evidence: when, and how many.
    recent: VecDeque<(Instant, usize)>,
    /// Units whose deletions are held.
    held: BTreeSet<Unit>,
    /// Units of which somebody said that what is gone is to be deleted, until they come to rest.
    confirmed: BTreeSet<Unit>,
}

impl Breaker {
    /// A list lacks `count` of `of` objects of a kind, which these units depend on.
    pub fn vanished(&mut self, units: &BTreeSet<Unit>, count: usize, of: usize) {
        self.unseen
            .extend(units.iter().filter(|unit| **unit != Unit::Network).cloned());
        if count > FEW && count * LOT > of {
            self.shrunk = Some(Instant::now());
        }
    }

    /// Whether nobody was seen to ask for what a unit deletes now; `unseen` says that of something that only it knows.
    pub fn lacks_evidence(&self, unit: &Unit, unseen: bool) -> bool {
        let unseen = unseen || self.unseen.contains(unit) || self.shrunk.is_some_and(|at| at.elapsed() < SHRUNK);
        unseen && !self.confirmed.contains(unit)
    }

    /// Somebody says that what is gone is to be deleted.
    pub fn confirm(&mut self, unit: &Unit) {
        self.held.remove(unit);
        self.confirmed.insert(unit.clone());
    }

    /// Whether so many deletions of a unit without evidence may be done; else they are held. `owned` is how much there is.
    pub fn allows(&mut self, unit: &Unit, deletions: usize, owned: usize) -> bool {
        let now = Instant::now();
        self.recent.retain(|(at, _)| now - *at < WINDOW);
        let recent: usize = self.recent.iter().map(|(_, count)| count).sum();
        if self.held.is_empty() && recent + deletions <= FEW.max(owned / SHARE) {
            self.recent.push_back((now, deletions));
            return true;
        }
        self.held.insert(unit.clone());
        false
    }

    /// A unit deletes nothing that is held any more.
    pub fn release(&mut self, unit: &Unit) {
        self.held.remove(unit);
    }

    /// A unit came to rest.
    pub fn settled(&mut self, unit: &Unit) {
        self.unseen.remove(unit);
        self.held.remove(unit);
        self.confirmed.remove(unit);
    }

    /// Whether deletions of a unit are held.
    pub fn holds(&self, unit: &Unit) -> bool {
        self.held.contains(unit)
    }

    /// How many units' deletions are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// What a unit waits for whose deletions are held.
pub const WAIT: &str = "somebody to confirm that what vanished is to be deleted";

impl Controller {
    /// Whether deletions of a group, or of targets of it, are held.
    pub(super) fn holds(&self, key: &GroupKey) -> bool {
        let notes = self.notes();
        let cluster = self.cluster();
        let mut bindings = cluster.bindings().filter(|binding| binding.group.as_ref() == Some(key));
        notes.breaker.holds(&Unit::Group(key.clone()))
            || bindings.any(|binding| notes.breaker.holds(&Unit::Binding(binding.key.clone())))
    }

    /// Whether so many deletions of a unit are held; `unseen` says that the unit itself knows of something that vanished.
    pub(crate) fn holds_back(&self, unit: &Unit, unseen: bool, deletions: usize) -> bool {
        let mut notes = self.notes();
        if deletions == 0 || !notes.breaker.lacks_evidence(unit, unseen) {
            notes.breaker.release(unit);
            return false;
        }
        let of_groups = notes
            .groups()
            .map(|(_, notes)| size(&notes.memory().observed))
            .sum::<usize>();
        let owned = of_groups + notes.targets();
        !notes.breaker.allows(unit, deletions, owned)
    }
}

impl Task<'_> {
    /// Whether what a plan deletes is held: much of it, and nobody was seen to ask for that.
    pub(super) fn is_held(&self, built: &Built, plan: &Plan) -> bool {
        let deletions = plan.steps.iter().filter(|step| step.call.deletes()).count();
        let unseen = {
            let cluster = self.controller.cluster();
            let here = |member: &ObjectKey| built.active.contains(member) || built.leaving.contains(member);
            let mut members = self.memory.contributions.keys();
            // Where nobody is left, evidence or a person said that all is to go.
            !(built.active.is_empty() && built.leaving.is_empty())
                && members.any(|member| !here(member) && !cluster.was_seen_deleted(self.key, member))
        };
        self.controller.holds_back(&self.unit, unseen, deletions)
    }
}

/// How many things of AWS a group has.
fn size(observed: &Observed) -> usize {
    let listeners = observed.load_balancers.iter().flat_map(|lb| lb.listeners.values());
    let rules: usize = listeners.map(|listener| 1 + listener.rules.len()).sum();
    observed.load_balancers.len() + rules + observed.target_groups.len()
}

/// What is told where deletions are held.
pub fn problem(load_balancer: String, group: &GroupKey) -> Problem {
    Problem {
        member: None,
        object: Object::LoadBalancer(load_balancer),
        field: CONFIRM_DELETION.to_owned(),
        severity: Severity::Blocking,
        code: Code::Held,
        detail: format!(
            "much was to be deleted for which nobody was seen to ask: objects of group {group} vanished from what the API \
             server lists. Nothing of it is deleted. If they are really gone, annotate this object with \
             {CONFIRM_DELETION}=true (remove it first where it stands already); if not, restore them."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> Unit {
        Unit::Group(GroupKey::Explicit(name.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_done_and_many_are_held_until_those_are_released() {
        let mut breaker = Breaker::default();
        breaker.vanished(&[unit("a"), Unit::Network].into(), 1, 100);
        assert!(breaker.lacks_evidence(&unit("a"), false) && !breaker.lacks_evidence(&unit("b"), false));
        assert!(!breaker.lacks_evidence(&Unit::Network, false));
        assert!(breaker.allows(&unit("a"), 5, 100));
        assert!(!breaker.allows(&unit("b"), 1, 100), "five a minute");
        tokio::time::advance(WINDOW).await;
        assert!(
            !breaker.allows(&unit("c"), 1, 100),
            "nothing goes while something is held"
        );
        breaker.release(&unit("b"));
        breaker.release(&unit("c"));
        assert!(breaker.allows(&unit("c"), 1, 100));
        tokio::time::advance(WINDOW).await;
        assert!(
            breaker.allows(&unit("c"), 20, 1000),
            "two in a hundred of what is owned"
        );
        breaker.settled(&unit("a"));
        assert!(!breaker.lacks_evidence(&unit("a"), false) && breaker.lacks_evidence(&unit("a"), true));
        breaker.confirm(&unit("a"));
        assert!(!breaker.lacks_evidence(&unit("a"), true));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_list_that_lacks_much_nothing_has_evidence_for_a_while() {
        let mut breaker = Breaker::default();
        breaker.vanished(&BTreeSet::new(), 5, 5);
        breaker.vanished(&BTreeSet::new(), 20, 100);
        assert!(!breaker.lacks_evidence(&unit("a"), false), "few, or a fifth");
        breaker.vanished(&BTreeSet::new(), 21, 100);
        assert!(breaker.lacks_evidence(&unit("a"), false));
        tokio::time::advance(SHRUNK).await;
        assert!(!breaker.lacks_evidence(&unit("a"), false));
    }
}
