//! Pods with readiness gates are ready when the load balancer sends them traffic, for few calls; `make bench` has more of them.

use albacore_aws::{HealthMode, Options};
use albacore_simulation::{
    bed::Bed,
    figures::Figures,
    gates,
    objects::{self, Ingress},
    scale::wide_subnets,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

fn holds(figures: &Figures) {
    assert!(figures.hold(), "{figures:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_with_gates_costs_little() {
    holds(&gates::in_waves_of(10, 80).await);
}

#[tokio::test(start_paused = true)]
async fn gates_open_soon_however_many_target_groups_roll() {
    holds(&gates::side_by_side(50).await);
}

fn condition(bed: &Bed, pod: &str) -> Value {
    let pod = bed.get("v1", "Pod", "shop", pod).unwrap_or_default();
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ours = |condition: &&Value| condition["type"].as_str().is_some_and(|kind| kind.contains("elbv2"));
    conditions.find(ours).cloned().unwrap_or_default()
}

/// A pod behind an Ingress, with a gate, and its name.
async fn bed(options: Options) -> (Bed, String) {
    let mut bed = Bed::new(options).await;
    wide_subnets(&bed).await.expect("subnets");
    bed.start();
    bed.apply(
        Ingress::new("shop", "pods")
            .annotated("target-type", "ip")
            .host("", &[("/", "b")])
            .object(),
    );
    bed.settle().await;
    let binding = bed.list("elbv2.k8s.aws/v1beta1", "TargetGroupBinding").remove(0);
    let gate = format!(
        "target-health.elbv2.k8s.aws/{}",
        binding["metadata"]["name"].as_str().unwrap_or_default()
    );
    let mut pod = objects::pod(&bed.world, "shop", "b", 20);
    pod["spec"]["readinessGates"] = json!([{ "conditionType": gate }, { "conditionType": "example.com/other" }]);
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut slice = objects::endpoint_slice("shop", "b", std::slice::from_ref(&pod));
    slice["endpoints"][0]["conditions"]["ready"] = false.into();
    bed.apply(pod);
    bed.apply(slice);
    (bed, name)
}

#[tokio::test(start_paused = true)]
async fn a_condition_says_how_the_target_is() {
    let (bed, pod) = bed(Options::default()).await;
    sleep(Duration::from_secs(2)).await;
    let told = condition(&bed, &pod);
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("False"), &json!("Elb.RegistrationInProgress"))
    );
    bed.settle().await;
    assert_eq!(condition(&bed, &pod)["status"], "True");
    bed.take_calls();
    sleep(Duration::from_secs(600)).await;
    let asked = bed.take_calls();
    assert!(
        asked.0.iter().all(|call| call.operation != "DescribeTargetHealth"),
        "nobody waits"
    );
}

#[tokio::test(start_paused = true)]
async fn a_gate_goes_on_over_a_restart_and_opens_when_its_binding_goes() {
    let options = Options {
        health: HealthMode::Initial,
        ..Options::default()
    };
    let (mut bed, pod) = bed(options).await;
    sleep(Duration::from_secs(60)).await;
    let told = condition(&bed, &pod);
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("False"), &json!("Elb.InitialHealthChecking"))
    );
    bed.stop().await;
    bed.start();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(condition(&bed, &pod)["status"], "False");
    // Another one waits for its node when the binding goes.
    let mut late = bed.get("v1", "Pod", "shop", &pod).expect("a pod");
    late["metadata"] = json!({"namespace": "shop", "name": "late"});
    let status = std::mem::replace(&mut late["status"], json!({"phase": "Pending"}));
    bed.apply(late.clone());
    bed.delete_ingress("shop", "pods");
    bed.settle().await;
    let told = condition(&bed, &pod);
    assert_eq!(
        (&told["status"], &told["message"]),
        (&json!("True"), &json!("Target Group Binding is deleted"))
    );
    late["status"] = status;
    late["status"]["conditions"] = json!([]);
    bed.apply(late);
    bed.settle().await;
    assert_eq!(condition(&bed, "late")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_terminating_is_drained_whatever_its_slice_says() {
    let (bed, pod) = bed(Options::default()).await;
    bed.settle().await;
    let mut held = bed.get("v1", "Pod", "shop", &pod).expect("a pod");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    bed.apply(held);
    bed.settle().await;
    bed.take_calls();
    bed.delete("v1", "Pod", "shop", &pod);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bed.take_calls().writes().first(), Some(&"DeregisterTargets"));
}
