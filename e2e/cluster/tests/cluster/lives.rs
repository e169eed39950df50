//! How pods begin, wait, come back and are refused.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use albacore_cluster::{Cluster, Options};
use anyhow::{Result, ensure};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::net::TcpListener;

use crate::place::{CLIENT, PATIENCE, Place, address, get, is, phase, probe, ready, restarts_of};

pub async fn restarts(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "restarts").await?;
    let mut startup = probe("/healthz");
    startup["failureThreshold"] = json!(30);
    let probes =
        json!({"readinessProbe": probe("/healthz"), "livenessProbe": probe("/healthz"), "startupProbe": startup});
    place.pod("web", probes, json!({})).await?;
    let before = place.until("web", "ready", ready).await?;
    let target = SocketAddrV4::new(address(&before)?, 8080);
    // The process ends while it is asked, so there is no answer.
    let _ = get(CLIENT, target, "/-/exit").await;
    place
        .until("web", "started again", |pod| restarts_of(pod) == 1 && ready(pod))
        .await?;
    get(CLIENT, target, "/-/fail").await?;
    let after = place
        .until("web", "started again", |pod| restarts_of(pod) == 2 && ready(pod))
        .await?;
    ensure!(
        address(&after)? == address(&before)?,
        "a restart keeps the pod's address"
    );
    let status = serde_json::to_string(&after.status)?;
    ensure!(status.contains("liveness probe failed"), "{status}");
    Ok(())
}

pub async fn init(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "init").await?;
    let scratch = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    let first = |code: u8| json!([{"name": "first", "image": "shell", "args": ["-c", format!("echo made > /scratch/file; exit {code}")], "volumeMounts": scratch}]);
    let container = json!({"image": "shell", "args": ["-c", "cat /scratch/file"], "volumeMounts": scratch});
    let spec = |code| json!({"restartPolicy": "Never", "volumes": [{"name": "scratch", "emptyDir": {}}], "initContainers": first(code)});
    place.pod("good", container.clone(), spec(0)).await?;
    place.pod("bad", container, spec(3)).await?;
    place
        .until("good", "done", |pod| {
            phase(pod) == "Succeeded" && is(pod, "Initialized", "True")
        })
        .await?;
    ensure!(place.log("good").contains("made"), "{}", place.log("good"));
    place
        .until("bad", "failed", |pod| {
            phase(pod) == "Failed" && is(pod, "Initialized", "False")
        })
        .await?;
    ensure!(
        !place.log("bad").contains("made"),
        "the container began after its init container had failed"
    );
    Ok(())
}

pub async fn gate(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "gate").await?;
    let gates = json!([{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}]);
    place.pod("real", json!({}), json!({"readinessGates": gates})).await?;
    let tolerant = json!({"readinessGates": gates, "nodeName": "fake-a"});
    place.pod("fake", json!({}), tolerant).await?;
    let open = |name: &'static str, gate: &'static str| {
        let condition = json!({"status": {"conditions": [{"type": gate, "status": "True"}]}});
        let pods = place.pods.clone();
        async move {
            pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(condition))
                .await
        }
    };
    for name in ["real", "fake"] {
        let closed = |pod: &Pod| is(pod, "ContainersReady", "True") && is(pod, "Ready", "False");
        place.until(name, "waiting for its gates", closed).await?;
        open(name, "example.com/a").await?;
        let pod = place
            .until(name, "waiting for the other gate", |pod| {
                is(pod, "example.com/a", "True")
            })
            .await?;
        ensure!(!ready(&pod), "ready before its last gate is open");
        open(name, "example.com/b").await?;
        place.until(name, "ready", ready).await?;
    }
    Ok(())
}

pub async fn fake_pods(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "fake").await?;
    let range = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 13, 64), 27);
    let template = json!({"metadata": {"labels": {"app": "many"}}, "spec": {
        "nodeSelector": {"kwok.x-k8s.io/node": "fake"}, "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "anything"}]}});
    place
        .apply(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
            "spec": {"replicas": 20, "selector": {"matchLabels": {"app": "many"}}, "template": template}}),
        )
        .await?;
    cluster
        .kubectl(&[
            "rollout",
            "status",
            "deployment/many",
            "--namespace=fake",
            "--timeout=60s",
        ])
        .await?;
    let pods = place.pods.list(&ListParams::default()).await?.items;
    let mut addresses = pods.iter().map(address).collect::<Result<Vec<_>>>()?;
    addresses.sort();
    addresses.dedup();
    ensure!(
        addresses.len() == 20 && addresses.iter().all(|address| range.contains(address)),
        "{addresses:?}"
    );
    Ok(())
}

pub async fn refused(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "refused").await?;
    place
        .pod("unknown", json!({"image": "nobody/knows:v1"}), json!({}))
        .await?;
    let says = |pod: &Pod, words: &str| serde_json::to_string(&pod.status).is_ok_and(|status| status.contains(words));
    place
        .until("unknown", "waiting", |pod| {
            says(pod, "ErrImagePull") && says(pod, "no executable is known for the image nobody/knows:v1")
        })
        .await?;
    place.pod("host", json!({}), json!({"hostNetwork": true})).await?;
    place
        .until("host", "failed", |pod| {
            phase(pod) == "Failed" && says(pod, "hostNetwork is not supported")
        })
        .await?;
    cluster
        .kubectl(&[
            "delete",
            "pod",
            "unknown",
            "host",
            "--namespace=refused",
            "--timeout=30s",
        ])
        .await?;
    Ok(())
}

pub async fn helm(cluster: &Cluster) -> Result<()> {
    let chart = tempfile::tempdir()?;
    std::fs::create_dir(chart.path().join("templates"))?;
    std::fs::write(
        chart.path().join("Chart.yaml"),
        "apiVersion: v2\nname: small\nversion: 0.1.0\nkubeVersion: '>=1.30'\n",
    )?;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: small}\ndata: {word: {{ .Values.word }}}\n";
    std::fs::write(chart.path().join("templates/small.yaml"), template)?;
    let path = chart.path().to_string_lossy();
    cluster
        .helm(&[
            "install",
            "small",
            &path,
            "--set=word=hello",
            "--namespace=helm",
            "--create-namespace",
        ])
        .await?;
    let word = cluster
        .kubectl(&[
            "get",
            "configmap",
            "small",
            "--namespace=helm",
            "--output=jsonpath={.data.word}",
        ])
        .await?;
    ensure!(word == "hello", "{word}");
    let missing = cluster.helm(&["status", "nothing"]).await;
    ensure!(
        missing.is_err_and(|error| error.to_string().contains("release: not found")),
        "a failing helm is an error with its words"
    );
    Ok(())
}

pub async fn stopped(cluster: Cluster) -> Result<()> {
    cluster
        .kubectl(&[
            "create",
            "deployment",
            "web",
            "--image=shell",
            "--replicas=3",
            "--",
            "sh",
            "-c",
            "sleep 1000 & sleep 1000",
        ])
        .await?;
    cluster
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])
        .await?;
    ensure!(processes()?.len() > 10, "they would be seen");
    cluster.stop().await;
    let gone = tokio::time::timeout(PATIENCE, async {
        // This program and the namespace's first process stay.
        while processes()?.len() > 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
    gone.await
        .unwrap_or_else(|_| anyhow::bail!("still there: {:?}", processes()))?;
    // The port that etcd's peers would use.
    let taken = TcpListener::bind("127.0.0.1:2380").await?;
    let error = Cluster::start(Options::default())
        .await
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        error.contains("etcd ended") && error.contains("address already in use"),
        "not the log's end: {error}"
    );
    drop(taken);
    let another = Cluster::start(Options {
        nodes: Vec::new(),
        ..Options::default()
    })
    .await?;
    let nodes = another.kubectl(&["get", "nodes,deployments", "--output=name"]).await?;
    ensure!(nodes.is_empty(), "left of the first cluster: {nodes}");
    let second = Cluster::start(Options::default())
        .await
        .err()
        .map(|error| error.to_string());
    ensure!(
        second.is_some_and(|error| error.contains("runs in these namespaces already")),
        "two clusters in one place"
    );
    another.stop().await;
    Ok(())
}

/// What each process in here runs.
fn processes() -> Result<Vec<String>> {
    let entries = std::fs::read_dir("/proc")?.collect::<Result<Vec<_>, _>>()?;
    let pids = entries
        .into_iter()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    Ok(pids
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok())
        .collect())
}
