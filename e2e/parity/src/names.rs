//! Ids that differ from run to run, and the names the recordings use in their place.
//!
//! Everything AWS made up has a placeholder: `{subnet-private-a}` for a part of the world, `{lb:NAME}`, `{tg:NAME}`,
//! `{sg:NAME}`, `{dns:LB}` for what the controller made, `{tghash1}` for a hash with a Service's UID in it, `{ip:POD}`
//! for an address.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Placeholders for the ids of one run.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Whole strings.
    exact: BTreeMap<String, String>,
    /// Parts of names.
    hashes: BTreeMap<String, String>,
}

impl Names {
    /// Parts of the world: alias → id.
    pub fn add_world(&mut self, aliases: &Value) {
        for (alias, id) in aliases.as_object().into_iter().flatten() {
            if let Some(id) = id.as_str() {
                self.exact.insert(id.to_owned(), format!("{{{alias}}}"));
            }
        }
    }

    /// The address of a pod.
    pub fn add_pod(&mut self, name: &str, address: &str) {
        self.exact.insert(address.to_owned(), format!("{{ip:{name}}}"));
    }

    /// The hashes that depend on the UIDs of Services, by the formula each was recorded with. `uids` are all the UIDs
    /// that a Service (`namespace/name`) has had so far.
    pub fn add_hashes(&mut self, names: &Value, uids: &BTreeMap<String, Vec<String>>) {
        for (placeholder, name) in names.as_object().into_iter().flatten() {
            let inputs = &name["depends_on"];
            let service = inputs["service"].as_str().unwrap_or_default();
            for uid in uids.get(service).into_iter().flatten() {
                let mut inputs_of_hash = String::new();
                for input in inputs["order"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                {
                    inputs_of_hash += if input == "serviceUID" {
                        uid
                    } else {
                        inputs[input].as_str().unwrap_or_default()
                    };
                }
                // Target groups that must stand beside such a one have the number of their generation behind the rest.
                for generation in ["", "1", "2"] {
                    let hash = short_hash(&format!("{inputs_of_hash}{generation}"));
                    let placeholder = match generation {
                        "" => placeholder.clone(),
                        _ => format!("{placeholder}+{generation}"),
                    };
                    // A Service that was made anew has two UIDs and two placeholders; the older comes first in both.
                    if !self.hashes.values().any(|known| *known == placeholder) && !self.hashes.contains_key(&hash) {
                        self.hashes.insert(hash, placeholder);
                    }
                }
            }
        }
    }

    /// What the state says the controller made: ARNs, ids and DNS names get the names of what they stand for.
    pub fn add_made(&mut self, state: &Value) {
        for lb in items(&state["loadBalancers"]) {
            let name = self.text(lb["name"].as_str().unwrap_or_default());
            self.add(&lb["arn"], format!("{{lb:{name}}}"));
            let dns = lb["dnsName"].as_str().unwrap_or_default().to_lowercase();
            self.exact.insert(dns, format!("{{dns:{name}}}"));
            for listener in items(&lb["listeners"]) {
                self.add(&listener["arn"], format!("{{listener:{name}:{}}}", listener["port"]));
            }
        }
        for group in items(&state["targetGroups"]) {
            let name = self.text(group["name"].as_str().unwrap_or_default());
            self.add(&group["arn"], format!("{{tg:{name}}}"));
        }
        for group in items(&state["securityGroups"]) {
            let name = group["name"].as_str().unwrap_or_default().to_owned();
            let id = group["id"].as_str().unwrap_or_default().to_owned();
            self.exact.entry(id).or_insert(format!("{{sg:{name}}}"));
        }
    }

    fn add(&mut self, id: &Value, placeholder: String) {
        if let Some(id) = id.as_str() {
            self.exact.insert(id.to_owned(), placeholder);
        }
    }

    /// What each placeholder stands for.
    pub fn placeholders(&self) -> impl Iterator<Item = (String, String)> {
        let all = self.exact.iter().chain(&self.hashes);
        all.map(|(id, placeholder)| (placeholder.clone(), id.clone()))
    }

    /// DNS names of load balancers that are gone: an Ingress may still name one.
    pub fn add_gone(&mut self, gone: &BTreeMap<String, String>) {
        for (dns, placeholder) in gone {
            self.exact.entry(dns.clone()).or_insert_with(|| placeholder.clone());
        }
    }

    /// DNS names of load balancers and what they stand for.
    pub fn dns_names(&self) -> impl Iterator<Item = (&String, &String)> {
        self.exact
            .iter()
            .filter(|(_, placeholder)| placeholder.starts_with("{dns:"))
    }

    /// `value` with placeholders for ids, in keys too.
    pub fn apply(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(list) => Value::Array(list.iter().map(|item| self.apply(item)).collect()),
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, value)| (self.text(key), self.apply(value)))
                    .collect::<Map<_, _>>(),
            ),
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        if let Some(placeholder) = self.exact.get(text) {
            return placeholder.clone();
        }
        let mut text = text.to_owned();
        for (hash, placeholder) in &self.hashes {
            if text.contains(hash.as_str()) {
                text = text.replace(hash.as_str(), placeholder);
            }
        }
        text
    }
}

/// The first ten hexadecimal digits of SHA-256.
fn short_hash(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A recording without the marks of second resources of one name (`{lb:NAME~2}`): within one state the name is enough.
pub fn without_repeats(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(unmarked(text)),
        Value::Array(list) => Value::Array(list.iter().map(without_repeats).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, value)| (unmarked(key), without_repeats(value)))
                .collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

fn unmarked(text: &str) -> String {
    let Some((before, after)) = text.split_once('~') else {
        return text.to_owned();
    };
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() == after.len() || !before.contains('{') {
        text.to_owned()
    } else {
        format!("{before}{rest}")
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hash_is_known_by_the_uid_it_was_made_from() {
        let mut names = Names::default();
        let recorded = json!({ "{tghash1}": { "depends_on": {
            "order": ["clusterName", "serviceUID"], "clusterName": "demo", "service": "shop/web",
        } } });
        let uids = BTreeMap::from([("shop/web".to_owned(), vec!["u1".to_owned()])]);
        names.add_hashes(&recorded, &uids);
        let hash: String = Sha256::digest("demou1")
            .iter()
            .take(5)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            names.apply(&json!(format!("k8s-shop-web-{hash}"))),
            json!("k8s-shop-web-{tghash1}")
        );
    }

    #[test]
    fn a_second_resource_of_a_name_is_called_by_its_name() {
        let recorded = json!(["{lb:a~2}", "{listener:a~2:80}", "a~b"]);
        assert_eq!(without_repeats(&recorded), json!(["{lb:a}", "{listener:a:80}", "a~b"]));
    }

    #[test]
    fn what_was_made_is_called_by_its_name() {
        let mut names = Names::default();
        names.add_made(
            &json!({ "loadBalancers": [{ "arn": "arn:1", "name": "a", "dnsName": "A-1.elb", "listeners": [
            { "arn": "arn:2", "port": 80 },
        ] }] }),
        );
        let named = names.apply(&json!(["arn:1", "arn:2", "a-1.elb"]));
        assert_eq!(named, json!(["{lb:a}", "{listener:a:80}", "{dns:a}"]));
    }
}
