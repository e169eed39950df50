//! Bindings → the shared backend security group, and the rules on the security groups of nodes and pods. Pure.
//!
//! ```text
//! binding ─► places (endpoints) ─► hosts ─► their security groups ┐
//!    └─► networking: who may reach which ports ───────────────────┴─► one port range per (group, source)
//! ```
//! AWS allows some sixty rules in a group: ports are merged into one range per source group, from the lowest to the highest.

pub mod endpoints;

pub use endpoints::{Place, checkpoint, places, seen_to_end, still_there};

use crate::{
    facts::{Cluster, TargetGroupBinding},
    model::*,
    plan::{NetworkIntent, NetworkObserved},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which security group of a node, and of the pods on it, takes rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostGroups {
    /// That of the node's primary network interface.
    pub node: SecurityGroupId,
    /// Addresses of other interfaces with another group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<(IpNet, SecurityGroupId)>,
}

impl HostGroups {
    /// Every group that may take rules.
    pub fn all(&self) -> impl Iterator<Item = SecurityGroupId> {
        let others = self.others.iter().map(|(_, group)| group);
        std::iter::once(&self.node).chain(others).cloned()
    }

    /// The group of a target on this host.
    fn of(&self, target: &Target) -> &SecurityGroupId {
        let address = endpoints::address(target);
        let other = self
            .others
            .iter()
            .find(|(range, _)| address.is_some_and(|address| range.contains(&address)));
        other.map_or(&self.node, |(_, group)| group)
    }
}

/// One opening that a binding needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opening {
    /// In this group of a node or pod …
    pub group: SecurityGroupId,
    /// … from here …
    pub peer: Peer,
    /// … to this port; `None` for all.
    pub port: Option<Port>,
}

/// What a binding, or all of them, need of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// What must be open.
    pub openings: BTreeSet<Opening>,
    /// Instances whose security groups have to be looked up first.
    pub unknown: BTreeSet<InstanceId>,
    /// Whether there are bindings of which nobody can say what they need: what is open stays open.
    pub undecided: bool,
}

/// What all bindings need, as far as the hosts' groups are known; `groupless` are instances that have none that can be
/// chosen.
pub fn needs(cluster: &Cluster, hosts: &BTreeMap<InstanceId, HostGroups>, groupless: &BTreeSet<InstanceId>) -> Needs {
    let mut all = Needs::default();
    for binding in cluster.bindings().filter(|binding| !binding.deleting) {
        let needs = needs_of(cluster, binding, hosts, groupless);
        all.openings.extend(needs.openings);
        all.unknown.extend(needs.unknown);
        all.undecided |= needs.undecided;
    }
    all
}

/// What one binding needs.
pub fn needs_of(
    cluster: &Cluster,
    binding: &TargetGroupBinding,
    hosts: &BTreeMap<InstanceId, HostGroups>,
    groupless: &BTreeSet<InstanceId>,
) -> Needs {
    let mut needs = Needs::default();
    let places = places(cluster, binding).ok().flatten();
    needs.undecided = places.is_none() && binding.networking.is_some();
    for place in places.unwrap_or_default() {
        let Some(instance) = cluster.node(&place.node).and_then(|node| node.instance.as_ref()) else {
            continue;
        };
        match hosts.get(instance) {
            Some(host) => {
                let openings = openings_of(cluster, binding, &place, host.of(&place.target));
                needs.openings.extend(openings);
            }
            None if binding.networking.is_none() => {}
            None if groupless.contains(instance) => needs.undecided = true,
            None => {
                needs.unknown.insert(instance.clone());
            }
        }
    }
    needs
}

fn openings_of(
    cluster: &Cluster,
    binding: &TargetGroupBinding,
    place: &Place,
    group: &SecurityGroupId,
) -> BTreeSet<Opening> {
    let named = |name: &str| {
        let pod = cluster.pod(place.pod.as_ref()?)?;
        pod.ports
            .iter()
            .find(|(known, _)| known.as_ref() == name)
            .map(|(_, number)| *number)
    };
    let mut openings = BTreeSet::new();
    for rule in binding.networking.iter().flatten() {
        for port in &rule.ports {
            let port = match port {
                None => None,
                Some(PortRef::Number(number)) => Some(*number),
                Some(PortRef::Name(name)) => match named(name) {
                    Some(number) => Some(number),
                    None => continue,
                },
            };
            openings.extend(rule.from.iter().map(|peer| Opening {
                group: group.clone(),
                peer: peer.clone(),
                port,
            }));
        }
    }
    openings
}

/// What the cluster network should be. `backend` says whether a load balancer wants the shared group, `None` while that
/// is not known of every group.
pub fn build(settings: &Settings, needs: &Needs, backend: Option<bool>, observed: &NetworkObserved) -> NetworkIntent {
    let mut ranges: BTreeMap<(SecurityGroupId, Peer), (Port, Port)> = BTreeMap::new();
    let mut endpoint_rules: BTreeMap<SecurityGroupId, BTreeSet<Permission>> = BTreeMap::new();
    for opening in &needs.openings {
        let (from, to) = opening.port.map_or((0, Port::MAX), |port| (port, port));
        if let Peer::Group(_) = opening.peer {
            let range = ranges
                .entry((opening.group.clone(), opening.peer.clone()))
                .or_insert((from, to));
            *range = (range.0.min(from), range.1.max(to));
        } else {
            // Address ranges are few, and whoever wrote one meant that port.
            let rules = endpoint_rules.entry(opening.group.clone()).or_default();
            rules.insert(permission(opening.peer.clone(), (from, to)));
        }
    }
    for ((group, peer), ports) in ranges {
        endpoint_rules.entry(group).or_default().insert(permission(peer, ports));
    }
    // Nobody wanting the group is a reason to delete it only when everybody was asked.
    let wanted = settings.backend_security_group && backend.unwrap_or(observed.backend.is_some());
    NetworkIntent {
        vpc: settings.vpc.clone(),
        backend: wanted.then(|| backend_group(settings)),
        endpoint_rules,
        complete: needs.unknown.is_empty() && !needs.undecided && backend.is_some(),
    }
}

fn permission(peer: Peer, ports: (Port, Port)) -> Permission {
    Permission {
        protocol: "tcp".to_owned(),
        ports: Some(ports),
        peer,
        description: security_group::ENDPOINT_RULE_DESCRIPTION.to_owned(),
    }
}

fn backend_group(settings: &Settings) -> SecurityGroup {
    let mut tags = settings.default_tags.clone();
    tags.insert(tags::CLUSTER.to_owned(), settings.cluster.clone());
    tags.insert(tags::SHARED_RESOURCE.to_owned(), tags::RESOURCE_BACKEND.to_owned());
    SecurityGroup {
        name: names::backend_security_group(&settings.cluster),
        description: security_group::BACKEND_DESCRIPTION.to_owned(),
        ingress: Vec::new(),
        tags,
    }
}

/// Whether everything a binding needs is open: its targets can be reached as soon as they are registered.
pub fn open(needs: &Needs, observed: &NetworkObserved) -> bool {
    needs.unknown.is_empty()
        && needs.openings.iter().all(|opening| {
            let rules = observed.endpoint_rules.get(&opening.group).into_iter().flatten();
            let (from, to) = opening.port.map_or((0, Port::MAX), |port| (port, port));
            rules
                .filter(|rule| rule.peer == opening.peer)
                .any(|rule| rule.ports.is_some_and(|(a, b)| a <= from && to <= b))
        })
}
