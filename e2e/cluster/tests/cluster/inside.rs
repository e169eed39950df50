//! What a container finds around itself.

use std::process::Stdio;

use albacore_cluster::{API_SERVER, Cluster, RESOLVER};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::place::{PATIENCE, Place, address, phase, ready};

pub async fn token(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "token").await?;
    let asks = |name: &'static str| {
        let args = json!({"image": "kubectl", "args": ["get", "configmaps", "--output=name"]});
        place.pod(name, args, json!({"restartPolicy": "Never"}))
    };
    asks("before").await?;
    place.until("before", "failed", |pod| phase(pod) == "Failed").await?;
    let log = place.log("before");
    ensure!(
        log.contains("system:serviceaccount:token:default\" cannot list resource \"configmaps\""),
        "{log}"
    );
    cluster
        .kubectl(&[
            "create",
            "role",
            "reader",
            "--verb=list",
            "--resource=configmaps",
            "--namespace=token",
        ])
        .await?;
    cluster
        .kubectl(&[
            "create",
            "rolebinding",
            "reader",
            "--role=reader",
            "--serviceaccount=token:default",
            "--namespace=token",
        ])
        .await?;
    asks("after").await?;
    place
        .until("after", "succeeded", |pod| phase(pod) == "Succeeded")
        .await?;
    let log = place.log("after");
    ensure!(log.contains("configmap/kube-root-ca.crt"), "{log}");
    let audit = std::fs::read_to_string(cluster.audit_log())?;
    let seen = audit
        .lines()
        .any(|line| line.contains("system:serviceaccount:token:default") && line.contains("\"code\":403"));
    ensure!(seen, "the audit log knows who was forbidden what");
    Ok(())
}

pub async fn surroundings(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "surroundings").await?;
    cluster
        .kubectl(&[
            "create",
            "configmap",
            "settings",
            "--from-literal=colour=blue",
            "--namespace=surroundings",
        ])
        .await?;
    cluster
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "tls",
            "--from-literal=tls.crt=certificate",
            "--namespace=surroundings",
        ])
        .await?;
    let script = "env | sort; hostname; cat /etc/resolv.conf; cat /etc/webhook/tls.crt /var/settings/hue; echo; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; \
        echo x > /scratch/x && cat /scratch/x; touch /x || echo root is read-only; touch /etc/webhook/x || echo secrets are read-only; ls /run; echo \"$@\"";
    let container = json!({
        "image": "shell", "command": ["/bin/sh", "-c", script, "sh"], "args": ["node=$(NODE)", "$(UNKNOWN)"],
        "env": [
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}}],
        "envFrom": [{"prefix": "ALL_", "configMapRef": {"name": "settings"}}],
        "securityContext": {"readOnlyRootFilesystem": true},
        "volumeMounts": [
            {"name": "tls", "mountPath": "/etc/webhook"}, {"name": "settings", "mountPath": "/var/settings"},
            {"name": "scratch", "mountPath": "/scratch"}]});
    let volumes = json!({"restartPolicy": "Never", "nodeName": "host-b", "volumes": [
        {"name": "tls", "secret": {"secretName": "tls"}},
        {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "colour", "path": "hue"}]}},
        {"name": "scratch", "emptyDir": {}}]});
    place.pod("look", container, volumes).await?;
    let pod = place
        .until("look", "done", |pod| matches!(phase(pod), "Succeeded" | "Failed"))
        .await?;
    let log = place.log("look");
    for line in [
        &format!("KUBERNETES_SERVICE_HOST={}", API_SERVER.ip()),
        &format!("IP={}", address(&pod)?),
        &format!("nameserver {RESOLVER}"),
        "NODE=host-b",
        "APP=look",
        "COLOUR=blue",
        "ALL_colour=blue",
        "HOSTNAME=look",
        "look",
        "certificateblue",
        "surroundings",
        "x",
        "root is read-only",
        "secrets are read-only",
        "secrets",
        "node=host-b $(UNKNOWN)",
    ] {
        ensure!(log.lines().any(|found| found == line), "{line:?} is not in\n{log}");
    }
    ensure!(!log.contains("CARGO"), "the harness' environment is not the pod's");
    Ok(())
}

pub async fn refreshed(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "refreshed").await?;
    let settings = |colour: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": colour}});
    place.apply(settings("blue")).await?;
    let container = json!({
        "image": "shell", "args": ["-c", "while :; do cat /settings/colour; echo; sleep 1; done"],
        "readinessProbe": {"exec": {"command": ["grep", "-q", "red", "/settings/colour"]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "settings", "mountPath": "/settings"}]});
    place
        .pod(
            "look",
            container,
            json!({"volumes": [{"name": "settings", "configMap": {"name": "settings"}}]}),
        )
        .await?;
    for colour in ["blue", "red"] {
        place.apply(settings(colour)).await?;
        let seen = async || Ok(place.log("look").lines().any(|line| line == colour).then_some(()));
        cluster
            .wait_for(&format!("the pod to see {colour}"), PATIENCE, seen)
            .await?;
    }
    place.until("look", "ready by its command", ready).await?;
    Ok(())
}

pub async fn logs(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "logs").await?;
    let script = "echo one; echo two; sleep 2; echo three; exec sleep 60";
    place
        .pod("talks", json!({"image": "shell", "args": ["-c", script]}), json!({}))
        .await?;
    place.until("talks", "ready", ready).await?;
    let mut follower = cluster.command("kubectl");
    let mut follower = follower
        .args(["logs", "--follow", "talks", "--namespace=logs"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(follower.stdout.take().context("a pipe")?).lines();
    for expected in ["one", "two", "three"] {
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .context("no more lines")??;
        ensure!(line.as_deref() == Some(expected), "{line:?}");
    }
    let tail = cluster
        .kubectl(&["logs", "talks", "--tail=2", "--namespace=logs"])
        .await?;
    ensure!(tail == "two\nthree\n", "{tail}");
    Ok(())
}
