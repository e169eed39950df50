//! What is remembered of each unit between its tasks, and over a restart.
//!
//! The memory of a group is `status.applied` of its LoadBalancer object. Here it is kept as that text, compressed, and
//! decoded when the group is worked on: ten thousand groups are some tens of megabytes.

use super::breaker::Breaker;
use crate::{
    aws::Lack,
    ingress::Contribution,
    k8s::{Note, memory},
    model::*,
    network::HostGroups,
    plan::{NetworkObserved, Observed, TargetsObserved},
    targets::gates::Polls,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// What is remembered of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupMemory {
    /// The last good wishes of each member.
    pub contributions: BTreeMap<ObjectKey, Contribution>,
    /// What was looked up.
    pub selectors: Option<Selectors>,
    /// What it stood for.
    pub resolved: Resolved,
    /// What AWS holds.
    pub observed: Observed,
    /// Values of `albacore.dev/verify` that were acted upon, by object.
    pub verified: BTreeMap<String, String>,
    /// Whether the confirmation on the group's object is from a time when the group had members: it says nothing of what
    /// vanishes later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub confirmed_before: bool,
}

/// What is remembered of the cluster network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkMemory {
    /// What AWS holds.
    pub observed: NetworkObserved,
    /// Security groups of nodes and pods, by instance.
    pub hosts: BTreeMap<InstanceId, HostGroups>,
}

/// What a group's tasks know beyond its memory; lost with the process, and made anew without asking AWS.
#[derive(Clone, Debug, Default)]
pub struct GroupNotes {
    /// Its memory as text.
    applied: Option<String>,
    /// Whether it has an object in Kubernetes.
    known: bool,
    /// How many things AWS holds for it, by that memory.
    size: usize,
    /// Problems that only the edge could find.
    pub refusals: BTreeMap<ObjectKey, Refusal>,
    /// Whether its load balancer wants the backend security group; `None` until it was built once.
    pub wants_backend: Option<bool>,
    /// Tasks that failed in a row.
    pub failures: u32,
    /// Times in a row that AWS would not let go of something.
    pub in_use: u32,
    /// Since when what is remembered must not be believed until AWS was asked.
    pub doubtful: Option<Instant>,
    /// Since when AWS refuses its security groups.
    pub groups_refused: Option<Instant>,
    /// Whether its memory could not be written to its object.
    pub unsaved: bool,
    /// Whether its object says that something is in flight.
    pub in_flight: bool,
    /// When something was last written to AWS for it, or may have been: AWS may show what was there before for a while.
    pub written: Option<Instant>,
    /// When AWS is to be read again, since it was read so soon after something was written.
    pub unproven: Option<Instant>,
    /// Since when nothing was to be done but to wait.
    pub waits_since: Option<Instant>,
    /// Value of `albacore.dev/verify` on its object.
    pub verify: Option<String>,
    /// Whether its object says that it may go although nobody was seen to end it.
    pub confirmed: bool,
    /// Load balancers that were replaced, and since when.
    pub retired: BTreeMap<LoadBalancerArn, Instant>,
    /// What was last told of each member, so that it is told again only when it changed or is old.
    pub told: BTreeMap<ObjectKey, Told>,
    /// Fingerprint of what its object last said, so that it is written only when that changed.
    pub shown: Option<u64>,
    /// Whether its members were told that they have to wait for their turn at AWS.
    pub foretold: bool,
    /// Whether a status could not be written.
    pub untold: bool,
}

/// What was told of an Ingress.
#[derive(Clone, Debug)]
pub struct Told {
    /// Of which one of that name.
    pub uid: String,
    /// What.
    pub notes: Vec<Note>,
    /// When.
    pub at: Instant,
}

/// A member's wishes that AWS, or a look at AWS, refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The wishes that met there, of that member and of others: while they are the same, it is not asked for again …
    pub wishes: Arc<BTreeMap<ObjectKey, Contribution>>,
    /// … before this moment.
    pub until: Instant,
    /// How often it was asked for.
    pub times: u32,
    /// Why.
    pub problems: Vec<Problem>,
}

impl GroupNotes {
    /// Whether the group has an object in Kubernetes.
    pub fn known(&self) -> bool {
        self.known
    }

    /// Its object is gone. What AWS holds has to be proven, and the memory is written anew.
    pub fn lost_object(&mut self) {
        *self = Self {
            applied: self.applied.take(),
            size: self.size,
            doubtful: Some(Instant::now()),
            ..Self::default()
        };
    }

    /// Its memory; empty for one that cannot be read.
    pub fn memory(&self) -> GroupMemory {
        self.applied.as_deref().and_then(memory::decode).unwrap_or_default()
    }

    /// Keeps the memory that stands in the group's object, and how many things AWS holds by it.
    pub fn remember(&mut self, applied: String, size: usize) {
        self.applied = Some(applied);
        self.known = true;
        self.size = size;
    }
}

/// What is known of a binding's targets.
#[derive(Clone, Debug, Default)]
pub struct BindingNotes {
    /// The target group that this is about.
    target_group: Option<TargetGroupArn>,
    /// What AWS holds; `None` until it is known.
    pub observed: Option<TargetsObserved>,
    /// Targets that AWS refused, and when.
    pub refused: BTreeMap<Target, Instant>,
    /// When targets last went in or out.
    pub written: Option<Instant>,
    /// Targets that wait for others that come at the same time.
    pub arriving: Arriving,
    /// When AWS is asked how targets are, which pods wait for.
    pub polls: Polls,
    /// Whether that, and the binding's mark, must not be believed until AWS was asked.
    pub doubtful: bool,
    /// Tasks that failed in a row.
    pub failures: u32,
    /// The permission that its last task lacked.
    pub lack: Option<Lack>,
}

/// Gathers targets that come one after the other, so that one call registers them all: the first goes in at once, those
/// that follow it closely when none came for [`Arriving::IDLE`], or the first of them waits for [`Arriving::LONGEST`].
#[derive(Clone, Debug, Default)]
pub struct Arriving {
    /// When targets were last registered.
    registered: Option<Instant>,
    /// Those that wait, and how often that changed.
    waiting: BTreeSet<Target>,
    changes: u64,
    /// Since when some wait, and when that last changed.
    since: Option<(Instant, Instant)>,
}

impl Arriving {
    /// How long none may come for those that wait to go in.
    pub const IDLE: Duration = Duration::from_millis(300);
    /// How long one waits at most.
    pub const LONGEST: Duration = Duration::from_secs(2);
    /// As many go in at once.
    const FULL: usize = 200;

    /// How long these targets wait for others; `None` when it is their turn.
    pub fn wait(&mut self, coming: BTreeSet<Target>) -> Option<Duration> {
        let now = Instant::now();
        let busy = self.since.is_some() || self.registered.is_some_and(|at| now - at < Self::LONGEST);
        if !busy || coming.len() >= Self::FULL {
            return None;
        }
        let (first, mut last) = self.since.unwrap_or((now, now));
        if coming != self.waiting {
            self.waiting = coming;
            self.changes += 1;
            last = now;
        }
        self.since = Some((first, last));
        let due = (last + Self::IDLE).min(first + Self::LONGEST);
        (due > now).then(|| due - now)
    }

    /// Targets are registered now; gives how many calls that saves.
    pub fn registered(&mut self) -> u64 {
        let saved = self.changes.saturating_sub(1);
        *self = Self {
            registered: Some(Instant::now()),
            ..Self::default()
        };
        saved
    }
}

impl BindingNotes {
    /// Forgets the targets of another target group: one that is made anew has the name of the one before, and its binding.
    pub fn turn_to(&mut self, group: &TargetGroupArn) {
        if self
            .target_group
            .replace(group.clone())
            .is_some_and(|before| before != *group)
        {
            self.observed = None;
            self.refused.clear();
            self.arriving = Arriving::default();
            self.polls = Polls::default();
        }
    }
}

/// Notes of every unit.
#[derive(Debug, Default)]
pub struct Notes {
    groups: BTreeMap<GroupKey, GroupNotes>,
    bindings: BTreeMap<ObjectKey, BindingNotes>,
    /// The memory of the network, and whether it can be believed.
    pub network: NetworkMemory,
    /// Times in a row that AWS would not let go of the backend security group.
    pub network_in_use: u32,
    /// Since when network interfaces keep the backend security group, which nobody wants any more.
    pub network_waits_since: Option<Instant>,
    /// Instances that have no security group that can be chosen, and since when that is known.
    pub groupless: BTreeMap<InstanceId, Instant>,
    /// Since when the network's memory must not be believed until AWS was asked.
    pub network_doubtful: Option<Instant>,
    /// Whether Kubernetes holds another memory of the network, or one that says that something is in flight.
    pub network_unsaved: bool,
    /// When something was last written to AWS for the network, or may have been.
    pub network_written: Option<Instant>,
    /// When AWS is to be read again, since it was read so soon after something was written.
    pub network_unproven: Option<Instant>,
    /// Which deletions are held.
    pub breaker: Breaker,
    /// Whether AWS was asked once for what is not remembered.
    pub network_read: bool,
    /// Tasks of the network that failed in a row.
    pub network_failures: u32,
    /// The permission that its last task lacked.
    pub network_lack: Option<Lack>,
}

/// Reads of AWS lag behind writes: what was made within this time and is not shown may still be there, and what is shown
/// may be changed or gone. AWS names no bound ("eventual consistency"); seconds are usual, so a minute is generous.
pub(super) const LAG: Duration = Duration::from_secs(60);

/// Until when a read does not prove what was written at that moment; `None` when it does.
pub fn unproven(written: Instant) -> Option<Instant> {
    Some(written + LAG).filter(|until| *until > Instant::now())
}

impl Notes {
    /// The notes of a group.
    pub fn group(&mut self, key: &GroupKey) -> &mut GroupNotes {
        self.groups.entry(key.clone()).or_default()
    }

    /// The notes of a group, if there are any.
    pub fn find_group(&self, key: &GroupKey) -> Option<&GroupNotes> {
        self.groups.get(key)
    }

    /// The notes of a group, if there are any, to be changed.
    pub fn find_group_mut(&mut self, key: &GroupKey) -> Option<&mut GroupNotes> {
        self.groups.get_mut(key)
    }

    /// The notes of a binding, if there are any.
    pub fn find_binding(&self, key: &ObjectKey) -> Option<&BindingNotes> {
        self.bindings.get(key)
    }

    /// The notes of a binding, if there are any, to be changed.
    pub fn find_binding_mut(&mut self, key: &ObjectKey) -> Option<&mut BindingNotes> {
        self.bindings.get_mut(key)
    }

    /// Groups that something is known of.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupKey, &GroupNotes)> {
        self.groups.iter()
    }

    /// What is remembered of a unit must not be believed until AWS was asked.
    pub fn doubt(&mut self, unit: &Unit) {
        match unit {
            Unit::Network => self.network_doubtful = Some(Instant::now()),
            Unit::Group(key) => self.group(key).doubtful = Some(Instant::now()),
            Unit::Binding(key) => self.binding(key).doubtful = true,
        }
    }

    /// Whether so many deletions of a unit without evidence are held ([`Breaker::holds`]).
    pub fn holds(&mut self, unit: &Unit, seen: u64, deletions: usize) -> bool {
        let owned = if deletions == 0 { 0 } else { self.owned() };
        self.breaker.holds(unit, seen, deletions, owned)
    }

    /// How many things AWS holds for all units, as far as that is known.
    fn owned(&self) -> usize {
        let of_groups: usize = self.groups.values().map(|notes| notes.size).sum();
        let targets = self.bindings.values().filter_map(|notes| notes.observed.as_ref());
        of_groups + targets.map(|observed| observed.registered.len()).sum::<usize>()
    }

    /// Forgets a group.
    pub fn forget_group(&mut self, key: &GroupKey) {
        self.breaker.forget(&Unit::Group(key.clone()));
        self.groups.remove(key);
    }

    /// The notes of a binding.
    pub fn binding(&mut self, key: &ObjectKey) -> &mut BindingNotes {
        self.bindings.entry(key.clone()).or_default()
    }

    /// Forgets a binding.
    pub fn forget_binding(&mut self, key: &ObjectKey) {
        self.breaker.forget(&Unit::Binding(key.clone()));
        self.bindings.remove(key);
    }

    /// Whether one of `all` wants the backend security group; `None` while none does and one was not built yet.
    pub fn backend_wanted(&self, all: &BTreeSet<GroupKey>) -> Option<bool> {
        let wants = |key: &GroupKey| self.groups.get(key).and_then(|notes| notes.wants_backend);
        if all.iter().any(|key| wants(key) == Some(true)) {
            return Some(true);
        }
        all.iter().all(|key| wants(key).is_some()).then_some(false)
    }
}
