//! What AWS and Kubernetes hold, without what differs from run to run: ARNs, ids, and names made of them.

use crate::bed::Bed;
use albacore_aws::{Double, elbv2::state as elbv2, world::Region};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a controller makes, by names and tags.
pub fn of(bed: &Bed) -> Value {
    let world = bed.double.world();
    let mut aws = Map::new();
    for ((_, name), region) in &world.regions {
        aws.insert(name.clone(), of_region(region));
    }
    drop(world);
    let names = names(bed);
    let bindings = bed.list("elbv2.k8s.aws/v1beta1", "TargetGroupBinding");
    let binding = |object: &Value| {
        let arn = object["spec"]["targetGroupARN"].as_str().unwrap_or_default();
        let mut spec = object["spec"].clone();
        spec["targetGroupARN"] = json!(names.get(arn));
        let text = names
            .iter()
            .fold(spec.to_string(), |text, (id, name)| text.replace(id, name));
        json!({
            "namespace": object["metadata"]["namespace"],
            "labels": object["metadata"]["labels"],
            "finalizers": object["metadata"]["finalizers"],
            "spec": serde_json::from_str::<Value>(&text).unwrap_or_default(),
        })
    };
    let mut bindings: Vec<Value> = bindings.iter().map(binding).collect();
    bindings.sort_by_key(Value::to_string);
    let ingress = |object: &Value| {
        let hosts = object["status"]["loadBalancer"]["ingress"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let known = |at: &Value| names.get(at["hostname"].as_str().unwrap_or_default()).cloned();
        let of: Vec<Option<String>> = hosts.iter().map(known).collect();
        json!({
            "namespace": object["metadata"]["namespace"],
            "name": object["metadata"]["name"],
            "finalizers": object["metadata"]["finalizers"],
            "load balancers": of,
        })
    };
    let ingresses: Vec<Value> = bed
        .list("networking.k8s.io/v1", "Ingress")
        .iter()
        .map(ingress)
        .collect();
    let states: Vec<Value> = bed
        .list("albacore.dev/v1alpha1", "LoadBalancer")
        .iter()
        .map(|object| object["metadata"]["name"].clone())
        .collect();
    json!({"aws": aws, "bindings": bindings, "ingresses": ingresses, "states": states})
}

/// What ids, ARNs and DNS names stand for.
fn names(bed: &Bed) -> BTreeMap<String, String> {
    let world = bed.double.world();
    let mut names = BTreeMap::new();
    for region in world.regions.values() {
        for lb in region.elbv2.load_balancers.values() {
            names.insert(lb.arn.clone(), lb.name.clone());
            names.insert(lb.dns_name.to_lowercase(), lb.name.clone());
        }
        for group in region.elbv2.target_groups.values() {
            names.insert(group.arn.clone(), resource(region, &group.arn));
        }
        for (id, group) in &region.ec2.security_groups {
            names.insert(id.clone(), group.name.clone());
        }
    }
    names
}

/// What a target group is for; its name depends on how often it was replaced.
fn resource(region: &Region, arn: &str) -> String {
    region
        .elbv2
        .tags
        .get(arn)
        .and_then(|tags| tags.get("ingress.k8s.aws/resource"))
        .cloned()
        .unwrap_or_else(|| arn.to_owned())
}

fn of_region(region: &Region) -> Value {
    let elb = &region.elbv2;
    let group_name = |id: &String| {
        region
            .ec2
            .security_groups
            .get(id)
            .map_or(id.clone(), |group| group.name.clone())
    };
    let action = |action: &elbv2::Action| {
        let mut text = serde_json::to_string(action).unwrap_or_default();
        for group in elb.target_groups.values() {
            text = text.replace(&group.arn, &resource(region, &group.arn));
        }
        serde_json::from_str::<Value>(&text).unwrap_or_default()
    };
    let rule = |rule: &elbv2::Rule| {
        json!({
            "priority": rule.priority,
            "conditions": rule.conditions,
            "actions": rule.actions.iter().map(action).collect::<Vec<_>>(),
            "tags": elb.tags.get(&rule.arn),
        })
    };
    let listener = |listener: &elbv2::Listener| {
        let mut rules: Vec<&elbv2::Rule> = elb
            .rules
            .values()
            .filter(|rule| rule.listener == listener.arn)
            .collect();
        rules.sort_by_key(|rule| rule.priority);
        json!({
            "protocol": listener.protocol,
            "policy": listener.ssl_policy,
            "certificate": listener.certificate,
            "certificates": listener.certificate_list,
            "tags": elb.tags.get(&listener.arn),
            "rules": rules.into_iter().map(rule).collect::<Vec<_>>(),
        })
    };
    let load_balancer = |lb: &elbv2::LoadBalancer| {
        let listeners = elb
            .listeners
            .values()
            .filter(|listener| listener.load_balancer == lb.arn);
        json!({
            "name": lb.name,
            "scheme": lb.scheme,
            "addresses": lb.ip_address_type,
            "subnets": lb.zones.iter().map(|zone| &zone.subnet).collect::<Vec<_>>(),
            "security groups": lb.security_groups.iter().map(group_name).collect::<Vec<_>>(),
            "attributes": lb.attributes,
            "tags": elb.tags.get(&lb.arn),
            "listeners": listeners.map(|l| (l.port.to_string(), listener(l))).collect::<Map<_, _>>(),
        })
    };
    let target_group = |group: &elbv2::TargetGroup| {
        let targets = group.targets.iter().filter(|(_, target)| target.deregistered.is_none());
        json!({
            "for": resource(region, &group.arn),
            "type": group.target_type,
            "addresses": group.ip_address_type,
            "protocol": [group.protocol, group.protocol_version],
            "health check": group.health_check,
            "attributes": group.attributes,
            "tags": elb.tags.get(&group.arn),
            "used": group.load_balancer.as_ref().and_then(|arn| elb.load_balancers.get(arn)).map(|lb| &lb.name),
            "targets": targets.map(|(key, _)| format!("{}:{}", key.id, key.port)).collect::<Vec<_>>(),
        })
    };
    let mut load_balancers: Vec<Value> = elb.load_balancers.values().map(load_balancer).collect();
    load_balancers.sort_by_key(Value::to_string);
    let mut target_groups: Vec<Value> = elb.target_groups.values().map(target_group).collect();
    target_groups.sort_by_key(Value::to_string);
    let mut security_groups = Vec::new();
    for (id, group) in &region.ec2.security_groups {
        let mut rules: Vec<String> = group
            .rules
            .iter()
            .filter(|rule| !rule.egress)
            .map(|rule| {
                let text = format!("{:?} {:?}", rule.permission, rule.description);
                region
                    .ec2
                    .security_groups
                    .iter()
                    .fold(text, |text, (id, group)| text.replace(id, &group.name))
            })
            .collect();
        rules.sort();
        security_groups.push(json!({"name": group.name, "rules": rules, "tags": region.ec2.tags.get(id)}));
    }
    security_groups.sort_by_key(Value::to_string);
    json!({"load balancers": load_balancers, "target groups": target_groups, "security groups": security_groups})
}

/// Everything that is not ours.
pub fn strangers(double: &Double) -> BTreeSet<String> {
    let world = double.world();
    let mut all = BTreeSet::new();
    for region in world.regions.values() {
        let elb = &region.elbv2;
        let is_ours = |arn: &String| {
            elb.tags
                .get(arn)
                .is_some_and(|tags| tags.contains_key("elbv2.k8s.aws/cluster"))
        };
        for lb in elb.load_balancers.values().filter(|lb| !is_ours(&lb.arn)) {
            all.insert(format!("{lb:?} {:?}", elb.tags.get(&lb.arn)));
            for listener in elb
                .listeners
                .values()
                .filter(|listener| listener.load_balancer == lb.arn)
            {
                all.insert(format!("{listener:?} {:?}", elb.tags.get(&listener.arn)));
                let rules = elb.rules.values().filter(|rule| rule.listener == listener.arn);
                all.extend(rules.map(|rule| format!("{rule:?} {:?}", elb.tags.get(&rule.arn))));
            }
        }
        let target_groups = elb.target_groups.values().filter(|group| !is_ours(&group.arn));
        all.extend(target_groups.map(|group| format!("{group:?} {:?}", elb.tags.get(&group.arn))));
        for (id, group) in &region.ec2.security_groups {
            let tags = region.ec2.tags.get(id);
            if tags.is_none_or(|tags| !tags.contains_key("elbv2.k8s.aws/cluster")) && group.name != "nodes" {
                all.insert(format!("{group:?} {tags:?}"));
            }
        }
    }
    all
}

/// Paths at which two values differ.
pub fn difference(expected: &Value, got: &Value) -> Vec<String> {
    fn walk(path: &str, a: &Value, b: &Value, all: &mut Vec<String>) {
        match (a, b) {
            (Value::Object(x), Value::Object(y)) => {
                let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
                for key in keys {
                    walk(
                        &format!("{path}.{key}"),
                        x.get(key).unwrap_or(&Value::Null),
                        y.get(key).unwrap_or(&Value::Null),
                        all,
                    );
                }
            }
            (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
                for (n, (x, y)) in x.iter().zip(y).enumerate() {
                    walk(&format!("{path}[{n}]"), x, y, all);
                }
            }
            _ if a == b => {}
            _ => all.push(format!("{path}: expected {a}, got {b}")),
        }
    }
    let mut all = Vec::new();
    walk("", expected, got, &mut all);
    all
}
