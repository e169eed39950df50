//! Resident memory of the controller as it is shipped: its process alone, while this one serves Kubernetes and AWS over
//! loopback.

use crate::{
    bed::Bed,
    objects::{self, Ingress},
    permissions, replica, scale,
    world::{CLUSTER, REGION},
};
use albacore::budget::BucketName;
use albacore_aws::Options;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::json;
use std::{net::Ipv4Addr, path::Path, process::Stdio, time::Duration};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep},
};

/// Namespaces that everything is spread over.
const TEAMS: usize = 30;
/// Pods of a Service that is nobody's.
const REPLICAS: usize = 10;
/// How long nothing may be asked for until the controller counts as at rest: longer than between two looks at the health of
/// targets.
const QUIET: Duration = Duration::from_secs(20);
/// How long it may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is in a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What it is called.
    pub name: &'static str,
    /// Groups of ours, of [`scale::SERVICES`] Services each.
    pub groups: usize,
    /// Pods, in the Services of our groups, or else in Services of nobody's.
    pub pods: usize,
    /// Ingresses of another class.
    pub foreign: usize,
    /// Most that may be resident once everything is made, MiB.
    pub limit: f64,
}

/// What is measured.
pub const LOADS: [Load; 4] = [
    Load {
        name: "idle",
        groups: 0,
        pods: 0,
        foreign: 0,
        limit: 15.0,
    },
    Load {
        name: "50 groups, 500 pods",
        groups: 50,
        pods: 500,
        foreign: 0,
        limit: 20.0,
    },
    Load {
        name: "10 000 pods, 1 000 foreign Ingresses",
        groups: 0,
        pods: 10_000,
        foreign: 1_000,
        limit: 30.0,
    },
    Load {
        name: "900 groups",
        groups: 900,
        pods: 0,
        foreign: 0,
        limit: 60.0,
    },
];

/// Memory of one process, MiB.
#[derive(Clone, Debug, Serialize)]
pub struct Resident {
    /// Which load, and how far.
    pub name: String,
    /// At rest.
    pub rest: f64,
    /// The most it ever was.
    pub peak: f64,
    /// What it may be; `None` while everything is made, which is a matter of hours once.
    pub limit: Option<f64>,
}

/// Measures a load: once in a process that makes everything in AWS, and once in one that finds it made, for which the limit
/// is.
///
/// # Errors
/// The process ends, does not come to rest, does not do its work, or asks AWS anything when everything is made.
pub async fn measure(binary: &Path, load: Load) -> Result<Vec<Resident>> {
    let bed = Bed::new(Options {
        epoch: jiff::Timestamp::now(),
        ..Options::default()
    })
    .await;
    scale::raise_quotas(&bed);
    scale::wide_subnets(&bed).await?;
    // Memory is measured, not time.
    bed.double.configure(|options| options.throttling = false);
    fill(&bed, load);
    let kubernetes = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let aws = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let ports = Ports {
        kubernetes: kubernetes.local_addr()?.port(),
        aws: aws.local_addr()?.port(),
    };
    let mut servers = JoinSet::new();
    let (server, double) = (bed.api.clone(), bed.double.clone());
    servers.spawn(async move { server.listen(kubernetes).await.map(drop) });
    servers.spawn(async move { double.serve(aws).await.map(drop) });

    let mut rows = Vec::new();
    for what in ["made", "found"] {
        bed.take_calls();
        let mut process = start(binary, &bed, ports, what)?;
        let measured = at_rest(&bed, &mut process, what).await;
        let (rest, peak) = measured.with_context(|| format!("{}, {what}", load.name))?;
        stop(process).await?;
        let there = bed.holds();
        ensure!(
            there.0 == load.groups && there.3 == load.groups * scale::SERVICES,
            "{there:?} for {load:?}"
        );
        let asked = bed.take_calls();
        ensure!(
            what == "made" || asked.0.is_empty(),
            "everything is made, and yet {} calls",
            asked.0.len()
        );
        rows.push(Resident {
            name: format!("{}, {what}", load.name),
            rest,
            peak,
            limit: (what == "found").then_some(load.limit),
        });
    }
    Ok(rows)
}

#[derive(Clone, Copy)]
struct Ports {
    kubernetes: u16,
    aws: u16,
}

/// Starts the controller as the chart does, as this replica.
fn start(binary: &Path, bed: &Bed, ports: Ports, replica: &str) -> Result<Child> {
    let kubeconfig = std::env::temp_dir().join(format!("albacore-memory-{}.yaml", std::process::id()));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "memory",
        "clusters": [{"name": "memory", "cluster": {"server": format!("http://127.0.0.1:{}", ports.kubernetes)}}],
        "users": [{"name": "memory", "user": {}}],
        "contexts": [{"name": "memory", "context": {"cluster": "memory", "user": "memory"}}],
    });
    std::fs::write(&kubeconfig, config.to_string())?;
    let aws = format!("http://127.0.0.1:{}", ports.aws);
    let endpoints: Vec<String> = ["Elastic Load Balancing v2", "EC2", "ACM"]
        .map(|service| format!("{service}={aws}"))
        .into();
    let budget: Vec<String> = BucketName::all().map(|bucket| format!("{bucket}=200:20")).collect();
    Command::new(binary)
        .args([
            format!("--cluster-name={CLUSTER}"),
            format!("--aws-region={REGION}"),
            format!("--aws-vpc-id={}", bed.world.vpc),
            format!("--aws-api-endpoints={}", endpoints.join(",")),
            format!("--aws-budget={}", budget.join(",")),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--leader-election-namespace={}", replica::LEASE.0),
            "--metrics-bind-addr=127.0.0.1:0".to_owned(),
            "--health-probe-bind-addr=127.0.0.1:0".to_owned(),
        ])
        .env_clear()
        .envs([
            ("POD_NAME", replica),
            ("AWS_ACCESS_KEY_ID", permissions::CONTROLLER),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} does not start", binary.display()))
}

/// Ends it in order, with its Lease handed over.
async fn stop(mut process: Child) -> Result<()> {
    let pid = process.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    kill_process(pid.context("a process that runs")?, Signal::TERM)?;
    let status = process.wait().await?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// Resident memory at rest, and its peak.
async fn at_rest(bed: &Bed, process: &mut Child, replica: &str) -> Result<(f64, f64)> {
    let (began, mut since, mut calls) = (Instant::now(), Instant::now(), 0);
    let leads = || {
        let lease = bed.get("coordination.k8s.io/v1", "Lease", replica::LEASE.0, replica::LEASE.1);
        lease.is_some_and(|lease| {
            lease["spec"]["holderIdentity"]
                .as_str()
                .is_some_and(|holder| holder.starts_with(replica))
        })
    };
    while since.elapsed() < QUIET {
        if let Some(status) = process.try_wait()? {
            bail!("it ended with {status}");
        }
        ensure!(began.elapsed() < PATIENCE, "it does not come to rest");
        sleep(Duration::from_millis(200)).await;
        let asked = bed.api.take_requests();
        let now = bed.double.calls();
        if now != calls || !leads() || asked.iter().any(|request| request.resource.kind != "Lease") {
            (calls, since) = (now, Instant::now());
        }
    }
    let pid = process.id().context("a process that runs")?;
    Ok((resident(pid, "VmRSS")?, resident(pid, "VmHWM")?))
}

/// A figure of a process' memory, MiB (proc_pid_status(5)).
fn resident(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let figure = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(figure
        .with_context(|| format!("{field} in kB"))?
        .trim()
        .parse::<f64>()?
        / 1024.0)
}

/// Makes the objects of a load.
fn fill(bed: &Bed, load: Load) {
    let team = |n: usize| format!("team-{}", n % TEAMS);
    (0..TEAMS).for_each(|n| bed.apply(objects::namespace(&team(n))));
    let mut pods = 0..load.pods;
    let mut back = |namespace: &str, service: &str, count: usize| {
        let pods: Vec<_> = pods
            .by_ref()
            .take(count)
            .map(|n| objects::pod(&bed.world, namespace, service, n))
            .collect();
        bed.apply(objects::endpoint_slice(namespace, service, &pods));
        pods.into_iter().for_each(|pod| bed.apply(pod));
    };
    let services = load.groups * scale::SERVICES;
    for group in 0..load.groups {
        let namespace = team(group);
        let names: Vec<String> = (0..scale::SERVICES).map(|n| format!("app-{group}-{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            let port = u16::try_from(1024 + group * scale::SERVICES + n).expect("a port");
            bed.apply(objects::service(&namespace, name, port));
            back(&namespace, name, load.pods / services);
        }
        let ingress = scale::ingress(&namespace, group, &names);
        let ingress = if load.pods > 0 {
            ingress.annotated("target-type", "ip")
        } else {
            ingress
        };
        bed.apply(ingress.object());
    }
    if load.groups == 0 {
        for n in 0..load.pods / REPLICAS {
            let (namespace, name) = (team(n), format!("other-{n}"));
            bed.apply(objects::service(&namespace, &name, 30000));
            back(&namespace, &name, REPLICAS);
        }
    }
    for n in 0..load.foreign {
        let host = format!("other-{n}.example.com");
        let paths = [("/", "web"), ("/api", "api"), ("/static", "files")];
        let mut ingress = Ingress::new(&team(n), &format!("other-{n}"))
            .host(&host, &paths)
            .object();
        ingress["spec"]["ingressClassName"] = json!("nginx");
        ingress["metadata"]["annotations"] = json!({
            "nginx.ingress.kubernetes.io/proxy-body-size": "8m",
            "nginx.ingress.kubernetes.io/configuration-snippet": "more_set_headers \"X-Frame-Options: DENY\";".repeat(10),
        });
        bed.apply(ingress);
    }
}
