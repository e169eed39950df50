//! ALBC's recorded calls, made again: what it left in AWS comes about the way it made it.

use crate::names::{Names, without_repeats};
use albacore_aws::Double;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Request;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Repeats the calls of one case, step by step.
#[derive(Debug, Default)]
pub struct Replay {
    /// What each placeholder of the recordings stands for in this run.
    ids: BTreeMap<String, String>,
    /// Rules of each listener in the order in which they were first seen, as the recordings number them; the default rule
    /// is the first.
    rules: BTreeMap<String, Vec<String>>,
}

impl Replay {
    /// Makes the calls of a step that changed something. `names` tells what was there before, and the hashes.
    ///
    /// # Errors
    /// A call that AWS refuses now.
    pub async fn step(&mut self, double: &Double, names: &Names, calls: &Value) -> Result<()> {
        self.ids.extend(
            names
                .placeholders()
                .filter(|(placeholder, _)| !placeholder.ends_with("-pod0}")),
        );
        self.see_rules(double);
        for call in calls.as_array().context("calls are a list")? {
            if call["kind"] == "read" || call["status"] != 200 {
                continue;
            }
            let call = without_repeats(call);
            let operation = call["op"].as_str().unwrap_or_default();
            let Some(params) = self.resolved(&call["params"]) else {
                bail!("{operation}: nothing is known of a part of {}", call["params"]);
            };
            if params["Targets"] == Value::Array(Vec::new()) {
                continue;
            }
            let answer = send(double, call["service"].as_str().unwrap_or_default(), operation, &params)
                .await
                .with_context(|| format!("{operation} {params}"))?;
            self.learn(&call["params"], operation, &answer);
            self.see_rules(double);
        }
        Ok(())
    }

    /// Pods of Deployments have random names, which the recordings number: each that serves in `state` is one of those that
    /// run now (`name-pod0` and address) and have no number yet.
    pub fn name_pods(&mut self, state: &Value, pods: &[(String, String)]) {
        let targets = state["targetGroups"].as_array().into_iter().flatten();
        let targets = targets.flat_map(|group| group["targets"].as_array().into_iter().flatten());
        for placeholder in targets.filter_map(|target| target["id"].as_str()) {
            let Some((deployment, _)) = placeholder
                .strip_prefix("{ip:")
                .and_then(|rest| rest.rsplit_once("-pod"))
            else {
                continue;
            };
            let taken: BTreeSet<&String> = self.ids.values().collect();
            let mut free = pods
                .iter()
                .filter(|(name, address)| *name == format!("{deployment}-pod0") && !taken.contains(address));
            if !self.ids.contains_key(placeholder)
                && let Some((_, address)) = free.next()
            {
                self.ids.insert(placeholder.to_owned(), address.clone());
            }
        }
    }

    /// A value of the recordings with ids for placeholders. Targets that are gone by now are left out of lists; `None` for
    /// a value in which anything else is unknown.
    pub fn resolved(&self, value: &Value) -> Option<Value> {
        match value {
            Value::String(text) => self.text(text).map(Value::String),
            Value::Array(list) => {
                let gone = |item: &Value| item["Id"].as_str().is_some_and(|id| self.text(id).is_none());
                let kept = list.iter().filter(|item| !gone(item));
                kept.map(|item| self.resolved(item))
                    .collect::<Option<_>>()
                    .map(Value::Array)
            }
            Value::Object(fields) => {
                let field = |(key, value): (&String, &Value)| Some((self.text(key)?, self.resolved(value)?));
                fields
                    .iter()
                    .map(field)
                    .collect::<Option<Map<_, _>>>()
                    .map(Value::Object)
            }
            other => Some(other.clone()),
        }
    }

    fn text(&self, text: &str) -> Option<String> {
        if let Some(id) = self.ids.get(text) {
            return Some(id.clone());
        }
        if let Some((listener, number)) = text.strip_prefix("{rule:").and_then(|rest| rest.rsplit_once(":#")) {
            let listener = self.ids.get(&format!("{{listener:{listener}}}"))?;
            return self
                .rules
                .get(listener)?
                .get(number.trim_end_matches('}').parse::<usize>().ok()?)
                .cloned();
        }
        let mut text = text.to_owned();
        for (placeholder, hash) in self.ids.iter().filter(|(placeholder, _)| placeholder.contains("hash")) {
            text = text.replace(placeholder.as_str(), hash);
        }
        (!text.starts_with('{')).then_some(text)
    }

    /// Notes what a call made under the name that the recordings have for it.
    fn learn(&mut self, params: &Value, operation: &str, answer: &str) {
        let text = |key: &str| params[key].as_str().unwrap_or_default();
        let (placeholder, element) = match operation {
            "CreateLoadBalancer" => (format!("{{lb:{}}}", text("Name")), "LoadBalancerArn"),
            "CreateTargetGroup" => (format!("{{tg:{}}}", text("Name")), "TargetGroupArn"),
            "CreateSecurityGroup" => (format!("{{sg:{}}}", text("GroupName")), "groupId"),
            "CreateListener" => {
                let of = text("LoadBalancerArn").trim_start_matches("{lb:").trim_end_matches('}');
                (format!("{{listener:{of}:{}}}", text("Port")), "ListenerArn")
            }
            _ => return,
        };
        if let Some(id) = element_of(answer, element) {
            if let Some(name) = element_of(answer, "DNSName") {
                let dns = placeholder.replacen("{lb:", "{dns:", 1);
                self.ids.insert(dns, name.to_lowercase());
            }
            self.ids.insert(placeholder, id.to_owned());
        }
    }

    /// Numbers rules that were not there before, whoever made them.
    fn see_rules(&mut self, double: &Double) {
        let world = double.world();
        let rules = world.regions.values().flat_map(|region| region.elbv2.rules.values());
        let mut fresh: BTreeMap<&str, BTreeSet<(Option<u32>, &str)>> = BTreeMap::new();
        for rule in rules {
            if !self
                .rules
                .get(&rule.listener)
                .is_some_and(|seen| seen.contains(&rule.arn))
            {
                let of = fresh.entry(&rule.listener).or_default();
                of.insert((rule.priority, &rule.arn));
            }
        }
        for (listener, rules) in fresh {
            let seen = self.rules.entry(listener.to_owned()).or_default();
            seen.extend(rules.into_iter().map(|(_, arn)| arn.to_owned()));
        }
    }
}

/// Makes a call of the query or EC2 protocol, as an SDK would.
async fn send(double: &Double, service: &str, operation: &str, params: &Value) -> Result<String> {
    let (signed_as, item) = match service {
        "elbv2" => ("elasticloadbalancing", ".member"),
        "ec2" => ("ec2", ""),
        other => bail!("no calls of {other} can be repeated"),
    };
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", operation);
    fill_in(&mut form, "", params, item);
    let scope = format!("AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/{signed_as}/aws4_request");
    let request = Request::post("/")
        .header(http::header::AUTHORIZATION, scope)
        .body(Bytes::from(form.finish()))?;
    let response = double.answer(request).await?;
    let text = String::from_utf8_lossy(response.body()).into_owned();
    if !response.status().is_success() {
        bail!("{}", element_of(&text, "Message").unwrap_or(&text));
    }
    Ok(text)
}

fn fill_in(form: &mut Serializer<'_, String>, path: &str, value: &Value, item: &str) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                fill_in(form, &format!("{path}{dot}{key}"), value, item);
            }
        }
        Value::Array(list) => {
            for (number, value) in (1..).zip(list) {
                fill_in(form, &format!("{path}{item}.{number}"), value, item);
            }
        }
        Value::String(text) => {
            form.append_pair(path, text);
        }
        other => {
            form.append_pair(path, &other.to_string());
        }
    }
}

/// The text of the first element of that name.
fn element_of<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let after = xml.split_once(&format!("<{name}>"))?.1;
    Some(after.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use albacore_aws::Options;
    use serde_json::json;

    fn call(operation: &str, params: Value) -> Value {
        json!({ "service": "ec2", "op": operation, "kind": "write", "status": 200, "params": params })
    }

    #[tokio::test]
    async fn what_one_call_makes_the_next_can_name() {
        let double = Double::new(Options::instant());
        let (mut replay, mut names) = (Replay::default(), Names::default());
        let made = send(&double, "ec2", "CreateVpc", &json!({ "CidrBlock": "10.0.0.0/16" }))
            .await
            .expect("a VPC");
        names.add_world(&json!({ "vpc": element_of(&made, "vpcId") }));
        let permission = json!([{ "FromPort": "80", "ToPort": "80", "IpProtocol": "tcp", "IpRanges": [{ "CidrIp": "10.0.0.0/8" }] }]);
        let calls = json!([
            call(
                "CreateSecurityGroup",
                json!({ "GroupName": "web", "GroupDescription": "web", "VpcId": "{vpc}" })
            ),
            call(
                "AuthorizeSecurityGroupIngress",
                json!({ "GroupId": "{sg:web}", "IpPermissions": permission })
            ),
        ]);
        replay
            .step(&double, &names, &calls)
            .await
            .expect("calls that are taken");
        let told = send(&double, "ec2", "DescribeSecurityGroups", &json!({}))
            .await
            .expect("groups");
        assert!(told.contains("<cidrIp>10.0.0.0/8</cidrIp>"), "{told}");

        let unknown = json!([call("DeleteSecurityGroup", json!({ "GroupId": "{sg:other}" }))]);
        assert!(replay.step(&double, &names, &unknown).await.is_err());
    }

    #[test]
    fn a_target_that_is_gone_is_left_out_and_nothing_else_is() {
        let replay = Replay::default();
        assert_eq!(
            replay.resolved(&json!([{ "Id": "{ip:web}" }, { "Id": "i-1" }])),
            Some(json!([{ "Id": "i-1" }]))
        );
        assert_eq!(replay.resolved(&json!({ "GroupId": "{sg:web}" })), None);
    }
}
