//! The way of docs/migrate.md, command by command: beside a release of another controller that owns the class and holds the
//! Lease, to albacore, and back.

use crate::stage::{AWS, NAMESPACE, PATIENCE, Stage};
use albacore_simulation::world;
use anyhow::{Context, Result, ensure};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use std::{path::Path, time::Duration};
use tokio::{
    process::Command,
    task::JoinHandle,
    time::{Instant, sleep},
};

const LEASE: &str = "aws-load-balancer-controller-leader";
const OTHER: &str = "aws-load-balancer-controller";
/// How long the other controller's Lease lasts; whoever could take it would have by then.
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// The whole way.
///
/// # Errors
/// Where it does not lead on.
pub(crate) async fn a_release_of_another_controller_hands_over_and_takes_back(
    stage: &Stage,
    project: &Path,
) -> Result<()> {
    let chart = project.join("chart");
    if stage.pods().await?.is_empty() {
        stage.install(&chart).await?;
    }
    stage.apply_folder(&project.join("e2e/demo")).await?;
    for (namespace, ingress) in [("shop", "shop"), ("blog", "pages")] {
        stage.hostname(namespace, ingress).await?;
    }
    stage.settle().await?;
    // As the other controller leaves it: nothing of albacore's own, and a release that owns the class.
    let kubectl = async |arguments: &[&str]| stage.cluster.kubectl(arguments).await;
    leave(stage).await?;
    kubectl(&["delete", "loadbalancers,clusternetworks", "--all"]).await?;
    ensure!(
        kubectl(&["get", "ingressclass", "-o", "name"]).await?.is_empty(),
        "a class is left over"
    );
    other_release(stage).await?;
    let before = tended(stage).await?;
    let other = OtherLeader::begin(stage).await?;
    stage.take_calls();

    let tcp = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "blog", "name": "tcp",
        "finalizers": ["service.k8s.aws/resources"]}, "spec": {"ports": [{"port": 80}]}}"#;
    stage.apply(tcp).await?;
    let (code, said) = check(stage).await?;
    ensure!(code == Some(1), "{code:?}: {said}");
    ensure!(said.contains("Service blog/tcp: "), "{said}");
    kubectl(&[
        "patch",
        "service",
        "-n",
        "blog",
        "tcp",
        "-p",
        r#"{"metadata": {"finalizers": null}}"#,
    ])
    .await?;
    kubectl(&["delete", "service", "-n", "blog", "tcp"]).await?;

    let (code, said) = check(stage).await?;
    ensure!(code == Some(0), "{code:?}: {said}");
    ensure!(said.contains(": nothing would change"), "{said}");

    let refused = stage.install(&chart).await.map_err(|error| format!("{error:#}"));
    ensure!(
        refused.as_ref().is_err_and(|why| why.contains("IngressClass")),
        "helm takes what another release owns: {refused:?}"
    );
    // Its pods are ready and stand by.
    stage
        .install_with(&chart, &["--set", "ingressClass.create=false"])
        .await?;
    stage.take_calls();
    sleep(LEASE_DURATION).await;
    ensure!(
        stage.double.journal().is_empty(),
        "a standby asks for nothing: {:?}",
        stage.told()
    );

    // The other one is scaled down. It does not hand its Lease over: that runs out.
    let ended = Instant::now();
    other.end().await?;
    let leads = async || Ok(stage.leader().await.ok());
    stage.cluster.wait_for("albacore to lead", PATIENCE, leads).await?;
    ensure!(
        ended.elapsed() < Duration::from_secs(25),
        "nobody led for {:?}",
        ended.elapsed()
    );
    stage.settle().await?;
    ensure!(writes(stage).is_empty(), "the takeover: {:?}", stage.told());
    ensure!(tended(stage).await? == before, "the takeover changed objects");

    // And back. albacore hands over at once; what it made for itself stays, and harms nobody.
    leave(stage).await?;
    let crds = kubectl(&["get", "crds", "-o", "name"]).await?;
    for crd in [
        "targetgroupbindings.elbv2.k8s.aws",
        "ingressclassparams.elbv2.k8s.aws",
        "loadbalancers.albacore.dev",
    ] {
        ensure!(crds.contains(crd), "helm deleted {crd}");
    }
    let other = OtherLeader::begin(stage).await?;
    ensure!(writes(stage).is_empty(), "the way back: {:?}", stage.told());
    ensure!(tended(stage).await? == before, "the way back changed objects");
    other.end().await?;

    // For good: the class becomes albacore's, and the other release goes.
    stage
        .install_with(&chart, &["--set", "ingressClass.create=false"])
        .await?;
    stage.cluster.wait_for("albacore to lead", PATIENCE, leads).await?;
    let path = chart.to_string_lossy();
    let upgrade = [
        "upgrade",
        "albacore",
        &path,
        "--namespace",
        NAMESPACE,
        "--reuse-values",
        "--take-ownership",
    ];
    let owned = [&upgrade[..], &["--set", "ingressClass.create=true"]].concat();
    stage.cluster.helm(&owned).await?;
    stage
        .cluster
        .helm(&["uninstall", OTHER, "--namespace", NAMESPACE])
        .await?;
    sleep(Duration::from_secs(3)).await;
    stage.cluster.helm(&upgrade).await?;
    kubectl(&["get", "ingressclass", "alb"]).await?;
    stage.settle().await?;
    ensure!(writes(stage).is_empty(), "the other release's end: {:?}", stage.told());
    ensure!(
        tended(stage).await? == before,
        "the other release's end changed objects"
    );
    Ok(())
}

/// albacore ends, hands its Lease over, and is uninstalled: helm alone takes its rights away with the pods.
async fn leave(stage: &Stage) -> Result<()> {
    let arguments = ["scale", "deployment", "albacore", "-n", NAMESPACE, "--replicas=0"];
    stage.cluster.kubectl(&arguments).await?;
    let leases: Api<Lease> = Api::namespaced(stage.cluster.client(), NAMESPACE);
    let free = async || {
        let holder = leases.get(LEASE).await?.spec.and_then(|spec| spec.holder_identity);
        Ok(holder.unwrap_or_default().is_empty().then_some(()))
    };
    let handed_over = stage
        .cluster
        .wait_for("albacore to hand its Lease over", PATIENCE, free);
    handed_over.await?;
    let arguments = ["uninstall", "albacore", "--namespace", NAMESPACE, "--wait"];
    stage.cluster.helm(&arguments).await.map(drop)
}

/// A chart with a class, installed under the other controller's name.
async fn other_release(stage: &Stage) -> Result<()> {
    let chart = Path::new(albacore_cluster::STATE).join("other");
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(
        chart.join("Chart.yaml"),
        format!("apiVersion: v2\nname: {OTHER}\nversion: 0.1.0\n"),
    )?;
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: alb\nspec:\n  controller: ingress.k8s.aws/alb\n";
    std::fs::write(chart.join("templates/class.yaml"), class)?;
    let arguments = ["install", OTHER, &chart.to_string_lossy(), "--namespace", NAMESPACE];
    stage.cluster.helm(&arguments).await.map(drop)
}

/// `albacore migrate check`, as somebody runs it who has a kubeconfig: exit code and words.
async fn check(stage: &Stage) -> Result<(Option<i32>, String)> {
    let url = format!("http://{AWS}");
    let output = Command::new(std::env::current_exe()?.with_file_name("albacore"))
        .args(["migrate", "check"])
        .arg(format!("--cluster-name={}", world::CLUSTER))
        .arg(format!("--kubeconfig={}", stage.cluster.kubeconfig().display()))
        .arg(format!(
            "--aws-api-endpoints=Elastic Load Balancing v2={url},EC2={url},ACM={url}"
        ))
        .output()
        .await?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

/// Everything about Ingresses and bindings that either controller writes.
async fn tended(stage: &Stage) -> Result<String> {
    let parts = "{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name} {.metadata.uid} {.metadata.finalizers} \
        {.metadata.labels} {.metadata.annotations} {.spec} {.status}{end}";
    let path = format!("jsonpath={parts}");
    stage
        .cluster
        .kubectl(&["get", "ingress,targetgroupbindings", "--all-namespaces", "-o", &path])
        .await
}

/// The calls since the last look that changed something.
fn writes(stage: &Stage) -> Vec<String> {
    let journal = stage.double.journal();
    let writes = journal.iter().filter(|call| !call.read);
    writes.map(|call| call.operation.clone()).collect()
}

/// Holds the Lease as a process of the other controller does.
struct OtherLeader(JoinHandle<Result<()>>);

impl OtherLeader {
    async fn begin(stage: &Stage) -> Result<Self> {
        let leases: Api<Lease> = Api::namespaced(stage.cluster.client(), NAMESPACE);
        hold(&leases).await?;
        Ok(Self(tokio::spawn(async move {
            loop {
                sleep(Duration::from_secs(2)).await;
                let holder = leases.get(LEASE).await?.spec.and_then(|spec| spec.holder_identity);
                ensure!(holder == Some(format!("{OTHER}-0")), "{holder:?} holds the Lease");
                hold(&leases).await?;
            }
        })))
    }

    /// Ends as a process does that does not hand its Lease over.
    async fn end(self) -> Result<()> {
        self.0.abort();
        match self.0.await {
            Ok(lost) => lost.context("the Lease was not held all the time"),
            Err(_) => Ok(()),
        }
    }
}

async fn hold(leases: &Api<Lease>) -> Result<()> {
    let spec = serde_json::json!({
        "holderIdentity": format!("{OTHER}-0"),
        "leaseDurationSeconds": LEASE_DURATION.as_secs(),
        "renewTime": MicroTime(jiff::Timestamp::now()),
    });
    let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
    let held = leases.patch(LEASE, &PatchParams::default(), &patch).await;
    held.map(drop).context("the Lease")
}
