//! Who reaches whom, from which address.

use std::net::SocketAddrV4;

use albacore_cluster::{Cluster, DEMO_IMAGE, NodeSpec};
use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::net::TcpListener;

use crate::place::{CLIENT, PATIENCE, Place, address, get, is, phase, probe, ready, restarts_of};

pub async fn true_addresses(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "addresses").await?;
    place
        .apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}},
                        "nodeTaintsPolicy": "Honor"}],
                    "containers": [{"name": "web", "image": format!("{DEMO_IMAGE}:v1"), "readinessProbe": probe("/healthz")}]}}}}))
        .await?;
    cluster
        .kubectl(&[
            "rollout",
            "status",
            "deployment/web",
            "--namespace=addresses",
            "--timeout=60s",
        ])
        .await?;
    let pods = place.pods.list(&ListParams::default()).await?.items;
    let ranges: Vec<Ipv4Net> = NodeSpec::three().into_iter().map(|node| node.pod_cidr).collect();
    for pod in &pods {
        let address = address(pod)?;
        ensure!(
            ranges.iter().filter(|range| range.contains(&address)).count() == 1,
            "{address} is in no node's range"
        );
        let answer = get(CLIENT, SocketAddrV4::new(address, 8080), "/hello?x=1").await?;
        ensure!(answer.contains(&format!("pod: {}\n", pod.name_any())), "{answer}");
        ensure!(
            answer.contains("request: GET /hello?x=1\n") && answer.contains(&format!("peer: {CLIENT}:")),
            "{answer}"
        );
    }
    // From one pod to another, by the demo's peer: kubectl in a pod speaks plain HTTP with --raw.
    let server = format!("--server=http://{}:8080", address(&pods[0])?);
    place
        .pod(
            "asks",
            json!({"image": "kubectl", "args": [server, "get", "--raw", "/between-pods"]}),
            json!({"restartPolicy": "Never"}),
        )
        .await?;
    let asks = place.until("asks", "done", |pod| phase(pod) == "Succeeded").await?;
    let log = place.log("asks");
    ensure!(log.contains(&format!("peer: {}:", address(&asks)?)), "{log}");
    Ok(())
}

pub async fn readiness(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "readiness").await?;
    place
        .apply(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        )
        .await?;
    place
        .pod("web", json!({"readinessProbe": probe("/healthz")}), json!({}))
        .await?;
    let target = SocketAddrV4::new(address(&place.until("web", "ready", ready).await?)?, 8080);
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client(), "readiness");
    let serving = async |wanted: bool| {
        cluster
            .wait_for(
                &format!("the endpoint's readiness to be {wanted}"),
                PATIENCE,
                async || {
                    let slices = slices
                        .list(&ListParams::default().labels("kubernetes.io/service-name=web"))
                        .await?;
                    let endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
                    let states: Vec<_> = endpoints
                        .filter_map(|endpoint| endpoint.conditions.as_ref()?.ready)
                        .collect();
                    Ok((states == [wanted]).then_some(()))
                },
            )
            .await
    };
    serving(true).await?;
    get(CLIENT, target, "/-/fail").await?;
    place
        .until("web", "not ready", |pod| {
            is(pod, "Ready", "False") && is(pod, "ContainersReady", "False")
        })
        .await?;
    serving(false).await?;
    get(CLIENT, target, "/-/recover").await?;
    let pod = place.until("web", "ready again", ready).await?;
    serving(true).await?;
    ensure!(restarts_of(&pod) == 0, "a readiness probe restarts nothing");
    Ok(())
}

pub async fn graceful_end(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "graceful").await?;
    let container = json!({
        "env": [{"name": "DELAY_MS", "value": "3000"}],
        "readinessProbe": probe("/healthz"), "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}});
    place
        .pod("web", container, json!({"terminationGracePeriodSeconds": 20}))
        .await?;
    let target = SocketAddrV4::new(address(&place.until("web", "ready", ready).await?)?, 8080);
    let slow = tokio::spawn(get(CLIENT, target, "/slow"));
    cluster
        .wait_for("the request to arrive", PATIENCE, async || {
            Ok(place.log("web").contains("GET /slow").then_some(()))
        })
        .await?;
    cluster
        .kubectl(&["delete", "pod", "web", "--namespace=graceful", "--wait=false"])
        .await?;
    let answer = slow.await??;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    cluster
        .kubectl(&[
            "wait",
            "--for=delete",
            "pod/web",
            "--namespace=graceful",
            "--timeout=30s",
        ])
        .await?;
    let log = place.log("web");
    ensure!(
        log.contains("draining 1 connections") && log.trim_end().ends_with("drained"),
        "{log}"
    );
    // One that does not listen to SIGTERM is killed when its time is over.
    place
        .pod(
            "deaf",
            json!({"image": "shell", "args": ["-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]}),
            json!({"terminationGracePeriodSeconds": 1}),
        )
        .await?;
    place.until("deaf", "running", |pod| phase(pod) == "Running").await?;
    cluster
        .kubectl(&["delete", "pod", "deaf", "--namespace=graceful", "--timeout=30s"])
        .await?;
    Ok(())
}

pub async fn neighbours(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "neighbours").await?;
    let script = "while ! kubectl --server=http://127.0.0.1:8080 get --raw /next-door; do sleep 1; done; exec sleep 60";
    let path = format!("{}:/usr/bin:/bin", albacore_cluster::tools()?.display());
    let containers = json!([
        {"name": "serves", "image": DEMO_IMAGE, "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}},
        {"name": "asks", "image": "shell", "args": ["-c", script], "env": [{"name": "PATH", "value": path}]}]);
    place.pod("two", json!({}), json!({"containers": containers})).await?;
    place.until("two", "ready", ready).await?;
    let answered = async || Ok(place.log("two").contains("request: GET /next-door").then_some(()));
    cluster
        .wait_for("one container to hear the other", PATIENCE, answered)
        .await?;
    ensure!(place.log("two").contains("peer: 127.0.0.1:"), "{}", place.log("two"));
    Ok(())
}

pub async fn node_port(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "node-port").await?;
    place
        .apply(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
        )
        .await?;
    let services: Api<Service> = Api::namespaced(cluster.client(), "node-port");
    let spec = services.get("web").await?.spec.context("a spec")?;
    let port = spec
        .ports
        .iter()
        .flatten()
        .find_map(|port| port.node_port)
        .context("a node port")?;
    let port = u16::try_from(port)?;
    let door = SocketAddrV4::new(NodeSpec::three()[0].address, port);
    ensure!(
        get(CLIENT, door, "/").await.is_err(),
        "a node port without endpoints refuses"
    );
    place
        .pod(
            "web",
            json!({"readinessProbe": probe("/healthz")}),
            json!({"nodeName": "host-c"}),
        )
        .await?;
    place.until("web", "ready", ready).await?;
    for node in NodeSpec::three() {
        let door = SocketAddrV4::new(node.address, port);
        let answer = cluster
            .wait_for(&format!("{door} to answer"), PATIENCE, async || {
                Ok(Some(get(CLIENT, door, "/").await?))
            })
            .await?;
        ensure!(
            answer.contains("pod: web\n") && answer.contains(&format!("peer: {}:", node.address)),
            "{answer}"
        );
    }
    Ok(())
}

pub async fn metadata(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "metadata").await?;
    let listener = TcpListener::bind("169.254.169.254:80").await?;
    let args = json!({"image": "kubectl", "args": ["--server=http://169.254.169.254", "get", "--raw=/latest"]});
    place.pod("asks", args, json!({})).await?;
    let (_, peer) = tokio::time::timeout(PATIENCE, listener.accept())
        .await
        .context("nobody asks")??;
    let pod = place.until("asks", "running", |pod| address(pod).is_ok()).await?;
    ensure!(peer.ip() == address(&pod)?, "{peer}");
    Ok(())
}
