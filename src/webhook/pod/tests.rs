use super::*;
use crate::webhook::tests::{binding, facts, service};
use json_patch::Patch;

/// A pod of `shop` that `web` selects, with more in it.
fn pod(more: &Value) -> Value {
    let mut pod = json!({
        "metadata": { "generateName": "web-", "labels": { "app": "web", "tier": "front" } },
        "spec": { "containers": [{ "name": "web" }, { "name": "proxy" }] },
    });
    json_patch::merge(&mut pod, more);
    pod
}

fn cluster() -> crate::facts::Facts {
    facts(
        &[
            service("web", &json!({ "app": "web" })),
            service("back", &json!({ "app": "web", "tier": "back" })),
            service("hand-written", &json!({})),
        ],
        &[
            binding("k8s-shop-web-1", "web", "ip"),
            binding("k8s-shop-web-2", "web", "ip"),
            binding("k8s-shop-nodes", "web", "instance"),
            binding("k8s-shop-back", "back", "ip"),
            binding("k8s-shop-hand", "hand-written", "ip"),
            binding("k8s-shop-gone", "gone", "ip"),
        ],
    )
}

/// The pod after it was changed, and asked about again: nothing more changes then.
fn changed(mut pod: Value, how: impl Fn(&Pod) -> Change) -> (Value, Vec<String>) {
    let ask = |pod: &mut Value| {
        let change = how(&serde_json::from_value(pod.clone()).unwrap());
        let patch: Patch = serde_json::from_value(json!(change.patch)).unwrap();
        json_patch::patch(pod, &patch).unwrap();
        change
    };
    let first = ask(&mut pod);
    assert_eq!(ask(&mut pod).patch, [Value::Null; 0]);
    (pod, first.warnings)
}

fn gated(pod: Value) -> Value {
    let facts = cluster();
    changed(pod, |pod| gate(pod, "shop", &facts.cluster())).0["spec"]["readinessGates"].take()
}

fn sleeping(pod: Value) -> (Value, Vec<String>) {
    let facts = cluster();
    changed(pod, |pod| sleep(pod, "shop", &facts.cluster(), 30))
}

fn gates(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "conditionType": name })).collect()
}

const WEB: [&str; 2] = [
    "target-health.elbv2.k8s.aws/k8s-shop-web-1",
    "target-health.elbv2.k8s.aws/k8s-shop-web-2",
];

#[test]
fn a_gate_is_put_for_each_binding_that_has_the_pod_for_a_target() {
    assert_eq!(gated(pod(&json!({}))), gates(&WEB));
    let others = json!({ "metadata": { "labels": { "app": "other" } } });
    assert_eq!(gated(pod(&others)), Value::Null);
    let nameless = json!({ "metadata": { "labels": null } });
    assert_eq!(gated(pod(&nameless)), Value::Null);
}

#[test]
fn gates_of_others_stay_and_legacy_ones_go() {
    let with = |names: &[&str], app: &str| {
        let more = json!({ "metadata": { "labels": { "app": app } }, "spec": { "readinessGates": gates(names) } });
        gated(pod(&more))
    };
    let legacy = "target-health.alb.ingress.k8s.aws/main_web_80";
    assert_eq!(
        with(&["a.example/b", legacy], "web"),
        gates(&["a.example/b", WEB[0], WEB[1]])
    );
    assert_eq!(with(&[WEB[1]], "web"), gates(&[WEB[1], WEB[0]]));
    assert_eq!(with(&[legacy], "other"), gates(&[]));
}

#[test]
fn only_services_and_bindings_of_its_namespace_count_and_none_that_ends() {
    let facts = cluster();
    let of = |namespace: &str| {
        gate(
            &serde_json::from_value(pod(&json!({}))).unwrap(),
            namespace,
            &facts.cluster(),
        )
    };
    assert_eq!(of("blog"), Change::default());
    let mut ending = binding("k8s-shop-web-1", "web", "ip");
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let ending: crate::k8s::custom::TargetGroupBinding = serde_json::from_value(ending).unwrap();
    facts.cluster().apply(crate::facts::Change::Binding(ending.into()));
    assert_eq!(of("shop").patch[0]["value"], gates(&WEB[1..]));
}

#[test]
fn bindings_that_nobody_tends_change_no_pod() {
    let mut made_by_a_user = binding("mine", "web", "ip");
    made_by_a_user["metadata"]["labels"].take();
    let mut not_yet_there = binding("k8s-shop-web-1", "web", "ip");
    not_yet_there["spec"]["targetGroupARN"].take();
    let facts = facts(
        &[service("web", &json!({ "app": "web" }))],
        &[made_by_a_user, not_yet_there],
    );
    let pod = serde_json::from_value(pod(&json!({}))).unwrap();
    assert_eq!(gate(&pod, "shop", &facts.cluster()), Change::default());
    assert_eq!(sleep(&pod, "shop", &facts.cluster(), 30), Change::default());
}

#[test]
fn a_pod_without_containers_is_read_and_left_to_the_api_server() {
    for spec in [json!({ "containers": null }), json!({})] {
        let pod = json!({ "metadata": { "labels": { "app": "web", "tier": "front" } }, "spec": spec });
        assert_eq!(sleeping(pod.clone()).0, pod);
        assert_eq!(gated(pod), gates(&WEB));
    }
}

#[test]
fn a_name_that_is_no_condition_is_told_and_not_used() {
    let long = "x".repeat(64);
    let facts = facts(
        &[service("web", &json!({ "app": "web" }))],
        &[binding(&long, "web", "ip")],
    );
    let change = gate(
        &serde_json::from_value(pod(&json!({}))).unwrap(),
        "shop",
        &facts.cluster(),
    );
    assert_eq!(change.patch, [Value::Null; 0]);
    assert!(
        change.warnings[0].contains("at most 63 characters"),
        "{:?}",
        change.warnings
    );
}

#[test]
fn a_pod_goes_on_serving_before_it_is_told_to_stop_and_has_as_long_for_it_as_before() {
    let hook = json!({ "preStop": { "sleep": { "seconds": 30 } } });
    let (changed, _) = sleeping(pod(&json!({})));
    assert_eq!(
        changed["spec"],
        json!({
            "containers": [{ "name": "web", "lifecycle": hook }, { "name": "proxy", "lifecycle": hook }],
            "terminationGracePeriodSeconds": 60,
        })
    );
    assert_eq!(changed["metadata"]["annotations"], json!({ RAISED: "30" }));
    for (grace, raised) in [(0, 30), (5, 35), (i64::MAX, i64::MAX)] {
        let (changed, _) = sleeping(pod(&json!({ "spec": { "terminationGracePeriodSeconds": grace } })));
        assert_eq!(changed["spec"]["terminationGracePeriodSeconds"], raised);
    }
}

#[test]
fn hooks_that_are_there_stay_as_they_are() {
    let own = json!({ "exec": { "command": ["drain"] } });
    let containers = json!([
        { "name": "web", "lifecycle": { "preStop": own } },
        { "name": "proxy", "lifecycle": { "postStart": own } },
    ]);
    let init = json!([{ "name": "sidecar", "restartPolicy": "Always" }]);
    let (changed, _) = sleeping(pod(&json!({
        "metadata": { "annotations": { "note": "x" } },
        "spec": { "containers": containers, "initContainers": init },
    })));
    let spec = &changed["spec"];
    assert_eq!(spec["containers"][0], containers[0]);
    assert_eq!(
        spec["containers"][1]["lifecycle"],
        json!({ "postStart": own, "preStop": { "sleep": { "seconds": 30 } } })
    );
    assert_eq!(spec["initContainers"], init);
    assert_eq!(changed["metadata"]["annotations"], json!({ "note": "x", RAISED: "30" }));

    let all = pod(&json!({ "spec": { "containers": [containers[0]] } }));
    assert_eq!(sleeping(all.clone()).0, all);
}

#[test]
fn a_pod_without_load_balancer_ends_as_it_always_did() {
    let other = pod(&json!({ "metadata": { "labels": { "app": "other" } } }));
    assert_eq!(sleeping(other.clone()).0, other);
}

#[test]
fn a_pod_says_how_long_it_goes_on() {
    let asks = |seconds: &str| {
        let (changed, warnings) = sleeping(pod(&json!({ "metadata": { "annotations": { SECONDS: seconds } } })));
        (changed["spec"]["terminationGracePeriodSeconds"].clone(), warnings)
    };
    assert_eq!(asks("90"), (json!(120), vec![]));
    for wrong in ["0", "-1", "3601", "1m", ""] {
        let (grace, warnings) = asks(wrong);
        assert_eq!(grace, 60, "{wrong}");
        assert!(
            warnings[0].contains("is not a number from 1 to 3600; 30 seconds are taken"),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_container_that_comes_later_gets_the_same_hook_and_no_more_time() {
    let (mut changed, _) = sleeping(pod(&json!({})));
    changed["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "injected" }));
    let facts = cluster();
    let later = |pod: &Pod| sleep(pod, "shop", &facts.cluster(), 45);
    let again = later(&serde_json::from_value(changed).unwrap());
    assert_eq!(
        again.patch,
        [json!({
            "op": "add", "path": "/spec/containers/2/lifecycle",
            "value": { "preStop": { "sleep": { "seconds": 30 } } },
        })]
    );
}
