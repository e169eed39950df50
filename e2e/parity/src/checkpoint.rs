//! The mark that ALBC puts on a binding it brought in line, computed anew: with it the next look at the binding costs no call.
//!
//! ```text
//! base64url(SHA-256("ID:PORT:CREATED,…", sorted)) / SHA-256(spec as JSON), CREATED in milliseconds since 1970
//! ```
//! Source: "Checkpoint" of the TargetGroupBinding reconciler, AWS Load Balancer Controller v3.5.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The annotation.
pub const CHECKPOINT: &str = "elbv2.k8s.aws/checkpoint";
/// When it was put there, in seconds since 1970.
pub const TIMESTAMP: &str = "elbv2.k8s.aws/checkpoint-timestamp";

/// The order in which Go writes the fields of a binding's spec: that of their declaration. Other keys are those of maps,
/// by the alphabet.
const FIELDS: [&str; 20] = [
    "targetGroupARN",
    "targetGroupName",
    "multiClusterTargetGroup",
    "targetType",
    "targetGroupProtocol",
    "serviceRef",
    "name",
    "networking",
    "ingress",
    "from",
    "ports",
    "ipBlock",
    "cidr",
    "securityGroup",
    "groupID",
    "protocol",
    "port",
    "nodeSelector",
    "ipAddressType",
    "vpcID",
];

/// The mark of a binding with this spec and these targets (id and port); `created` tells when a pod (by its address) or a
/// node (by its instance) was made, in seconds since 1970.
pub fn of(spec: &Value, targets: &Value, created: &BTreeMap<String, i64>) -> String {
    let line = |target: &Value| {
        let id = target["id"].as_str().unwrap_or_default();
        let made = created.get(id).copied().unwrap_or_default() * 1000;
        format!("{id}:{}:{made}", target["port"])
    };
    let mut lines: Vec<String> = targets.as_array().into_iter().flatten().map(line).collect();
    lines.sort();
    let spec = Sha256::digest(as_go_writes(spec));
    let spec: String = spec.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}/{spec}", URL_SAFE.encode(Sha256::digest(lines.join(","))))
}

fn as_go_writes(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| FIELDS.iter().position(|field| field == key));
            let field =
                |(key, value): (&String, &Value)| format!("{}:{}", Value::from(key.as_str()), as_go_writes(value));
            format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(as_go_writes).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spec_is_written_in_the_order_of_its_declaration() {
        let spec = json!({
            "vpcID": "vpc-1", "serviceRef": {"port": 80, "name": "web"}, "targetGroupARN": "arn", "targetType": "ip",
            "nodeSelector": {"matchLabels": {"b": "2", "a": "1"}},
        });
        assert_eq!(
            as_go_writes(&spec),
            r#"{"targetGroupARN":"arn","targetType":"ip","serviceRef":{"name":"web","port":80},"nodeSelector":{"matchLabels":{"a":"1","b":"2"}},"vpcID":"vpc-1"}"#
        );
    }

    #[test]
    fn targets_count_in_any_order_and_with_when_they_were_made() {
        let mark =
            |targets: Value, made: i64| of(&json!({}), &targets, &BTreeMap::from([("10.0.0.1".to_owned(), made)]));
        let (a, b) = (
            json!({"id": "10.0.0.1", "port": 80}),
            json!({"id": "10.0.0.2", "port": 80}),
        );
        assert_eq!(mark(json!([a, b]), 1), mark(json!([b, a]), 1));
        assert_ne!(mark(json!([a, b]), 1), mark(json!([a, b]), 2));
        assert_ne!(mark(json!([a, b]), 1), mark(json!([a]), 1));
    }
}
