//! Kubernetes objects in YAML → changes of facts, as the watches make them.

use albacore::{
    facts::{Change, Ingress, IngressClass, IngressClassParams, Namespace, Service},
    k8s::{custom, slim},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// The changes of each step.
pub fn steps(world: &str, case: &str) -> Vec<Vec<Change>> {
    let mut steps = vec![BTreeMap::new()];
    for object in [world, case].into_iter().flat_map(serde_yaml::Deserializer::from_str) {
        let object = Value::deserialize(object).expect("YAML");
        if object["kind"] == "Then" {
            steps.push(BTreeMap::new());
        } else {
            // What a case says of an object of the world stands in for it.
            let metadata = &object["metadata"];
            let name = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(Value::to_string);
            steps.last_mut().expect("a step").insert(name, change(object));
        }
    }
    steps.into_iter().map(|step| step.into_values().collect()).collect()
}

fn parsed<S: DeserializeOwned>(object: Value) -> S {
    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"))
}

fn change(object: Value) -> Change {
    match object["kind"].as_str() {
        Some("Ingress") => Change::Ingress(Ingress::from(parsed::<slim::SlimIngress>(object))),
        Some("Service") => Change::Service(Service::from(parsed::<slim::SlimService>(object))),
        Some("IngressClass") => Change::Class(IngressClass::from(parsed::<slim::SlimIngressClass>(object))),
        Some("IngressClassParams") => {
            Change::Params(IngressClassParams::from(parsed::<custom::IngressClassParams>(object)))
        }
        Some("Namespace") => Change::Namespace(Namespace::from(parsed::<slim::SlimNamespace>(object))),
        kind => panic!("{kind:?} is not read here"),
    }
}
