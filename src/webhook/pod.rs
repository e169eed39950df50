//! What is done to a pod before it is made.
//!
//! ```text
//! labels ─► bindings whose Services select it ─┬─► gates: ready only when their load balancers find it healthy
//!                                              └─► sleep: serves on while they take it out
//! ```
//! Asked twice about a pod, it is changed once: other webhooks may change it in between, and ours is asked again then.

use crate::{config::DEREGISTER_SECONDS, facts::Cluster, model::GATE};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What ALBC called it in its first version: nobody sets these conditions any more.
const LEGACY_GATE: &str = "target-health.alb.ingress.k8s.aws";

/// Longest name of a condition behind its prefix ("Label keys", Kubernetes documentation, which holds for conditions too).
const NAME: usize = 63;

/// Annotation with the seconds that a pod goes on serving, in place of `--deregister-seconds`.
const SECONDS: &str = "albacore.dev/deregister-seconds";

/// Annotation that says by how much the grace period was raised, so that it is not raised again.
const RAISED: &str = "albacore.dev/grace-period-raised";

/// What a pod has when it says nothing ("Pod v1 core", Kubernetes API reference).
const GRACE_PERIOD: i64 = 30;

/// What is read of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    #[serde(default)]
    pub(super) metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Option<Vec<Container>>,
    readiness_gates: Option<Vec<Gate>>,
    termination_grace_period_seconds: Option<i64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Container {
    lifecycle: Option<Lifecycle>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    pre_stop: Option<IgnoredAny>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gate {
    condition_type: String,
}

/// What is changed, as a JSON patch (RFC 6902), and what whoever makes the pod is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The operations; none when nothing changes.
    pub patch: Vec<Value>,
    /// Sentences.
    pub warnings: Vec<String>,
}

impl Change {
    /// Sets a field, or puts another value in its place.
    fn set(&mut self, path: String, value: Value) {
        self.patch.push(json!({ "op": "add", "path": path, "value": value }));
    }
}

/// Lets a pod be ready only when every load balancer that has it for a target finds it healthy.
pub fn gate(pod: &Pod, namespace: &str, cluster: &Cluster) -> Change {
    let mut change = Change::default();
    let before = pod.spec.readiness_gates.as_deref().unwrap_or_default();
    let mut gates: Vec<&str> = before.iter().map(|gate| gate.condition_type.as_str()).collect();
    gates.retain(|gate| !gate.starts_with(LEGACY_GATE));
    let (labels, mut names) = (pod.labels(), Vec::new());
    for binding in cluster.bindings_of_pods(namespace, &labels) {
        if binding.key.name.len() > NAME {
            change.warnings.push(format!(
                "the name of TargetGroupBinding {} is too long for a readiness gate; give it one of at most {NAME} characters",
                binding.key.name
            ));
        } else {
            names.push(format!("{GATE}{}", binding.key.name));
        }
    }
    names.retain(|name| !gates.contains(&name.as_str()));
    gates.extend(names.iter().map(String::as_str));
    if gates.len() != before.len() || !names.is_empty() {
        let gates: Vec<Value> = gates.into_iter().map(|gate| json!({ "conditionType": gate })).collect();
        change.set("/spec/readinessGates".to_owned(), json!(gates));
    }
    change
}

/// Lets a pod that is deleted serve on for so many seconds, while its load balancers take it out: its containers are told to
/// stop only then, and have as long for it as they had before. A container with a `preStop` hook of its own knows better. A
/// sidecar among the init containers is stopped after all others anyway.
pub fn sleep(pod: &Pod, namespace: &str, cluster: &Cluster, usual: u32) -> Change {
    let mut change = Change::default();
    let labels = pod.labels();
    if cluster.bindings_of_pods(namespace, &labels).next().is_none() {
        return change;
    }
    let annotation = |key: &str| pod.metadata.annotations.as_ref()?.get(key);
    let raised = annotation(RAISED).and_then(|text| seconds(text));
    let asked = annotation(SECONDS).and_then(|text| {
        let asked = seconds(text);
        if asked.is_none() {
            let (least, most) = (DEREGISTER_SECONDS.start(), DEREGISTER_SECONDS.end());
            change.warnings.push(format!(
                "annotation {SECONDS}: `{text}` is not a number from {least} to {most}; {usual} seconds are taken"
            ));
        }
        asked
    });
    let seconds = raised.or(asked).unwrap_or(usual);
    let hook = json!({ "sleep": { "seconds": seconds } });
    for (index, container) in pod.spec.containers.iter().flatten().enumerate() {
        let lifecycle = format!("/spec/containers/{index}/lifecycle");
        match &container.lifecycle {
            None => change.set(lifecycle, json!({ "preStop": hook })),
            Some(Lifecycle { pre_stop: None }) => change.set(format!("{lifecycle}/preStop"), hook.clone()),
            Some(_) => {}
        }
    }
    if change.patch.is_empty() || raised.is_some() {
        return change;
    }
    let grace = pod.spec.termination_grace_period_seconds.unwrap_or(GRACE_PERIOD);
    let raised = grace.saturating_add(seconds.into());
    change.set("/spec/terminationGracePeriodSeconds".to_owned(), json!(raised));
    let mark = seconds.to_string();
    match &pod.metadata.annotations {
        None => change.set("/metadata/annotations".to_owned(), json!({ RAISED: mark })),
        Some(_) => change.set(
            format!("/metadata/annotations/{}", RAISED.replace('/', "~1")),
            json!(mark),
        ),
    }
    change
}

impl Pod {
    fn labels(&self) -> BTreeMap<String, String> {
        self.metadata.labels.clone().unwrap_or_default()
    }
}

fn seconds(text: &str) -> Option<u32> {
    text.parse().ok().filter(|seconds| DEREGISTER_SECONDS.contains(seconds))
}

#[cfg(test)]
mod tests;
