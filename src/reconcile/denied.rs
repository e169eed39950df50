//! Whom a missing permission concerns: a group is told of what the network and its bindings lack too.

use super::{Controller, Outcome};
use crate::{aws::Lack, model::*};
use std::time::Duration;

impl Controller {
    /// Keeps what a unit lacks, and wakes the groups that have to tell of it when that is news.
    pub(super) fn note_lack(&self, unit: &Unit, outcome: &Outcome) {
        let lack = match outcome {
            Outcome::Denied(lack) => Some(lack.clone()),
            // Nothing was found out.
            Outcome::Superseded | Outcome::Deposed => return,
            _ => None,
        };
        let mut notes = self.notes();
        let cluster = self.cluster();
        let concerned: Vec<GroupKey> = match unit {
            Unit::Group(_) => return,
            Unit::Network if notes.network_lack == lack => return,
            Unit::Network => {
                notes.network_lack = lack;
                cluster.groups().cloned().collect()
            }
            Unit::Binding(key) => match notes.find_binding_mut(key).filter(|notes| notes.lack != lack) {
                None => return,
                Some(notes) => {
                    notes.lack = lack;
                    let binding = cluster.binding(key);
                    binding.and_then(|binding| binding.group.clone()).into_iter().collect()
                }
            },
        };
        for group in concerned {
            self.wake(Unit::Group(group), Duration::ZERO);
        }
    }

    /// What the network and the bindings of a group lack, each permission once.
    pub(super) fn lacks_beside(&self, key: &GroupKey) -> Vec<Lack> {
        let notes = self.notes();
        let cluster = self.cluster();
        let of_bindings = cluster
            .bindings_of(key)
            .filter_map(|binding| notes.find_binding(&binding.key)?.lack.clone());
        let mut lacks: Vec<Lack> = notes.network_lack.iter().cloned().chain(of_bindings).collect();
        lacks.sort_by(|a, b| a.action.cmp(&b.action));
        lacks.dedup_by(|a, b| a.action == b.action);
        lacks
    }
}
