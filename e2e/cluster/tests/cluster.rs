//! The cluster's own facts, all on one cluster, each in a Kubernetes namespace of its own. `cargo test --test cluster WORD` picks some.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use albacore_cluster::{API_SERVER, Cluster, DEMO_IMAGE, Image, NodeSpec, Options};
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Generous: eight others may be building on these two cores.
const PATIENCE: Duration = Duration::from_secs(60);
/// An address of nobody's, to be recognised as a source.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 7);

fn main() -> Result<ExitCode> {
    albacore_cluster::enter();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}

type Fact<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

async fn run() -> Result<ExitCode> {
    let kubectl = Image::new(albacore_cluster::tools()?.join("kubectl"));
    let images = BTreeMap::from([
        ("kubectl".to_owned(), kubectl),
        ("shell".to_owned(), Image::new("/bin/sh")),
    ]);
    let fake = NodeSpec::new(
        "fake-a",
        "aws:///us-east-1a/i-0000000000000fake",
        Ipv4Addr::new(10, 0, 13, 10),
        Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 13, 64), 27),
        "us-east-1a",
    );
    let mut options = Options {
        fake_nodes: vec![fake],
        images,
        ..Options::default()
    };
    options.fake_nodes[0].taints = vec![serde_json::from_value(
        json!({"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}),
    )?];
    let cluster = &Cluster::start(options).await?;
    let word = std::env::args().nth(1).unwrap_or_default();
    let facts: Vec<(&str, Fact)> = vec![
        (
            "pods_are_seen_and_see_others_with_their_true_addresses",
            Box::pin(true_addresses(cluster)),
        ),
        (
            "a_pod_that_fails_its_readiness_probe_leaves_its_service_and_comes_back",
            Box::pin(readiness(cluster)),
        ),
        (
            "a_container_that_exits_or_fails_its_liveness_probe_is_started_again",
            Box::pin(restarts(cluster)),
        ),
        (
            "a_request_under_way_is_answered_before_its_pod_ends",
            Box::pin(graceful_end(cluster)),
        ),
        (
            "a_pods_token_may_do_what_its_service_account_may_and_no_more",
            Box::pin(token(cluster)),
        ),
        (
            "environment_and_volumes_are_where_the_pod_asked_for_them",
            Box::pin(surroundings(cluster)),
        ),
        (
            "a_config_map_changes_inside_a_running_pod",
            Box::pin(refreshed(cluster)),
        ),
        ("containers_of_a_pod_share_its_address", Box::pin(neighbours(cluster))),
        (
            "init_containers_run_before_and_a_failed_one_holds_the_pod_back",
            Box::pin(init(cluster)),
        ),
        ("a_readiness_gate_keeps_a_pod_from_being_ready", Box::pin(gate(cluster))),
        (
            "a_node_port_leads_from_every_node_to_a_ready_pod",
            Box::pin(node_port(cluster)),
        ),
        (
            "a_fake_nodes_pods_have_addresses_of_its_range",
            Box::pin(fake_pods(cluster)),
        ),
        ("what_cannot_be_run_says_why", Box::pin(refused(cluster))),
        ("helm_installs_a_chart", Box::pin(helm(cluster))),
    ];
    let mut running: FuturesUnordered<_> = facts
        .into_iter()
        .filter(|(name, _)| name.contains(&word))
        .map(|(name, fact)| async move { (name, fact.await) })
        .collect();
    let (mut passed, mut failed) = (0, 0);
    while let Some((name, outcome)) = running.next().await {
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED\n{error:#}");
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A namespace with its pods.
struct Place<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    pods: Api<Pod>,
}

impl<'a> Place<'a> {
    async fn new(cluster: &'a Cluster, name: &'a str) -> Result<Self> {
        cluster.kubectl(&["create", "namespace", name]).await?;
        Ok(Self {
            cluster,
            name,
            pods: Api::namespaced(cluster.client(), name),
        })
    }

    async fn apply(&self, mut object: serde_json::Value) -> Result<()> {
        object["metadata"]["namespace"] = json!(self.name);
        self.cluster.apply(&object.to_string()).await.map(|_| ())
    }

    /// Applies a pod of one container `c`; `container` and `spec` are merged over the defaults.
    async fn pod(&self, name: &str, container: serde_json::Value, spec: serde_json::Value) -> Result<()> {
        let mut whole = json!({"name": "c", "image": DEMO_IMAGE});
        whole
            .as_object_mut()
            .context("an object")?
            .extend(container.as_object().cloned().unwrap_or_default());
        let mut pod = json!({"containers": [whole], "terminationGracePeriodSeconds": 5});
        pod.as_object_mut()
            .context("an object")?
            .extend(spec.as_object().cloned().unwrap_or_default());
        self.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": pod})).await
    }

    /// Waits until `fact` holds of the pod.
    async fn until(&self, name: &str, what: &str, fact: impl Fn(&Pod) -> bool) -> Result<Pod> {
        let what = format!("{}/{name}: {what}", self.name);
        let seen = self.cluster.wait_for(&what, PATIENCE, async || {
            let pod = self.pods.get(name).await?;
            ensure!(fact(&pod), "it is {}", serde_json::to_string(&pod.status)?);
            Ok(Some(pod))
        });
        seen.await.with_context(|| format!("its log: {}", self.log(name)))
    }

    fn log(&self, name: &str) -> String {
        self.cluster.pod_log(self.name, name).unwrap_or_default()
    }
}

fn is(pod: &Pod, condition: &str, status: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|found| found.type_ == condition && found.status == status)
}

fn ready(pod: &Pod) -> bool {
    is(pod, "Ready", "True")
}

fn restarts_of(pod: &Pod) -> i32 {
    pod.status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten())
        .map(|status| status.restart_count)
        .sum()
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn address(pod: &Pod) -> Result<Ipv4Addr> {
    let address = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref())
        .context("a pod without an address")?;
    Ok(address.parse()?)
}

/// A GET from `source`; the answer with its head.
async fn get(source: Ipv4Addr, target: SocketAddrV4, path: &str) -> Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(source, 0).into())?;
    let mut stream = tokio::time::timeout(Duration::from_secs(5), socket.connect(target.into()))
        .await
        .context("no connection")??;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .context("no answer")??;
    Ok(answer)
}

fn probe(path: &str) -> serde_json::Value {
    json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 1})
}

async fn true_addresses(cluster: &Cluster) -> Result<()> {
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

async fn readiness(cluster: &Cluster) -> Result<()> {
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

async fn restarts(cluster: &Cluster) -> Result<()> {
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

async fn graceful_end(cluster: &Cluster) -> Result<()> {
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

async fn token(cluster: &Cluster) -> Result<()> {
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

async fn surroundings(cluster: &Cluster) -> Result<()> {
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
    let script = "env | sort; hostname; cat /etc/webhook/tls.crt /var/settings/hue; echo; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; \
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

async fn refreshed(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "refreshed").await?;
    let settings = |colour: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": colour}});
    place.apply(settings("blue")).await?;
    let container = json!({
        "image": "shell", "args": ["-c", "while :; do cat /settings/colour; echo; sleep 1; done"],
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
    Ok(())
}

async fn init(cluster: &Cluster) -> Result<()> {
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

async fn neighbours(cluster: &Cluster) -> Result<()> {
    let place = Place::new(cluster, "neighbours").await?;
    let script = "while ! kubectl --server=http://127.0.0.1:8080 get --raw /next-door; do sleep 1; done; exec sleep 60";
    let path = format!("{}:/usr/bin:/bin", albacore_cluster::tools()?.display());
    let containers = json!([
        {"name": "serves", "image": DEMO_IMAGE},
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

async fn gate(cluster: &Cluster) -> Result<()> {
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

async fn node_port(cluster: &Cluster) -> Result<()> {
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

async fn fake_pods(cluster: &Cluster) -> Result<()> {
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

async fn refused(cluster: &Cluster) -> Result<()> {
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

async fn helm(cluster: &Cluster) -> Result<()> {
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
