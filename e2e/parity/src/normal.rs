//! The form in which two states are compared: what AWS answers in no order is sorted, what it adds by itself is
//! dropped.

use serde_json::{Map, Value, json};

/// AWS' state in normal form. `written` are the attributes that recorded calls set (resource, key): others are
/// somebody's defaults.
pub fn state(state: &Value, written: &[(String, String)]) -> Value {
    let groups = items(&state["loadBalancers"]).map(|lb| (text(&lb["name"]), load_balancer(lb, written)));
    let target_groups = items(&state["targetGroups"]).map(|tg| (text(&tg["name"]), target_group(tg, written)));
    let security_groups = items(&state["securityGroups"]).map(|sg| (text(&sg["name"]), security_group(sg)));
    json!({
        "loadBalancers": by_name(groups),
        "targetGroups": by_name(target_groups),
        "securityGroups": by_name(security_groups),
    })
}

/// What Kubernetes holds in normal form.
pub fn kube(kube: &Value) -> Value {
    let ingresses = fields(&kube["ingresses"]).map(|(key, ingress)| {
        let entries = items(&ingress["status"]["loadBalancer"]["ingress"]).map(|entry| {
            let mut ports: Vec<Value> = items(&entry["ports"]).map(|p| p["port"].clone()).collect();
            ports.sort_by_key(Value::to_string);
            json!({ "hostname": entry["hostname"], "ports": ports })
        });
        let normal = json!({
            "finalizers": sorted(&ingress["finalizers"]),
            "status": entries.collect::<Vec<_>>(),
            "deleting": ingress["deleting"],
        });
        (key.clone(), normal)
    });
    let bindings = fields(&kube["targetGroupBindings"]).map(|(key, binding)| {
        let normal = json!({
            "labels": binding["labels"],
            "annotations": binding["annotations"],
            "finalizers": sorted(&binding["finalizers"]),
            "spec": binding["spec"],
            "observed": binding["status"].get("observedGeneration").map(|seen| *seen == binding["generation"]),
            "deleting": binding["deleting"],
        });
        (key.clone(), normal)
    });
    json!({ "ingresses": by_name(ingresses), "targetGroupBindings": by_name(bindings) })
}

fn load_balancer(lb: &Value, written: &[(String, String)]) -> Value {
    let listeners =
        items(&lb["listeners"]).map(|listener| (listener["port"].to_string(), self::listener(listener, written)));
    json!({
        "type": lb["type"],
        "scheme": lb["scheme"],
        "ipAddressType": lb["ipAddressType"],
        "securityGroups": sorted(&lb["securityGroups"]),
        "subnets": sorted(&Value::Array(items(&lb["subnets"]).map(|s| s["SubnetId"].clone()).collect())),
        "tags": lb["tags"],
        "attributes": attributes(lb, written),
        "listeners": by_name(listeners),
    })
}

fn listener(listener: &Value, written: &[(String, String)]) -> Value {
    let certificates = items(&listener["certificates"]).map(|c| {
        json!(format!(
            "{}{}",
            text(&c["CertificateArn"]),
            if c["IsDefault"] == true { " (default)" } else { "" }
        ))
    });
    let mut rules: Vec<&Value> = items(&listener["rules"]).collect();
    rules.sort_by_key(|rule| text(&rule["priority"]).parse::<u32>().unwrap_or(u32::MAX));
    let rules = rules.into_iter().map(|rule| {
        json!({
            "priority": rule["priority"],
            "conditions": items(&rule["conditions"]).map(condition).collect::<Vec<_>>(),
            "actions": items(&rule["actions"]).map(action).collect::<Vec<_>>(),
            "transforms": items(&rule["transforms"]).collect::<Vec<_>>(),
            "tags": rule["tags"],
        })
    });
    json!({
        "protocol": listener["protocol"],
        "sslPolicy": if listener["protocol"] == "HTTPS" { listener["sslPolicy"].clone() } else { Value::Null },
        "defaultActions": items(&listener["defaultActions"]).map(action).collect::<Vec<_>>(),
        "certificates": sorted(&Value::Array(certificates.collect())),
        "attributes": attributes(listener, written),
        "tags": listener["tags"],
        "rules": rules.collect::<Vec<_>>(),
    })
}

/// A condition without the legacy mirror of its values.
fn condition(condition: &Value) -> Value {
    without(condition, |key, _| key == "Values" || key == "RegexValues")
}

/// An action without what AWS fills in: the place in a list of one, the mirror of a single target group and its weight,
/// stickiness that is off, placeholders of a redirect.
fn action(action: &Value) -> Value {
    let mut action = without(action, |key, _| key == "Order" || key == "TargetGroupArn");
    if let Some(forward) = action.get_mut("ForwardConfig") {
        let single = items(&forward["TargetGroups"]).count() == 1;
        let groups = items(&forward["TargetGroups"])
            .map(|g| without(g, |key, _| single && key == "Weight"))
            .collect();
        let sticky = forward["TargetGroupStickinessConfig"].clone();
        *forward = json!({ "TargetGroups": sorted(&Value::Array(groups)) });
        if sticky["Enabled"] == true {
            forward["TargetGroupStickinessConfig"] = sticky;
        }
    }
    if let Some(redirect) = action.get_mut("RedirectConfig") {
        *redirect = without(redirect, |_, value| {
            matches!(
                value.as_str(),
                Some("#{host}" | "/#{path}" | "#{port}" | "#{protocol}" | "#{query}")
            )
        });
    }
    if let Some(fixed) = action.get_mut("FixedResponseConfig") {
        *fixed = without(fixed, |key, value| key == "MessageBody" && value == "");
    }
    action
}

fn target_group(group: &Value, written: &[(String, String)]) -> Value {
    json!({
        "settings": group["settings"],
        "tags": group["tags"],
        "attributes": attributes(group, written),
        "targets": sorted(&group["targets"]),
    })
}

fn security_group(group: &Value) -> Value {
    let mut rules = Vec::new();
    for permission in items(&group["ingress"]) {
        let ports = json!([permission["IpProtocol"], permission["FromPort"], permission["ToPort"]]);
        for (list, peer) in [
            ("IpRanges", "CidrIp"),
            ("Ipv6Ranges", "CidrIpv6"),
            ("UserIdGroupPairs", "GroupId"),
            ("PrefixListIds", "PrefixListId"),
        ] {
            for from in items(&permission[list]) {
                let description = from["Description"].as_str().unwrap_or_default();
                rules.push(json!({ "ports": ports, "from": from[peer], "description": description }));
            }
        }
    }
    json!({
        "description": group["description"],
        "tags": group["tags"],
        "ingress": sorted(&Value::Array(rules)),
    })
}

/// The attributes that a recorded call set for this resource.
fn attributes(resource: &Value, written: &[(String, String)]) -> Value {
    let arn = text(&resource["arn"]);
    let set = |key: &String| written.iter().any(|(resource, k)| *resource == arn && k == key);
    let kept = fields(&resource["attributes"]).filter(|(key, _)| set(key));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn without(value: &Value, drop: impl Fn(&str, &Value) -> bool) -> Value {
    Value::Object(
        fields(value)
            .filter(|(k, v)| !drop(k, v))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    )
}

/// A map by name; a second one of the same name gets a mark, so that it is not lost.
fn by_name(named: impl Iterator<Item = (String, Value)>) -> Value {
    let mut map = Map::new();
    for (mut name, value) in named {
        while map.contains_key(&name) {
            name.push_str(" (again)");
        }
        map.insert(name, value);
    }
    Value::Object(map)
}

fn sorted(list: &Value) -> Value {
    let mut list: Vec<Value> = items(list).cloned().collect();
    list.sort_by_key(Value::to_string);
    Value::Array(list)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
