//! Nodes as the caller describes them and as Kubernetes stores them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::Result;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Node, Taint};
use serde_json::json;

/// A node, real or fake. Instance id, address and pod range are the caller's, since the instance belongs to the AWS double.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Name of the Node object.
    pub name: String,
    /// `aws:///us-east-1a/i-0123456789abcdef0`.
    pub provider_id: String,
    /// The node's InternalIP.
    pub address: Ipv4Addr,
    /// Where its pods' addresses come from, inside a subnet of the VPC; the network's own address is not given to a pod.
    pub pod_cidr: Ipv4Net,
    /// Availability zone, such as `us-east-1a`.
    pub zone: String,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Taints that keep other pods away.
    pub taints: Vec<Taint>,
}

/// Who plays the node.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Player {
    Kubelet,
    Kwok,
}

impl NodeSpec {
    /// A node without labels of its own and without taints.
    pub fn new(name: &str, provider_id: &str, address: Ipv4Addr, pod_cidr: Ipv4Net, zone: &str) -> Self {
        Self {
            name: name.to_owned(),
            provider_id: provider_id.to_owned(),
            address,
            pod_cidr,
            zone: zone.to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
        }
    }

    /// `host-a`, `host-b` and `host-c`, one in each of three zones, in a VPC 10.0.0.0/16.
    pub fn three() -> Vec<Self> {
        (0u8..3)
            .map(|index| {
                let letter = char::from(b'a' + index);
                Self::new(
                    &format!("host-{letter}"),
                    &format!("aws:///us-east-1{letter}/i-0000000000000000{letter}"),
                    Ipv4Addr::new(10, 0, 10 + index, 10),
                    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 10 + index, 64), 27),
                    &format!("us-east-1{letter}"),
                )
            })
            .collect()
    }

    pub(crate) fn object(&self, player: Player) -> Result<Node> {
        let mut labels = BTreeMap::from([
            ("kubernetes.io/hostname".to_owned(), self.name.clone()),
            ("kubernetes.io/os".to_owned(), "linux".to_owned()),
            ("kubernetes.io/arch".to_owned(), "amd64".to_owned()),
            ("node.kubernetes.io/instance-type".to_owned(), "m5.large".to_owned()),
            ("topology.kubernetes.io/zone".to_owned(), self.zone.clone()),
            (
                "topology.kubernetes.io/region".to_owned(),
                self.zone.trim_end_matches(char::is_alphabetic).to_owned(),
            ),
        ]);
        let mut annotations = BTreeMap::new();
        if player == Player::Kwok {
            labels.insert("kwok.x-k8s.io/node".to_owned(), "fake".to_owned());
            annotations.insert("kwok.x-k8s.io/node".to_owned(), "fake".to_owned());
        }
        labels.extend(self.labels.clone());
        // As many pods as there are addresses: the scheduler then never sends one too many.
        let room = json!({"cpu": "32", "memory": "64Gi", "ephemeral-storage": "64Gi", "pods": self.pod_cidr.hosts().count().to_string()});
        let mut node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "labels": labels, "annotations": annotations},
            "spec": {"providerID": self.provider_id, "podCIDR": self.pod_cidr, "podCIDRs": [self.pod_cidr], "taints": self.taints},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": self.address},
                    {"type": "Hostname", "address": self.name}],
                "capacity": room, "allocatable": room,
                "nodeInfo": {
                    "architecture": "amd64", "operatingSystem": "linux", "osImage": "albacore-cluster", "kernelVersion": "",
                    "kubeletVersion": "v1.36.3", "kubeProxyVersion": "", "containerRuntimeVersion": "process://1",
                    "bootID": "", "machineID": "", "systemUUID": ""},
            },
        });
        if player == Player::Kubelet {
            let now = crate::kubelet::now();
            node["status"]["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": crate::kubelet::PORT}});
            node["status"]["conditions"] = json!([{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "runs pods as processes",
                "lastHeartbeatTime": now, "lastTransitionTime": now}]);
        }
        Ok(serde_json::from_value(node)?)
    }
}
