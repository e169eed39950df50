//! Many at once, on the real control plane and in real time: nodes and pods that kwok plays, and groups under the buckets
//! that AWS documents.

use crate::stage::{PATIENCE, Stage};
use albacore_aws::world::ACCOUNT;
use albacore_cluster::NodeSpec;
use albacore_simulation::world::{REGION, sdk_config};
use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Taint;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::Ipv4Addr, path::Path, time::Duration};

/// Nodes that kwok plays, and how many pods run on all of them.
const NODES: usize = 200;
const PODS: usize = 2_000;
/// Services that share the pods: a load balancer takes a thousand targets ("Quotas for your Application Load Balancers").
const APPS: usize = 4;
/// Services of a group.
const SERVICES: usize = 5;
/// Longer than full buckets take for fifty groups.
const LONG: Duration = Duration::from_secs(600);
/// Where the pods of the first node get their addresses; each node has thirty of them.
const PODS_FROM: u32 = u32::from_be_bytes([10, 0, 128, 0]);

/// Two hundred nodes with two thousand pods come, are targets, and go.
pub(crate) async fn masses_of_nodes_and_pods_become_targets_and_go(stage: &Stage, _: &Path) -> Result<()> {
    let nodes = stage.as_administrator(fake_nodes(stage)).await?;
    stage.cluster.add_fake_nodes(&nodes).await?;
    stage.take_calls();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "masses"}});
    let mut objects = vec![namespace];
    objects.extend((0..APPS).flat_map(app));
    apply(stage, objects).await?;
    // The nodes of the demo are targets of the Service by node port too.
    let wanted = [PODS, NODES + stage.world.nodes.len()];
    targets(stage, wanted).await.context("targets are registered")?;
    stage.rest().await?;
    let calls = stage.double.journal();
    let throttled = calls.iter().filter(|call| call.throttled).count();
    ensure!(throttled == 0, "{throttled} calls were throttled");
    let registered = calls.iter().filter(|call| call.operation == "RegisterTargets").count();
    println!(
        "  {PODS} pods and {NODES} nodes: {} calls, {registered} of them RegisterTargets",
        calls.len()
    );
    // Pods come over minutes; in batches all the same.
    ensure!(registered * 10 <= PODS, "{registered} calls for {PODS} pods");

    for app in 0..APPS {
        let name = format!("deployment/app-{app}");
        stage
            .cluster
            .kubectl(&["scale", "-n", "masses", &name, "--replicas=0"])
            .await?;
    }
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let delete = ["delete", "node", "--wait=false"].into_iter().chain(names);
    stage.cluster.kubectl(&delete.collect::<Vec<_>>()).await?;
    targets(stage, [0, stage.world.nodes.len()])
        .await
        .context("targets are deregistered")?;
    stage
        .cluster
        .kubectl(&["delete", "namespace", "masses", "--timeout=180s"])
        .await?;
    stage.nothing_is_left(PATIENCE * 2).await
}

/// Groups are made, one of them is changed while the controller is killed, and all are deleted.
pub(crate) async fn many_groups_survive_a_kill_and_leave_nothing(stage: &Stage, groups: usize) -> Result<()> {
    for name in ["application-load-balancers", "target-groups"] {
        stage.double.set_quota(ACCOUNT, REGION, name, 100_000);
    }
    stage.take_calls();
    let began = tokio::time::Instant::now();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "many"}});
    let web = deployment("many", "web", "albacore-demo-http", 2, &Value::Null);
    let mut objects = vec![namespace, web];
    objects.extend((0..groups).flat_map(|group| many(group, SERVICES)));
    apply(stage, objects).await?;
    let made = || stage.held().0;
    let half = async || Ok((made() > groups / 2).then_some(()));
    stage.cluster.wait_for("half of the load balancers", LONG, half).await?;
    let leader = stage.leader().await?;
    apply(stage, many(0, SERVICES + 1)).await?;
    kill(&leader)?;
    println!(
        "  {leader} is killed when {} of {groups} load balancers are made",
        made()
    );
    let all = (groups, groups * SERVICES + 1);
    let served = async || {
        let ingresses = ["get", "ingress", "-n", "many", "-o", "json"];
        let ingresses: Value = serde_json::from_str(&stage.cluster.kubectl(&ingresses).await?)?;
        let named = |ingress: &&Value| ingress["status"]["loadBalancer"]["ingress"][0]["hostname"].is_string();
        let named = ingresses["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(named)
            .count();
        Ok((named == groups && stage.held() == all && stage.targets("ip") == 2 * all.1).then_some(()))
    };
    let served = stage.cluster.wait_for("all groups to be served", LONG, served).await;
    served.with_context(|| format!("{:?} of {all:?}, {} targets", stage.held(), stage.targets("ip")))?;
    let created = began.elapsed();
    stage.rest().await?;
    ensure!(stage.held() == all, "more than was wished: {:?}", stage.held());
    let calls = stage.double.journal();
    let throttled = calls.iter().filter(|call| call.throttled).count();
    println!(
        "  {groups} groups: {} calls, {throttled} throttled, {created:.0?}",
        calls.len()
    );

    stage.take_calls();
    let began = tokio::time::Instant::now();
    stage
        .cluster
        .kubectl(&["delete", "namespace", "many", "--timeout=600s"])
        .await?;
    stage.nothing_is_left(PATIENCE * 2).await?;
    let calls = stage.double.journal();
    println!("  deleted: {} calls, {:.0?}", calls.len(), began.elapsed());
    Ok(())
}

/// Instances, and the nodes that they are; nobody else's pods go there.
async fn fake_nodes(stage: &Stage) -> Result<Vec<NodeSpec>> {
    let ec2 = aws_sdk_ec2::Client::new(&sdk_config(&stage.double).await);
    // Pods have addresses of a subnet of the VPC, or are no targets.
    let subnet = ec2.create_subnet().vpc_id(&stage.world.vpc);
    let subnet = subnet
        .cidr_block("10.0.128.0/17")
        .availability_zone(format!("{REGION}a"));
    subnet.send().await?;
    let mut nodes = Vec::new();
    for (zone, count) in ["a", "b", "c"]
        .into_iter()
        .zip([NODES / 3, NODES / 3, NODES - 2 * (NODES / 3)])
    {
        let subnet = stage
            .world
            .subnets
            .iter()
            .find(|(name, _)| *name == format!("private-{zone}"));
        let count = i32::try_from(count)?;
        let started = ec2
            .run_instances()
            .image_id("ami-0123456789abcdef0")
            .min_count(count)
            .max_count(count)
            .subnet_id(&subnet.context("a subnet")?.1)
            .security_group_ids(&stage.world.node_group)
            .send()
            .await?;
        for instance in started.instances() {
            let number = u32::try_from(nodes.len())?;
            let id = instance.instance_id().context("an instance id")?;
            let address: Ipv4Addr = instance.private_ip_address().context("an address")?.parse()?;
            let zone = format!("{REGION}{zone}");
            let pods = Ipv4Net::new(Ipv4Addr::from(PODS_FROM + 32 * number), 27)?;
            let provider = format!("aws:///{zone}/{id}");
            let mut node = NodeSpec::new(&format!("fake-{number}"), &provider, address, pods, &zone);
            node.taints.push(Taint {
                key: "kwok.x-k8s.io/node".to_owned(),
                value: Some("fake".to_owned()),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            });
            nodes.push(node);
        }
    }
    Ok(nodes)
}

fn deployment(namespace: &str, name: &str, image: &str, replicas: usize, more: &Value) -> Value {
    let mut pod = json!({"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 8080}]}]});
    for (field, value) in more.as_object().into_iter().flatten() {
        pod[field] = value.clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    })
}

fn service(namespace: &str, name: &str, kind: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": kind, "selector": {"app": app}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn ingress(namespace: &str, name: &str, target_type: &str, services: &[String]) -> Value {
    let path = |service: &String| {
        json!({
            "path": format!("/{service}"), "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}},
        })
    };
    let paths: Vec<Value> = services.iter().map(path).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "namespace": namespace, "name": name,
            "annotations": {"alb.ingress.kubernetes.io/target-type": target_type},
        },
        "spec": {
            "ingressClassName": "alb",
            "rules": [{"host": format!("{name}.example.com"), "http": {"paths": paths}}],
        },
    })
}

/// A share of the pods behind a load balancer of their own; in front of the first one also all nodes.
fn app(number: usize) -> Vec<Value> {
    let name = format!("app-{number}");
    let fake = json!({
        "nodeSelector": {"kwok.x-k8s.io/node": "fake"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
    });
    let mut objects = vec![
        deployment("masses", &name, "any", PODS / APPS, &fake),
        service("masses", &name, "NodePort", &name),
        ingress("masses", &name, "ip", std::slice::from_ref(&name)),
    ];
    if number == 0 {
        objects.push(ingress("masses", "nodes", "instance", &[name]));
    }
    objects
}

/// A group of so many Services.
fn many(group: usize, services: usize) -> Vec<Value> {
    let names: Vec<String> = (0..services).map(|n| format!("app-{group}-{n}")).collect();
    let mut objects: Vec<Value> = names
        .iter()
        .map(|name| service("many", name, "ClusterIP", "web"))
        .collect();
    objects.push(ingress("many", &format!("app-{group}"), "ip", &names));
    objects
}

async fn apply(stage: &Stage, objects: Vec<Value>) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    stage.cluster.apply(&list.to_string()).await.map(drop)
}

/// Waits until so many pods and so many instances are targets.
async fn targets(stage: &Stage, wanted: [usize; 2]) -> Result<()> {
    let there = || ["ip", "instance"].map(|kind| stage.targets(kind));
    let all = async || Ok((there() == wanted).then_some(()));
    let waited = stage.cluster.wait_for("the targets", LONG, all).await;
    waited.with_context(|| format!("{:?} of {wanted:?}", there()))
}

/// SIGKILL to the process of a pod of albacore: as when a node dies, or memory runs out.
fn kill(pod: &str) -> Result<()> {
    let own = format!("POD_NAME={pod}");
    let mut killed = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == own.as_bytes())
        {
            kill_process(Pid::from_raw(pid).context("a pid")?, Signal::KILL)?;
            killed.insert(pid);
        }
    }
    ensure!(!killed.is_empty(), "no process is {pod}");
    Ok(())
}
