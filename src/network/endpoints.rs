//! The targets of a binding, and the mark by which an unchanged one is known.

use crate::{
    facts::{Cluster, Endpoint, Node, Pod, Service, ServicePort, TargetGroupBinding},
    model::*,
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, net::IpAddr};

/// One target with what is known of where it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// What is registered.
    pub target: Target,
    /// The node it is or runs on.
    pub node: String,
    /// Seconds since 1970 at which the pod or node was made.
    pub created_seconds: i64,
    /// The pod, for ip targets.
    pub pod: Option<ObjectKey>,
}

/// Where the targets of a binding are; `None` when its Service, or the port of that, is missing: a rule that names it
/// changes first.
///
/// # Errors
/// A Service that cannot have targets of the binding's type.
pub fn places(cluster: &Cluster, binding: &TargetGroupBinding) -> Result<Option<BTreeSet<Place>>, Problem> {
    let key = ObjectKey::new(&binding.key.namespace, &binding.service);
    let Some(service) = cluster.service(&key) else {
        return Ok(None);
    };
    let Some(port) = service.port(&binding.service_port) else {
        return Ok(None);
    };
    match binding.target_type {
        Some(TargetType::Ip) => Ok(Some(pods(cluster, binding, service, port))),
        _ if port.node_port == 0 => Err(Problem {
            member: None,
            object: Object::Service(key),
            field: "spec.type".to_owned(),
            severity: Severity::Blocking,
            code: Code::InvalidValue,
            detail: "has no node port, which instance targets need. Make it `type: NodePort` or `LoadBalancer`."
                .to_owned(),
        }),
        _ => Ok(Some(nodes(cluster, binding, port.node_port))),
    }
}

/// The targets that may stay registered although nobody can say where a binding's targets are: nodes that are there, and
/// pods of its namespace, since the address of one that is gone may be another's next.
pub fn still_there(cluster: &Cluster, binding: &TargetGroupBinding, registered: &BTreeSet<Target>) -> BTreeSet<Target> {
    let instances: BTreeSet<&InstanceId> = cluster.nodes().filter_map(|node| node.instance.as_ref()).collect();
    let pods = cluster.pods_in(&binding.key.namespace);
    let addresses: BTreeSet<IpAddr> = pods.flat_map(|pod| [Some(pod.ip), pod.second_ip]).flatten().collect();
    let is_there = |target: &&Target| match target {
        Target::Instance(instance, _) => instances.contains(instance),
        Target::Ip(address, _) => addresses.contains(address),
    };
    registered.iter().filter(is_there).cloned().collect()
}

/// Of targets that are not wanted any more, those whose end somebody asked for as far as can be seen: an EndpointSlice still
/// lists them and their pod is there, or their node is. An address that a pod elsewhere has by now is nobody's to keep.
pub fn seen_to_end(cluster: &Cluster, binding: &TargetGroupBinding, targets: &BTreeSet<Target>) -> BTreeSet<Target> {
    let service = ObjectKey::new(&binding.key.namespace, &binding.service);
    let is_there = |endpoint: &&Endpoint| {
        let pod = endpoint
            .pod
            .as_ref()
            .map(|pod| ObjectKey::new(&service.namespace, pod.as_ref()));
        pod.is_some_and(|pod| cluster.pod(&pod).is_some())
    };
    let endpoints = cluster.slices_of(&service).flat_map(|slice| &slice.endpoints);
    let others = cluster.pods().filter(|pod| pod.key.namespace != service.namespace);
    let taken = others.flat_map(|pod| [Some(pod.ip), pod.second_ip]).flatten();
    let listed = endpoints.filter(is_there).map(|endpoint| endpoint.address);
    let addresses: BTreeSet<IpAddr> = listed.chain(taken).collect();
    let instances: BTreeSet<&InstanceId> = cluster.nodes().filter_map(|node| node.instance.as_ref()).collect();
    let seen = |target: &&Target| match target {
        Target::Instance(instance, _) => instances.contains(instance),
        Target::Ip(address, _) => addresses.contains(address),
    };
    targets.iter().filter(seen).cloned().collect()
}

fn pods(cluster: &Cluster, binding: &TargetGroupBinding, service: &Service, port: &ServicePort) -> BTreeSet<Place> {
    let (mut ready, mut doubtful) = (BTreeSet::new(), BTreeSet::new());
    for slice in cluster
        .slices_of(&service.key)
        .filter(|slice| slice.ipv6 == binding.ipv6)
    {
        for (_, number) in slice
            .ports
            .iter()
            .filter(|(name, _)| port.name.is_empty() || *name == port.name)
        {
            for endpoint in &slice.endpoints {
                let Some(pod) = endpoint.pod.as_ref() else { continue };
                let key = ObjectKey::new(&service.key.namespace, pod.as_ref());
                let Some(pod) = cluster.pod(&key) else { continue };
                let place = Place {
                    target: Target::Ip(endpoint.address, *number),
                    node: pod.node.to_string(),
                    created_seconds: pod.created_seconds,
                    pod: Some(key),
                };
                match fitness(endpoint, pod, cluster.node(&pod.node)) {
                    Fitness::Ready => ready.insert(place),
                    Fitness::Doubtful => doubtful.insert(place),
                    Fitness::Unfit => false,
                };
            }
        }
    }
    // Nodes that nobody hears of any more may serve still; better than serving nobody.
    if ready.is_empty() { doubtful } else { ready }
}

enum Fitness {
    Ready,
    Doubtful,
    Unfit,
}

/// An endpoint that is not ready counts when only a readiness gate is missing: its containers are ready, it is not
/// ending, and its node is well.
fn fitness(endpoint: &Endpoint, pod: &Pod, node: Option<&Node>) -> Fitness {
    let node_ready = node.and_then(|node| node.ready);
    if pod.terminating {
        // Its EndpointSlice follows in a moment.
        Fitness::Unfit
    } else if endpoint.ready {
        Fitness::Ready
    } else if endpoint.terminating || !pod.containers_ready {
        Fitness::Unfit
    } else {
        match (node, node_ready) {
            (_, Some(true)) => Fitness::Ready,
            (Some(_), None) => Fitness::Doubtful,
            _ => Fitness::Unfit,
        }
    }
}

/// Labels by which a node keeps out of load balancing.
const EXCLUDING: [&str; 3] = [
    "node-role.kubernetes.io/master",
    "node.kubernetes.io/exclude-from-external-load-balancers",
    "alpha.service-controller.kubernetes.io/exclude-balancer",
];

fn nodes(cluster: &Cluster, binding: &TargetGroupBinding, node_port: Port) -> BTreeSet<Place> {
    let (mut ready, mut doubtful) = (BTreeSet::new(), BTreeSet::new());
    for node in cluster.nodes().filter(|node| suits(node)) {
        let selected = binding
            .node_selector
            .as_ref()
            .is_none_or(|selector| selector.matches(&node.labels));
        let Some(instance) = node.instance.as_ref().filter(|_| selected) else {
            continue;
        };
        let place = Place {
            target: Target::Instance(instance.clone(), node_port),
            node: node.name.clone(),
            created_seconds: node.created_seconds,
            pod: None,
        };
        match node.ready {
            Some(true) => ready.insert(place),
            None => doubtful.insert(place),
            Some(false) => false,
        };
    }
    if ready.is_empty() { doubtful } else { ready }
}

/// Whether a node takes part in load balancing at all. Cordoned ones do: what runs there still serves.
fn suits(node: &Node) -> bool {
    let labels = &node.labels;
    let leaving = |(key, effect): &(String, String)| {
        key == "ToBeDeletedByClusterAutoscaler" || (key == "karpenter.sh/disrupted" && effect == "NoSchedule")
    };
    !EXCLUDING.iter().any(|label| labels.contains_key(*label))
        && labels.get("eks.amazonaws.com/compute-type").map(String::as_str) != Some("fargate")
        && !node.taints.iter().any(leaving)
}

/// ALBC's mark of a binding that was brought in line: what its targets were, and what its spec was.
pub fn checkpoint(places: &BTreeSet<Place>, spec_hash: &str) -> String {
    let mut lines: Vec<String> = places
        .iter()
        .map(|place| {
            let (id, port) = match &place.target {
                Target::Instance(id, port) => (id.to_string(), port),
                Target::Ip(ip, port) => (ip.to_string(), port),
            };
            format!("{id}:{port}:{}", place.created_seconds * 1000)
        })
        .collect();
    lines.sort();
    format!("{}/{spec_hash}", URL_SAFE.encode(Sha256::digest(lines.join(","))))
}

impl Service {
    /// The port that a reference names.
    pub fn port(&self, wanted: &PortRef) -> Option<&ServicePort> {
        self.ports.iter().find(|port| match wanted {
            PortRef::Number(number) => port.port == *number,
            PortRef::Name(name) => port.name == *name,
        })
    }
}

/// The address of an ip target.
pub fn address(target: &Target) -> Option<IpAddr> {
    match target {
        Target::Ip(ip, _) => Some(*ip),
        Target::Instance(..) => None,
    }
}
