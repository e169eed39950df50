//! Those who wait for one bucket: lanes in strict order, and within a lane everybody gets a turn.

use crate::model::Lane;
use std::collections::{BTreeMap, VecDeque};

/// A place in a line; smaller is older.
pub type Ticket = u64;

/// The waiting asks of one bucket.
#[derive(Debug, Default)]
pub struct Line {
    lanes: BTreeMap<Lane, Turns>,
}

/// The waiting asks of a lane, by whose turn it is.
#[derive(Debug, Default)]
struct Turns {
    /// Whose turn is next; everybody who waits stands here once.
    order: VecDeque<String>,
    waiting: BTreeMap<String, VecDeque<Ticket>>,
}

impl Line {
    /// Puts an ask into its own queue, by age.
    pub fn push(&mut self, lane: Lane, turn: &str, ticket: Ticket) {
        let turns = self.lanes.entry(lane).or_default();
        if !turns.waiting.contains_key(turn) {
            // Who kept a place kept its turn: before the first who came later.
            let later = |asker: &String| {
                turns
                    .waiting
                    .get(asker)
                    .and_then(VecDeque::front)
                    .is_some_and(|&at| at > ticket)
            };
            let at = turns.order.iter().position(later).unwrap_or(turns.order.len());
            turns.order.insert(at, turn.to_owned());
        }
        let queue = turns.waiting.entry(turn.to_owned()).or_default();
        queue.insert(queue.partition_point(|&other| other < ticket), ticket);
    }

    /// Puts an ask where it stood when it was served: AWS refused it, so it was not its turn yet.
    pub fn push_front(&mut self, lane: Lane, turn: &str, ticket: Ticket) {
        let turns = self.lanes.entry(lane).or_default();
        turns.order.retain(|asker| asker != turn);
        turns.order.push_front(turn.to_owned());
        turns.waiting.entry(turn.to_owned()).or_default().push_front(ticket);
    }

    /// How many are served before the last of `asks` more of an asker.
    pub fn ahead(&self, lane: Lane, turn: &str, asks: usize) -> usize {
        let more_urgent = self.lanes.range(..lane).flat_map(|(_, turns)| turns.waiting.values());
        let own = |turns: &Turns| turns.waiting.get(turn).map_or(0, VecDeque::len);
        let of_lane = self.lanes.get(&lane).map_or(0, |turns| {
            // Everybody else has a turn for each of its turns.
            let own = own(turns);
            let others = turns.waiting.iter().filter(|(asker, _)| *asker != turn);
            own + others.map(|(_, queue)| queue.len().min(own + asks)).sum::<usize>()
        });
        more_urgent.map(VecDeque::len).sum::<usize>() + of_lane
    }

    /// Who is served next.
    pub fn head(&self) -> Option<(Lane, Ticket)> {
        let (&lane, turns) = self.lanes.first_key_value()?;
        let queue = turns.waiting.get(turns.order.front()?)?;
        Some((lane, *queue.front()?))
    }

    /// Serves the head: its asker goes to the back of its lane.
    pub fn pop(&mut self) -> Option<Ticket> {
        let mut entry = self.lanes.first_entry()?;
        let turns = entry.get_mut();
        let asker = turns.order.pop_front()?;
        let queue = turns.waiting.get_mut(&asker)?;
        let ticket = queue.pop_front();
        if queue.is_empty() {
            turns.waiting.remove(&asker);
        } else {
            turns.order.push_back(asker);
        }
        if turns.order.is_empty() {
            entry.remove();
        }
        ticket
    }

    /// Takes out somebody who no longer waits.
    pub fn remove(&mut self, lane: Lane, turn: &str, ticket: Ticket) {
        let Some(turns) = self.lanes.get_mut(&lane) else {
            return;
        };
        let Some(queue) = turns.waiting.get_mut(turn) else {
            return;
        };
        queue.retain(|&waiting| waiting != ticket);
        if queue.is_empty() {
            turns.waiting.remove(turn);
            turns.order.retain(|asker| asker != turn);
        }
        if turns.order.is_empty() {
            self.lanes.remove(&lane);
        }
    }

    /// How many wait, by lane.
    pub fn waiting(&self) -> impl Iterator<Item = (Lane, usize)> {
        self.lanes
            .iter()
            .map(|(&lane, turns)| (lane, turns.waiting.values().map(VecDeque::len).sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(line: &mut Line) -> Vec<Ticket> {
        std::iter::from_fn(|| line.pop()).collect()
    }

    #[test]
    fn the_urgent_go_first_and_askers_of_a_lane_take_turns() {
        let mut line = Line::default();
        for ticket in 1..=3 {
            line.push(Lane::Change, "noisy", ticket);
        }
        line.push(Lane::Change, "quiet", 4);
        line.push(Lane::Targets, "noisy", 5);
        line.push(Lane::Audit, "other", 6);
        assert_eq!(line.head(), Some((Lane::Targets, 5)));
        assert_eq!(served(&mut line), [5, 1, 4, 2, 3, 6]);
    }

    #[test]
    fn who_was_refused_keeps_the_place() {
        let mut line = Line::default();
        for (turn, ticket) in [("a", 1), ("b", 2), ("a", 3), ("b", 4)] {
            line.push(Lane::Change, turn, ticket);
        }
        assert_eq!(line.pop(), Some(1));
        line.push_front(Lane::Change, "a", 1);
        assert_eq!(served(&mut line), [1, 2, 3, 4]);
        line.push_front(Lane::Change, "c", 5);
        assert_eq!(served(&mut line), [5]);
    }

    #[test]
    fn who_comes_back_with_an_old_place_has_the_turn_that_goes_with_it() {
        let mut line = Line::default();
        for (turn, ticket) in [("a", 1), ("b", 2), ("c", 3)] {
            line.push(Lane::Change, turn, ticket);
        }
        line.remove(Lane::Change, "b", 2);
        line.push(Lane::Change, "b", 2);
        line.push(Lane::Change, "d", 4);
        assert_eq!(served(&mut line), [1, 2, 3, 4]);
    }

    #[test]
    fn who_comes_is_told_how_many_are_served_before() {
        let mut line = Line::default();
        for ticket in 0..100 {
            line.push(Lane::Change, "noisy", ticket);
        }
        line.push(Lane::Targets, "noisy", 100);
        line.push(Lane::Tidy, "noisy", 101);
        assert_eq!(
            line.ahead(Lane::Change, "quiet", 3),
            4,
            "a turn of the other for each, and the urgent one"
        );
        assert_eq!(line.ahead(Lane::Change, "noisy", 3), 101);
        assert_eq!(line.ahead(Lane::Targets, "quiet", 1), 1);
        assert_eq!(line.ahead(Lane::Tidy, "quiet", 1), 102);
    }

    #[test]
    fn who_gives_up_leaves_no_gap() {
        let mut line = Line::default();
        line.push(Lane::Change, "a", 1);
        line.push(Lane::Change, "b", 2);
        line.push(Lane::Change, "a", 3);
        line.remove(Lane::Change, "b", 2);
        line.remove(Lane::Change, "a", 1);
        line.remove(Lane::Audit, "a", 9);
        assert_eq!(served(&mut line), [3]);
        assert_eq!(line.head(), None);
    }
}
