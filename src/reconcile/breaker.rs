//! Holds deletions that nobody is seen to have asked for, when they are many.
//!
//! ```text
//! a list lacks objects ─► their units are suspected ┐
//! a kind shrank a lot ─► all are, for a while       ├─► what would be deleted ─┬─ little within a minute: deleted
//! a member is missing that nobody saw being deleted ┘                          └─ much: stays as if it were wished, is
//!                                                                                 told, goes when somebody confirms
//! ```
//! A deletion has evidence when its object was seen being deleted, or a spec being changed: then nothing is held, however
//! much it is. An API server that loses its memory, or tells a part of it, must not take the load balancers with it.

use super::{CONFIRM_DELETION, Controller, group::Task, state::Notes};
use crate::{
    facts::{Cluster, TargetGroupBinding},
    ingress::Built,
    k8s::watch::Kind,
    model::*,
};
use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// How often lists lacked something.
    vanishings: u64,
    /// Units that lost something unseen, and the last time that they did; until nothing of them is to be deleted.
    suspected: BTreeMap<Unit, u64>,
    /// When something shrank a lot that members of groups depend on.
    members_shrunk: Option<Instant>,
    /// When something shrank a lot that targets depend on.
    targets_shrunk: Option<Instant>,
    /// What each unit would have deleted without evidence: when that came up, and how much at most.
    counted: BTreeMap<Unit, (Instant, usize)>,
    /// Those that were done, and when they came up.
    done: Vec<(Instant, usize)>,
    /// Units whose deletions are held.
    held: BTreeSet<Unit>,
    /// Units of which somebody said that what is gone is to be deleted, until it is.
    confirmed: BTreeSet<Unit>,
}

/// How long the time of evidence that is worth nothing still lasts.
fn rest(shrunk: Option<Instant>) -> Option<Duration> {
    let left = (shrunk? + SHRUNK).saturating_duration_since(Instant::now());
    Some(left).filter(|left| !left.is_zero())
}

impl Breaker {
    /// A list lacks `count` of `of` objects of a kind, which these units depend on.
    pub fn vanished(&mut self, kind: Kind, units: &BTreeSet<Unit>, count: usize, of: usize) {
        self.vanishings += 1;
        for unit in units.iter().filter(|unit| **unit != Unit::Network) {
            self.suspect(unit.clone());
        }
        if count > FEW && count * LOT > of {
            let now = Some(Instant::now());
            self.targets_shrunk = now;
            if !matches!(kind, Kind::Pod | Kind::EndpointSlice | Kind::Node) {
                self.members_shrunk = now;
            }
        }
    }

    fn suspect(&mut self, unit: Unit) {
        self.suspected.insert(unit, self.vanishings);
    }

    /// Deletions of a unit were held when the process before this one ended; and they were confirmed since, or not.
    pub fn go_on(&mut self, unit: Unit, is_confirmed: bool) {
        self.suspect(unit.clone());
        let known = if is_confirmed {
            &mut self.confirmed
        } else {
            &mut self.held
        };
        known.insert(unit);
    }

    /// How often lists lacked something until now.
    pub fn vanishings(&self) -> u64 {
        self.vanishings
    }

    /// How long no deletion of a unit has evidence yet, since a kind shrank a lot.
    pub fn shrunk(&self, unit: &Unit) -> Option<Duration> {
        rest(match unit {
            Unit::Group(_) => self.members_shrunk,
            Unit::Binding(_) | Unit::Network => self.targets_shrunk,
        })
    }

    /// Whether a unit may lack something that nobody saw go.
    pub fn suspects(&self, unit: &Unit) -> bool {
        self.suspected.contains_key(unit) || self.shrunk(unit).is_some()
    }

    /// Whether it suspects nobody.
    pub fn is_quiet(&self) -> bool {
        self.suspected.is_empty() && rest(self.members_shrunk.max(self.targets_shrunk)).is_none()
    }

    /// Somebody says that what is gone is to be deleted.
    pub fn confirm(&mut self, unit: Unit) {
        self.held.remove(&unit);
        self.confirmed.insert(unit);
    }

    /// Whether so many deletions of a unit without evidence are held. `seen` is how often lists had lacked something when
    /// they were counted, `owned` how much there is.
    pub fn holds(&mut self, unit: &Unit, seen: u64, deletions: usize, owned: usize) -> bool {
        let now = Instant::now();
        self.counted.retain(|_, (at, _)| now - *at < WINDOW);
        self.done.retain(|(at, _)| now - *at < WINDOW);
        if deletions == 0 {
            let was_held = self.held.remove(unit);
            let counted = self.counted.remove(unit).filter(|_| !was_held);
            self.done.extend(counted);
            self.confirmed.remove(unit);
            if self.suspected.get(unit).is_some_and(|at| *at <= seen) {
                self.suspected.remove(unit);
            }
            return false;
        }
        if self.confirmed.contains(unit) {
            return false;
        }
        if self.held.contains(unit) {
            return true;
        }
        let count = self.counted.entry(unit.clone()).or_insert((now, 0));
        count.1 = count.1.max(deletions);
        let recent: usize = self.counted.values().chain(&self.done).map(|(_, count)| count).sum();
        if recent <= FEW.max(owned / SHARE) {
            return false;
        }
        self.held.insert(unit.clone());
        true
    }

    /// Whether deletions of a unit are held.
    pub fn is_held(&self, unit: &Unit) -> bool {
        self.held.contains(unit)
    }

    /// How many units' deletions are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Nothing is known of a unit any more.
    pub fn forget(&mut self, unit: &Unit) {
        self.suspected.remove(unit);
        self.held.remove(unit);
        self.confirmed.remove(unit);
    }
}

impl Controller {
    /// Whether so many targets of a binding, of which nobody was seen to ask for their end, stay. `seen` is how often lists
    /// had lacked something when they were counted.
    pub(crate) fn holds_targets(&self, binding: &TargetGroupBinding, seen: u64, deletions: usize) -> bool {
        let unit = &Unit::Binding(binding.key.clone());
        let mut notes = self.notes();
        let (was_suspected, was_held) = (notes.breaker.suspects(unit), notes.breaker.is_held(unit));
        let held = notes.holds(unit, seen, deletions);
        if let Some(key) = binding.group.as_ref().filter(|_| held != was_held) {
            // It tells so.
            self.wake(Unit::Group(key.clone()), Duration::ZERO);
        }
        if was_suspected && !notes.breaker.suspects(unit) {
            // It closed nothing until that was clear.
            self.wake(Unit::Network, Duration::ZERO);
        }
        held
    }
}

impl Task<'_> {
    /// The members that are gone and whose wishes stay: nobody was seen to ask for their end, and what they have is much.
    /// `built` is the group without them.
    pub(super) fn held_members(&self, built: &Built, notes: &mut Notes, cluster: &Cluster) -> BTreeSet<ObjectKey> {
        let (seen, suspects) = (notes.breaker.vanishings(), notes.breaker.suspects(&self.unit));
        let shrunk = notes.breaker.shrunk(&self.unit).is_some();
        let unseen = |member: &&ObjectKey| match cluster.ingress(member) {
            _ if shrunk => true,
            None => !cluster.was_seen_to_leave(self.key, member),
            Some(ingress) => suspects && !ingress.deleting && !cluster.was_seen_to_leave(self.key, member),
        };
        let wishes = &self.memory.contributions;
        let mut gone: BTreeSet<&ObjectKey> = wishes.keys().filter(|member| !built.active.contains(member)).collect();
        gone.retain(unseen);
        if cluster.standing_in(self.key).next().is_none() && !cluster.was_seen_to_end(self.key) {
            // A group that lost all of its members is not deleted at all.
            gone.clear();
        }
        let deletions = match &gone {
            gone if gone.is_empty() => 0,
            _ if built.active.is_empty() => self.memory.observed.size(),
            gone => gone.iter().map(|member| wishes[*member].size()).sum(),
        };
        if notes.holds(&self.unit, seen, deletions) {
            gone.into_iter().cloned().collect()
        } else {
            BTreeSet::new()
        }
    }

    /// What is told where deletions of the group, or of its targets, are held.
    pub(super) fn held(&self, notes: &Notes, cluster: &Cluster) -> Option<Problem> {
        let breaker = &notes.breaker;
        let held = breaker.held() > 0 && cluster.units_of(self.key).any(|unit| breaker.is_held(&unit));
        held.then(|| Problem {
            member: None,
            object: Object::LoadBalancer(self.object_name()),
            field: CONFIRM_DELETION.to_owned(),
            severity: Severity::Blocking,
            code: Code::Held,
            detail: format!(
                "much was to be deleted that nobody was seen to ask for: objects of group {} vanished from what the API \
                 server lists. What they have in AWS stays. If they are really gone, annotate this object with \
                 {CONFIRM_DELETION}=true (remove it first where it stands already); if not, restore them.",
                self.key
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str) -> Unit {
        Unit::Group(GroupKey::Explicit(name.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_done_and_many_are_held_until_they_are_restored_or_confirmed() {
        let mut breaker = Breaker::default();
        assert!(!breaker.holds(&unit("a"), 0, 5, 100));
        assert!(breaker.holds(&unit("b"), 0, 1, 100), "five a minute");
        tokio::time::advance(WINDOW).await;
        assert!(breaker.holds(&unit("b"), 0, 1, 100), "held is held");
        assert!(!breaker.holds(&unit("c"), 0, 5, 100), "others are not held for that");
        assert!(
            !breaker.holds(&unit("c"), 0, 4, 100),
            "the same deletions, looked at again"
        );
        assert!(
            !breaker.holds(&unit("b"), 0, 0, 100) && !breaker.is_held(&unit("b")),
            "restored"
        );
        tokio::time::advance(WINDOW).await;
        assert!(
            !breaker.holds(&unit("d"), 0, 20, 1000),
            "two in a hundred of what is owned"
        );
        assert!(breaker.holds(&unit("e"), 0, 1, 1000));
        tokio::time::advance(WINDOW).await;
        assert!(!breaker.holds(&unit("f"), 0, 5, 100) && !breaker.holds(&unit("f"), 0, 0, 100));
        assert!(breaker.holds(&unit("f"), 0, 1, 100), "those were done a moment ago");
        breaker.holds(&unit("f"), 0, 0, 100);
        breaker.confirm(unit("e"));
        assert!(!breaker.holds(&unit("e"), 0, 9, 1000) && breaker.held() == 0);
        assert!(!breaker.holds(&unit("e"), 0, 0, 1000));
        assert!(breaker.holds(&unit("e"), 0, 9, 100), "confirmed once");
    }

    #[test]
    fn what_vanished_after_the_count_stays_suspected() {
        let mut breaker = Breaker::default();
        let before = breaker.vanishings();
        breaker.vanished(Kind::Ingress, &[unit("a"), Unit::Network].into(), 1, 100);
        assert!(breaker.suspects(&unit("a")) && !breaker.suspects(&unit("b")) && !breaker.suspects(&Unit::Network));
        assert!(!breaker.holds(&unit("a"), before, 0, 0) && breaker.suspects(&unit("a")));
        assert!(!breaker.holds(&unit("a"), breaker.vanishings(), 0, 0) && !breaker.suspects(&unit("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_list_that_lacks_much_nothing_has_evidence_for_a_while() {
        let target = Unit::Binding(ObjectKey::new("shop", "a"));
        let mut breaker = Breaker::default();
        breaker.vanished(Kind::Ingress, &BTreeSet::new(), 5, 5);
        breaker.vanished(Kind::Ingress, &BTreeSet::new(), 20, 100);
        assert!(!breaker.suspects(&unit("a")), "few, or a fifth");
        breaker.vanished(Kind::Pod, &BTreeSet::new(), 21, 100);
        assert!(!breaker.suspects(&unit("a")) && breaker.suspects(&target));
        tokio::time::advance(SHRUNK / 2).await;
        breaker.vanished(Kind::IngressClass, &BTreeSet::new(), 21, 100);
        tokio::time::advance(SHRUNK / 2).await;
        assert!(breaker.suspects(&unit("a")) && breaker.suspects(&target));
        assert_eq!(breaker.shrunk(&unit("a")), Some(SHRUNK / 2));
        tokio::time::advance(SHRUNK / 2).await;
        assert!(!breaker.suspects(&unit("a")) && !breaker.suspects(&target));
    }
}
