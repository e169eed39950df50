//! Objects → facts.

use super::{custom, slim};
use crate::{
    facts::{self, Backend, Endpoint, HostRule, IngressClassParamsSpec, NetworkingRule, PathRule, ServicePort},
    model::*,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{ResourceExt, core::ObjectMeta};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Annotations that concern us.
fn annotations(meta: &ObjectMeta) -> BTreeMap<String, String> {
    const OURS: [&str; 3] = [
        "alb.ingress.kubernetes.io/",
        "albacore.dev/",
        "kubernetes.io/ingress.class",
    ];
    let all = meta.annotations.iter().flatten();
    all.filter(|(key, _)| OURS.iter().any(|ours| key.starts_with(ours)))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Finalizers by which ALBC and albacore hold on to an object.
fn finalizers(meta: &ObjectMeta) -> BTreeSet<String> {
    let ours = |f: &&String| {
        f.starts_with(EXPLICIT_FINALIZER_PREFIX) || [IMPLICIT_FINALIZER, BINDING_FINALIZER].contains(&f.as_str())
    };
    meta.finalizers.iter().flatten().filter(ours).cloned().collect()
}

fn key(object: &impl ResourceExt) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn port(number: i32) -> Port {
    Port::try_from(number).unwrap_or_default()
}

/// A port that an `IntOrString` names; a number in quotes is a number.
fn port_ref(value: &IntOrString) -> PortRef {
    match value {
        IntOrString::Int(number) => PortRef::Number(port(*number)),
        IntOrString::String(text) => text
            .parse()
            .map_or_else(|_| PortRef::Name(text.clone()), PortRef::Number),
    }
}

fn seconds(meta: &ObjectMeta) -> i64 {
    meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

fn condition(conditions: Option<&Vec<slim::Condition>>, type_: &str) -> Option<String> {
    conditions?
        .iter()
        .find(|condition| condition.type_ == type_)
        .map(|condition| condition.status.clone())
}

fn backend(backend: slim::IngressBackend) -> Backend {
    match backend.service {
        None => Backend::Resource,
        Some(service) => Backend::Service {
            name: service.name,
            port: service.port.and_then(|port_| match (port_.name, port_.number) {
                (Some(name), _) if !name.is_empty() => Some(PortRef::Name(name)),
                (_, Some(number)) if number != 0 => Some(PortRef::Number(port(number))),
                _ => None,
            }),
        },
    }
}

impl From<slim::SlimIngress> for facts::Ingress {
    fn from(object: slim::SlimIngress) -> Self {
        let key = key(&object);
        let path = |path: slim::HttpPath| PathRule {
            path: path.path.unwrap_or_default(),
            path_type: path.path_type,
            backend: backend(path.backend),
        };
        let rule = |rule: slim::IngressRule| {
            let paths = rule.http?.paths.into_iter().map(path).collect();
            Some(HostRule {
                host: rule.host.unwrap_or_default(),
                paths,
            })
        };
        let entry = |entry: slim::StatusEntry| {
            let ports = entry.ports.into_iter().flatten().map(|p| port(p.port)).collect();
            Some((entry.hostname?, ports))
        };
        let status = object
            .status
            .load_balancer
            .and_then(|lb| lb.ingress)
            .into_iter()
            .flatten();
        Self {
            key,
            uid: object.metadata.uid.clone().unwrap_or_default(),
            annotations: annotations(&object.metadata),
            class_name: object.spec.ingress_class_name,
            default_backend: object.spec.default_backend.map(backend),
            rules: object.spec.rules.into_iter().flatten().filter_map(rule).collect(),
            tls_hosts: object
                .spec
                .tls
                .into_iter()
                .flatten()
                .flat_map(|tls| tls.hosts.unwrap_or_default())
                .collect(),
            finalizers: finalizers(&object.metadata),
            deleting: object.metadata.deletion_timestamp.is_some(),
            status: status.filter_map(entry).collect(),
        }
    }
}

impl From<slim::SlimIngressClass> for facts::IngressClass {
    fn from(object: slim::SlimIngressClass) -> Self {
        let default = object
            .annotations()
            .get("ingressclass.kubernetes.io/is-default-class")
            .is_some_and(|v| v == "true");
        Self {
            name: object.name_any(),
            controller: object.spec.controller.unwrap_or_default(),
            default,
            parameters: object.spec.parameters.map(|p| (p.api_group, p.kind, p.name)),
        }
    }
}

impl From<slim::SlimService> for facts::Service {
    fn from(object: slim::SlimService) -> Self {
        let service_port = |p: slim::SlimServicePort| ServicePort {
            name: p.name.unwrap_or_default(),
            port: port(p.port),
            target_port: match p.target_port {
                None | Some(IntOrString::Int(0)) => PortRef::Number(port(p.port)),
                Some(target) => port_ref(&target),
            },
            node_port: port(p.node_port.unwrap_or_default()),
        };
        Self {
            key: key(&object),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            annotations: annotations(&object.metadata),
            service_type: object.spec.type_.unwrap_or_else(|| "ClusterIP".to_owned()),
            selector: object.spec.selector.unwrap_or_default(),
            ports: object.spec.ports.into_iter().flatten().map(service_port).collect(),
            ipv6: object
                .spec
                .ip_families
                .into_iter()
                .flatten()
                .any(|family| family == "IPv6"),
            deleting: object.metadata.deletion_timestamp.is_some(),
        }
    }
}

impl From<slim::SlimEndpointSlice> for facts::EndpointSlice {
    fn from(object: slim::SlimEndpointSlice) -> Self {
        let mut endpoints = Vec::new();
        for endpoint in object.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let of_pod = endpoint
                .target_ref
                .as_ref()
                .filter(|t| t.kind.as_deref() == Some("Pod"));
            for address in endpoint.addresses.iter().filter_map(|address| address.parse().ok()) {
                endpoints.push(Endpoint {
                    address,
                    pod: of_pod.and_then(|t| t.name.as_deref()).map(Into::into),
                    ready: conditions.ready.unwrap_or(true),
                    terminating: conditions.terminating.unwrap_or(false),
                });
            }
        }
        let ports = object.ports.iter().flatten();
        Self {
            key: key(&object),
            service: object
                .labels()
                .get("kubernetes.io/service-name")
                .cloned()
                .unwrap_or_default(),
            ipv6: object.address_type == "IPv6",
            ports: ports
                .filter_map(|p| Some((p.name.clone().unwrap_or_default(), port(p.port?))))
                .collect(),
            endpoints,
        }
    }
}

/// `None` for a pod without an address, which cannot be a target.
pub fn pod(object: slim::SlimPod) -> Option<facts::Pod> {
    let ended = matches!(object.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let ip = object.status.pod_ip.as_deref()?.parse().ok()?;
    let ips = object.status.pod_ips.iter().flatten();
    let second_ip = ips.filter_map(|one| one.ip.parse().ok()).find(|other| *other != ip);
    let ports = object.spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
    (!ended).then(|| facts::Pod {
        key: key(&object),
        node: object.spec.node_name.as_deref().unwrap_or_default().into(),
        ip,
        second_ip,
        containers_ready: condition(object.status.conditions.as_ref(), "ContainersReady").as_deref() == Some("True"),
        created_seconds: seconds(&object.metadata),
        ports: ports
            .filter_map(|p| Some((p.name.as_deref()?.into(), port(p.container_port))))
            .collect(),
        terminating: object.metadata.deletion_timestamp.is_some(),
        gates: gates(&object),
    })
}

fn gates(object: &slim::SlimPod) -> Option<Box<facts::Gates>> {
    let gates = object.spec.readiness_gates.iter().flatten();
    let ours = gates.filter_map(|gate| Some((gate, gate.condition_type.strip_prefix(GATE)?)));
    let conditions: Vec<(String, Option<bool>)> = ours
        .map(|(gate, binding)| {
            let status = condition(object.status.conditions.as_ref(), &gate.condition_type);
            (binding.to_owned(), status.map(|status| status == "True"))
        })
        .collect();
    let uid = object.metadata.uid.clone().unwrap_or_default();
    (!conditions.is_empty()).then(|| Box::new(facts::Gates { uid, conditions }))
}

impl From<slim::SlimNode> for facts::Node {
    fn from(object: slim::SlimNode) -> Self {
        let instance = object
            .spec
            .provider_id
            .as_deref()
            .and_then(|id| id.rsplit('/').next())
            .filter(|id| id.starts_with("i-"));
        Self {
            name: object.name_any(),
            instance: instance.map(InstanceId::from),
            ready: match condition(object.status.conditions.as_ref(), "Ready").as_deref() {
                Some("True") => Some(true),
                Some("False") => Some(false),
                _ => None,
            },
            labels: object.metadata.labels.clone().unwrap_or_default(),
            taints: object
                .spec
                .taints
                .into_iter()
                .flatten()
                .map(|t| (t.key, t.effect))
                .collect(),
            created_seconds: seconds(&object.metadata),
        }
    }
}

impl From<slim::SlimNamespace> for facts::Namespace {
    fn from(object: slim::SlimNamespace) -> Self {
        Self {
            name: object.name_any(),
            labels: object.metadata.labels.unwrap_or_default(),
        }
    }
}

impl From<custom::IngressClassParams> for facts::IngressClassParams {
    fn from(object: custom::IngressClassParams) -> Self {
        let mut spec = IngressClassParamsSpec::default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        // An empty field leaves it to the annotation, as with ALBC.
        let string = |value: &Value| text(value).filter(|text| !text.is_empty());
        let strings = |value: &Value| {
            Some(value.as_array()?.iter().filter_map(text).collect::<Vec<_>>()).filter(|list| !list.is_empty())
        };
        let pairs = |value: &Value| {
            let pair = |entry: &Value| Some((string(&entry["key"])?, string(&entry["value"]).unwrap_or_default()));
            Some(value.as_array()?.iter().filter_map(pair).collect::<Vec<_>>())
        };
        for (field, value) in &object.spec {
            match field.as_str() {
                "loadBalancerName" => spec.load_balancer_name = string(value),
                "certificateArn" => spec.certificate_arn = strings(value),
                "namespaceSelector" => {
                    let selector = serde_json::from_value::<custom::Selector>(value.clone());
                    spec.namespace_selector = Some(selector.unwrap_or_default().into());
                }
                "group" => spec.group_name = text(&value["name"]),
                "scheme" => spec.scheme = string(value),
                "inboundCIDRs" => spec.inbound_cidrs = strings(value),
                "sslPolicy" => spec.ssl_policy = string(value),
                "sslRedirectPort" => spec.ssl_redirect_port = string(value),
                "subnets" => {
                    spec.subnet_ids = strings(&value["ids"]);
                    let tags = value["tags"].as_object().map(|tags| {
                        tags.iter()
                            .map(|(key, values)| (key.clone(), strings(values).unwrap_or_default()))
                            .collect()
                    });
                    spec.subnet_tags = tags;
                }
                "ipAddressType" => spec.ip_address_type = string(value),
                "tags" => spec.tags = pairs(value),
                "targetType" => spec.target_type = string(value),
                "loadBalancerAttributes" => spec.load_balancer_attributes = pairs(value),
                _ if value.is_null() => {}
                other => {
                    spec.unsupported.insert(other.to_owned());
                }
            }
        }
        Self {
            name: object.name_any(),
            spec,
        }
    }
}

/// The group that a binding of ours belongs to, by its labels.
fn group_of(labels: &BTreeMap<String, String>) -> Option<GroupKey> {
    const STACK: &str = "ingress.k8s.aws/stack";
    if let Some(name) = labels.get(STACK) {
        return Some(GroupKey::Explicit(name.clone()));
    }
    let (namespace, name) = (
        labels.get(&format!("{STACK}-namespace"))?,
        labels.get(&format!("{STACK}-name"))?,
    );
    Some(GroupKey::Implicit(ObjectKey::new(namespace, name)))
}

/// SHA-256 of a spec as JSON: the second half of ALBC's checkpoint, and how a changed spec is known.
pub fn spec_hash(spec: &custom::BindingSpec) -> String {
    let json = serde_json::to_string(spec).unwrap_or_default();
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<custom::TargetGroupBinding> for facts::TargetGroupBinding {
    fn from(object: custom::TargetGroupBinding) -> Self {
        let spec_hash = spec_hash(&object.spec);
        let peer = |peer: custom::NetworkingPeer| match (peer.security_group, peer.ip_block) {
            (Some(group), _) => Some(Peer::Group(group.group_id.into())),
            (None, Some(block)) => block.cidr.parse().ok().map(Peer::Cidr),
            (None, None) => None,
        };
        let rule = |rule: custom::NetworkingIngress| NetworkingRule {
            from: rule.from.into_iter().filter_map(peer).collect(),
            ports: rule.ports.into_iter().map(|p| p.port.as_ref().map(port_ref)).collect(),
        };
        Self {
            key: key(&object),
            uid: object.metadata.uid.clone().unwrap_or_default(),
            group: group_of(object.labels()),
            target_group: object.spec.target_group_arn.unwrap_or_default(),
            target_type: match object.spec.target_type.as_deref() {
                Some("ip") => Some(TargetType::Ip),
                Some("instance") => Some(TargetType::Instance),
                _ => None,
            },
            service: object.spec.service_ref.name,
            service_port: port_ref(&object.spec.service_ref.port),
            node_selector: object.spec.node_selector.map(Into::into),
            networking: object
                .spec
                .networking
                .map(|n| n.ingress.into_iter().map(rule).collect()),
            ipv6: object.spec.ip_address_type.as_deref() == Some("ipv6"),
            spec_hash,
            checkpoint: object
                .metadata
                .annotations
                .iter()
                .flatten()
                .find(|(k, _)| *k == super::status::CHECKPOINT)
                .map(|(_, v)| v.clone()),
            finalizers: finalizers(&object.metadata),
            deleting: object.metadata.deletion_timestamp.is_some(),
            generation: (
                object.metadata.generation.unwrap_or_default(),
                object.status.and_then(|s| s.observed_generation).unwrap_or_default(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking};
    use serde_json::json;

    /// The full type as the API server sends it, read as the slim one.
    fn slim<F: serde::de::DeserializeOwned + serde::Serialize, S: serde::de::DeserializeOwned>(object: Value) -> S {
        let full: F = serde_json::from_value(object).expect("the full type");
        serde_json::from_value(serde_json::to_value(full).expect("JSON")).expect("the slim type")
    }

    #[test]
    fn a_pod_keeps_its_address_node_ports_and_readiness() {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "a", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:01Z" },
            "spec": { "nodeName": "host-a", "containers": [{ "name": "c", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
            "status": {
                "podIP": "10.0.10.65", "podIPs": [{ "ip": "10.0.10.65" }, { "ip": "fd00::65" }],
                "conditions": [{ "type": "ContainersReady", "status": "True" }],
            },
        });
        let fact = pod(slim::<core::Pod, _>(object)).expect("a pod with an address");
        assert_eq!(fact.ip.to_string(), "10.0.10.65");
        assert_eq!(fact.second_ip, "fd00::65".parse().ok());
        assert_eq!(
            (fact.node.as_ref(), fact.containers_ready, fact.created_seconds),
            ("host-a", true, 1_767_225_601)
        );
        assert_eq!(fact.ports, [("http".into(), 8080)]);
    }

    #[test]
    fn a_node_keeps_its_instance_and_readiness() {
        let object = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "host-a", "labels": { "pool": "main" } },
            "spec": { "providerID": "aws:///us-east-1a/i-123", "taints": [{ "key": "k", "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] },
        });
        let fact = facts::Node::from(slim::<core::Node, slim::SlimNode>(object));
        assert_eq!(fact.instance, Some("i-123".into()));
        assert_eq!(fact.ready, None);
        assert_eq!(fact.taints, [("k".to_owned(), "NoSchedule".to_owned())]);
        assert_eq!(fact.labels["pool"], "main");
    }

    #[test]
    fn a_service_keeps_its_ports_and_whom_it_selects() {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "n", "uid": "u" },
            "spec": { "type": "NodePort", "ipFamilies": ["IPv4"], "selector": { "app": "web" }, "ports": [
                { "name": "a", "port": 80, "targetPort": "http", "nodePort": 30000 }, { "name": "b", "port": 81 },
            ] },
        });
        let fact = facts::Service::from(slim::<core::Service, slim::SlimService>(object));
        assert_eq!(
            (fact.uid.as_str(), fact.service_type.as_str(), fact.ipv6),
            ("u", "NodePort", false)
        );
        assert_eq!(fact.selector, BTreeMap::from([("app".to_owned(), "web".to_owned())]));
        assert_eq!(fact.ports[0].target_port, PortRef::Name("http".into()));
        assert_eq!(
            (fact.ports[0].node_port, &fact.ports[1].target_port),
            (30000, &PortRef::Number(81))
        );
    }

    #[test]
    fn an_endpoint_slice_keeps_its_endpoints() {
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "web-1", "namespace": "n", "labels": { "kubernetes.io/service-name": "web" } },
            "ports": [{ "name": "", "port": 8080 }],
            "endpoints": [
                { "addresses": ["10.0.10.65"], "conditions": { "ready": false, "terminating": true }, "targetRef": { "kind": "Pod", "name": "a" } },
                { "addresses": ["10.0.10.66"] },
            ],
        });
        let fact = facts::EndpointSlice::from(slim::<discovery::EndpointSlice, slim::SlimEndpointSlice>(object));
        assert_eq!(
            (fact.service.as_str(), fact.ipv6, fact.ports),
            ("web", false, vec![(String::new(), 8080)])
        );
        assert_eq!((fact.endpoints[0].ready, fact.endpoints[0].terminating), (false, true));
        assert_eq!(
            (fact.endpoints[0].pod.as_deref(), fact.endpoints[1].pod.as_deref()),
            (Some("a"), None)
        );
        assert!(fact.endpoints[1].ready);
    }

    #[test]
    fn an_ingress_keeps_its_rules_and_our_annotations() {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {
                "name": "main", "namespace": "n", "uid": "u", "finalizers": ["ingress.k8s.aws/resources", "other/one"],
                "annotations": { "alb.ingress.kubernetes.io/scheme": "internal", "other/note": "x" },
            },
            "spec": {
                "ingressClassName": "alb", "tls": [{ "hosts": ["a.example"] }],
                "rules": [{ "host": "a.example", "http": { "paths": [
                    { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "web", "port": { "number": 80 } } } },
                ] } }],
            },
            "status": { "loadBalancer": { "ingress": [{ "hostname": "h", "ports": [{ "port": 80, "protocol": "TCP" }] }] } },
        });
        let fact = facts::Ingress::from(slim::<networking::Ingress, slim::SlimIngress>(object));
        assert_eq!(fact.annotations.len(), 1);
        assert_eq!(
            fact.finalizers,
            BTreeSet::from(["ingress.k8s.aws/resources".to_owned()])
        );
        assert_eq!(
            fact.rules[0].paths[0].backend,
            Backend::Service {
                name: "web".into(),
                port: Some(PortRef::Number(80))
            }
        );
        assert_eq!(
            (fact.status, fact.tls_hosts),
            (vec![("h".to_owned(), vec![80])], vec!["a.example".to_owned()])
        );
    }

    #[test]
    fn parameters_with_nonsense_in_them_are_read_as_far_as_they_make_sense() {
        let object: custom::IngressClassParams = serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "spec": { "scheme": "internal", "certificateArn": 7, "wafv2AclArn": "arn", "tags": [{ "key": "a", "value": "b" }] },
        }))
        .expect("parsed");
        let fact = facts::IngressClassParams::from(object);
        assert_eq!(
            (fact.spec.scheme.as_deref(), fact.spec.certificate_arn),
            (Some("internal"), None)
        );
        assert_eq!(fact.spec.unsupported, BTreeSet::from(["wafv2AclArn".to_owned()]));
        assert_eq!(fact.spec.tags, Some(vec![("a".to_owned(), "b".to_owned())]));
    }
}
