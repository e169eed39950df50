//! Kubernetes objects as a user, or a controller that is not simulated, would make them.

use crate::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The class of every Ingress here.
pub fn class() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "alb"},
        "spec": {"controller": "ingress.k8s.aws/alb"},
    })
}

/// The nodes of a world, ready.
pub fn nodes(world: &World) -> Vec<Value> {
    let node = |node: &crate::world::Node| {
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name},
            "spec": {"providerID": format!("aws:///{}/{}", node.zone, node.instance)},
            "status": {
                "addresses": [{"type": "InternalIP", "address": node.address.to_string()}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    };
    world.nodes.iter().map(node).collect()
}

/// A Service with one port, `http`, 80 → 8080.
pub fn service(namespace: &str, name: &str, node_port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "type": "NodePort", "clusterIP": "172.20.0.10", "selector": {"app": name},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080, "nodePort": node_port}],
        },
    })
}

/// The `number`-th pod of all, ready, of a Deployment named as the Service that it is behind; as long as pods of a real
/// cluster are.
pub fn pod(world: &World, namespace: &str, service: &str, number: usize) -> Value {
    let node = &world.nodes[number % world.nodes.len()];
    let ip = format!("10.0.{}.{}", 208 + number / 256, number % 256);
    let (set, now) = (format!("{service}-7d9c5b8f6c"), "2027-01-15T08:00:00Z");
    let image = format!("registry.example.com/{namespace}/{service}:1.0.0");
    let (hash, labels) = (
        "0123456789abcdef".repeat(4),
        json!({"app": service, "pod-template-hash": "7d9c5b8f6c"}),
    );
    let kinds = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    let conditions = kinds.map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    let environment: Vec<Value> = (0..12)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": "a value as long as many are"}))
        .collect();
    let fields = json!({
        "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}},
        "f:spec": {
            "f:containers": {"k:{\"name\":\"app\"}": {
                ".": {}, "f:env": {}, "f:image": {}, "f:name": {}, "f:ports": {}, "f:resources": {}, "f:volumeMounts": {},
            }},
            "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {},
        },
    });
    let managed = ["kube-controller-manager", "kube-scheduler", "kubelet"].map(|manager| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": now, "fieldsType": "FieldsV1", "fieldsV1": fields})
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": format!("{set}-{number:05}"), "generateName": format!("{set}-"), "labels": labels,
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": hash},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "controller": true,
                "uid": "5d7ab7a1-3a7c-4b60-b46d-2c0c8d6c1f00",
            }],
            "managedFields": managed,
        },
        "spec": {
            "nodeName": node.name, "serviceAccountName": "default", "restartPolicy": "Always",
            "containers": [{
                "name": "app", "image": image, "env": environment,
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}},
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            }],
            "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        },
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": node.address.to_string(), "startTime": now,
            "conditions": conditions,
            "containerStatuses": [{
                "name": "app", "ready": true, "started": true, "restartCount": 0, "image": image,
                "imageID": format!("sha256:{hash}"), "containerID": format!("containerd://{hash}"),
                "state": {"running": {"startedAt": now}}, "lastState": {},
            }],
        },
    })
}

/// The EndpointSlice of a Service of [`service`] with these pods.
pub fn endpoint_slice(namespace: &str, service: &str, pods: &[Value]) -> Value {
    let endpoint = |pod: &Value| {
        json!({
            "addresses": [pod["status"]["podIP"]], "nodeName": pod["spec"]["nodeName"],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod["metadata"]["name"]},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": namespace, "name": format!("{service}-abcde"), "generateName": format!("{service}-"),
            "labels": {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
        },
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

/// An Ingress under construction.
#[derive(Clone, Debug)]
pub struct Ingress {
    namespace: String,
    name: String,
    annotations: BTreeMap<String, String>,
    rules: Vec<(String, Vec<(String, String)>)>,
}

impl Ingress {
    /// One without rules.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            annotations: BTreeMap::new(),
            rules: Vec::new(),
        }
    }

    /// With an annotation of ours, named without its prefix, or any other, named in full.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        let key = if key.contains('/') {
            key.to_owned()
        } else {
            format!("alb.ingress.kubernetes.io/{key}")
        };
        self.annotations.insert(key, value.to_owned());
        self
    }

    /// With a host, and its paths (prefixes) and Services.
    #[must_use]
    pub fn host(mut self, host: &str, paths: &[(&str, &str)]) -> Self {
        let paths = paths
            .iter()
            .map(|(path, service)| ((*path).to_owned(), (*service).to_owned()));
        self.rules.push((host.to_owned(), paths.collect()));
        self
    }

    /// The object.
    pub fn object(&self) -> Value {
        let path = |(path, service): &(String, String)| {
            json!({
                "path": path, "pathType": "Prefix",
                "backend": {"service": {"name": service, "port": {"number": 80}}},
            })
        };
        let rule = |(host, paths): &(String, Vec<(String, String)>)| {
            let paths: Vec<Value> = paths.iter().map(path).collect();
            let mut rule = json!({"http": {"paths": paths}});
            if !host.is_empty() {
                rule["host"] = json!(host);
            }
            rule
        };
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"namespace": self.namespace, "name": self.name, "annotations": self.annotations},
            "spec": {"ingressClassName": "alb", "rules": self.rules.iter().map(rule).collect::<Vec<_>>()},
        })
    }
}
