//! Pods are changed before they are made, by the real API server's request, and go on being while certificates change.

use crate::{
    client::Client,
    stage::{NAMESPACE, PATIENCE, Stage},
};
use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use std::{net::IpAddr, path::Path, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

/// What a namespace asks for with them: readiness gates, and hooks.
pub(crate) const LABELS: [&str; 2] = [
    "elbv2.k8s.aws/pod-readiness-gate-inject",
    "albacore.dev/deregister-before-terminate",
];

/// Replicas look every ten seconds, and serve what was made a minute ago.
const ROTATION: Duration = Duration::from_secs(90);

/// A hundred admissions a second.
const PACE: Duration = Duration::from_millis(10);

/// A pod that would be made, with a number of the Service's labels; it is not, but all admission is done.
async fn admit(pods: Api<Pod>, app: &str) -> Result<Value> {
    let pod = json!({
        "metadata": { "generateName": "tried-", "labels": { "app": app } },
        "spec": { "containers": [{ "name": "web", "image": "albacore-demo-http" }] },
    });
    let only_tried = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let made = pods.create(&only_tried, &serde_json::from_value(pod)?).await?;
    Ok(serde_json::to_value(made)?["spec"].take())
}

/// Whether it got a gate and a hook.
fn is_changed(pod: &Value) -> bool {
    let gate = pod["readinessGates"][0]["conditionType"].as_str().unwrap_or_default();
    gate.starts_with("target-health.elbv2.k8s.aws/k8s-shop-storefro-")
        && pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 30
        && pod["terminationGracePeriodSeconds"] == 60
}

/// By whom API servers know the webhook.
async fn bundle(stage: &Stage) -> Result<String> {
    let path = "jsonpath={.webhooks[*].clientConfig.caBundle}";
    let configuration = ["get", "mutatingwebhookconfiguration", "albacore-webhook", "-o", path];
    stage.cluster.kubectl(&configuration).await
}

/// How many certificates each replica served since it began, as its log tells.
async fn served(stage: &Stage) -> Result<Vec<usize>> {
    let pods = stage.pods().await?.into_iter();
    let logs = pods.map(|pod| stage.cluster.pod_log(NAMESPACE, &pod));
    let certificates = |log: Result<String>| Ok(log?.matches("the webhook has a certificate").count());
    logs.map(certificates).collect()
}

/// Has every replica show its certificate to a client that trusts nothing but the bundle.
async fn handshakes(stage: &Stage) -> Result<()> {
    let bundle = bundle(stage).await?;
    let first = STANDARD.decode(bundle.split(' ').next().unwrap_or_default())?;
    let client = Client::new(std::str::from_utf8(&first)?)?;
    for pod in stage.pods().await? {
        let of_pod = ["get", "pod", "-n", NAMESPACE, &pod, "-o", "jsonpath={.status.podIP}"];
        let address: IpAddr = stage.cluster.kubectl(&of_pod).await?.trim().parse()?;
        let name = format!("albacore-webhook-service.{NAMESPACE}.svc");
        let shown = client.handshake((address, 9443).into(), &name);
        shown.await.with_context(|| format!("the certificate of {pod}"))?;
    }
    Ok(())
}

pub async fn a_rotation_of_the_webhooks_certificate_fails_no_admission(stage: &Stage, project: &Path) -> Result<()> {
    let kubectl = async |arguments: &[&str]| stage.cluster.kubectl(arguments).await;
    let pods: Api<Pod> = Api::namespaced(stage.cluster.client(), "shop");
    let plain = admit(pods.clone(), "storefront").await?;
    ensure!(
        plain["readinessGates"].is_null() && !is_changed(&plain),
        "nobody asked: {plain}"
    );
    for label in LABELS {
        kubectl(&["label", "namespace", "shop", &format!("{label}=enabled")]).await?;
    }
    // Whoever is not answered is refused from now on; and helm leaves the bundle as it is.
    let whole = async || Ok(Some(bundle(stage).await?).filter(|bundle| bundle.split(' ').count() == 4));
    let before = stage.cluster.wait_for("the bundle", PATIENCE, whole).await?;
    let chart = project.join("chart");
    let strict = json!({ "podMutatorWebhookConfig": { "failurePolicy": "Fail" } });
    stage.upgrade(&chart, &strict).await?;
    ensure!(bundle(stage).await? == before, "helm changed the bundle");
    let heeded = async || Ok(is_changed(&admit(pods.clone(), "storefront").await?).then_some(()));
    stage
        .cluster
        .wait_for("the labels to be heeded", PATIENCE, heeded)
        .await?;
    let other = admit(pods.clone(), "nobody").await?;
    ensure!(
        other["terminationGracePeriodSeconds"] == 30,
        "no load balancer has it: {other}"
    );

    let served_before = served(stage).await?;
    let empty = r#"[{"op": "remove", "path": "/data"}]"#;
    let secret = [
        "patch",
        "secret",
        "-n",
        NAMESPACE,
        "albacore-webhook-keys",
        "--type=json",
        "-p",
        empty,
    ];
    kubectl(&secret).await?;
    let begun = Instant::now();
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = JoinSet::new();
    let mut admitted = 0;
    while begun.elapsed() < ROTATION || !asked.is_empty() {
        if begun.elapsed() < ROTATION && asked.len() < 32 {
            ticks.tick().await;
            let pods = pods.clone();
            asked.spawn(async move { admit(pods, "storefront").await });
        } else if let Some(done) = asked.join_next().await {
            let pod = done?.with_context(|| format!("after {:?}, {admitted} admitted", begun.elapsed()))?;
            ensure!(is_changed(&pod), "after {:?}: {pod}", begun.elapsed());
            admitted += 1;
        }
    }
    println!("  {admitted} admissions in {:.0?}", begun.elapsed());
    let after = served(stage).await?;
    ensure!(
        after.len() == 2 && after.iter().zip(&served_before).all(|(now, then)| *now == then + 1),
        "each replica has another certificate: {served_before:?}, {after:?}"
    );
    handshakes(stage).await?;
    for label in LABELS {
        kubectl(&["label", "namespace", "shop", &format!("{label}-")]).await?;
    }
    stage.upgrade(&chart, &Value::Null).await
}
