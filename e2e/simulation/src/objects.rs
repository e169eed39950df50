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
