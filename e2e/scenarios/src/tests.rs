//! What must hold, end to end; all on one stage, one after another.

use crate::{
    admission::a_rotation_of_the_webhooks_certificate_fails_no_admission,
    demo::restart,
    identity::{
        an_ingress_becomes_a_load_balancer_with_a_pod_identity_association,
        an_ingress_becomes_a_load_balancer_with_the_role_of_the_service_account,
    },
    masses::{many_groups_survive_a_kill_and_leave_nothing, masses_of_nodes_and_pods_become_targets_and_go},
    migrate::a_release_of_another_controller_hands_over_and_takes_back,
    rollout::no_request_fails_while_pods_are_rolled_and_without_gates_some_do,
    stage::{NAMESPACE, PATIENCE, Stage},
};
use albacore_simulation::{
    conformance,
    rights::{Right, granted, right},
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Runs every test, or those whose names contain one of `only`, with so many groups where there are many; says how each
/// went, and whether all passed.
///
/// # Errors
/// The stage does not start.
pub async fn run(project: &Path, only: &[String], groups: usize) -> Result<bool> {
    let stage = Stage::start(|what| println!("{what}")).await?;
    let (mut passed, mut failed) = (0, 0);
    macro_rules! test {
        ($name:ident) => {
            test!($name, project)
        };
        ($name:ident, $with:expr) => {
            if only.is_empty() || only.iter().any(|part| stringify!($name).contains(part)) {
                let began = Instant::now();
                match $name(&stage, $with).await {
                    Ok(()) => {
                        passed += 1;
                        println!("test {} ... ok ({:.0?})", stringify!($name), began.elapsed());
                    }
                    Err(error) => {
                        failed += 1;
                        println!("test {} ... FAILED: {error:#}", stringify!($name));
                        stage.show_logs().await;
                    }
                }
            }
        };
    }
    test!(the_real_api_server_does_what_the_simulated_one_does);
    test!(helm_installs_two_replicas_one_of_which_leads);
    test!(ingresses_serve_http_and_https_by_name);
    test!(a_rotation_of_the_webhooks_certificate_fails_no_admission);
    test!(an_unrelated_edit_a_leader_change_and_a_restart_cost_no_call);
    test!(a_last_path_costs_one_call_right_after_a_restart);
    test!(no_request_fails_while_paths_hosts_and_ports_change);
    test!(no_request_fails_while_the_scheme_changes);
    test!(a_typo_is_answered_with_what_to_write_and_harms_nobody_else);
    test!(a_leader_hands_over_within_ten_seconds);
    test!(no_request_fails_while_pods_are_rolled_and_without_gates_some_do);
    test!(what_is_deleted_leaves_nothing_behind);
    test!(masses_of_nodes_and_pods_become_targets_and_go);
    test!(many_groups_survive_a_kill_and_leave_nothing, groups);
    test!(an_ingress_becomes_a_load_balancer_with_the_role_of_the_service_account);
    test!(an_ingress_becomes_a_load_balancer_with_a_pod_identity_association);
    test!(a_release_of_another_controller_hands_over_and_takes_back);
    test!(the_chart_grants_what_was_asked_for_and_no_more);
    stage.cluster.stop().await;
    println!(
        "test result: {}. {passed} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" }
    );
    ensure!(passed + failed > 0, "no test is named {only:?}");
    Ok(failed == 0)
}

/// Before albacore is there, which would have its own say in an Ingress.
async fn the_real_api_server_does_what_the_simulated_one_does(stage: &Stage, _: &Path) -> Result<()> {
    let namespace = "conformance";
    stage.cluster.kubectl(&["create", "namespace", namespace]).await?;
    let forget = async |revision: &str| {
        let forgotten = stage.cluster.forget(revision).await;
        forgotten.map_err(|error| conformance::Broken(format!("{error:#}")))
    };
    let held = conformance::check_all(stage.cluster.client(), namespace, forget).await;
    // Without waiting when a fact does not hold: what it left may have finalizers.
    let wait = format!("--wait={}", held.is_ok());
    let removed = stage
        .cluster
        .kubectl(&["delete", "namespace", namespace, &wait, "--timeout=60s"])
        .await;
    held?;
    removed.map(drop)
}

async fn helm_installs_two_replicas_one_of_which_leads(stage: &Stage, project: &Path) -> Result<()> {
    stage.install(&project.join("chart")).await?;
    ensure!(stage.pods().await?.len() == 2, "{:?}", stage.pods().await?);
    stage.leader().await.map(drop)
}

async fn ingresses_serve_http_and_https_by_name(stage: &Stage, project: &Path) -> Result<()> {
    stage.apply_folder(&project.join("e2e/demo")).await?;
    let shop = stage.hostname("shop", "shop").await?;
    let inside = stage.hostname("blog", "pages").await?;
    stage.settle().await?;
    ensure!(
        stage.hostname("shop", "api").await? == inside,
        "a group shares one load balancer"
    );
    for (load_balancer, url, status, says) in [
        (
            &shop,
            "http://shop.example.com/a",
            301,
            "https://shop.example.com:443/a",
        ),
        (&shop, "https://shop.example.com/", 200, "pod: storefront-"),
        (&shop, "https://shop.example.com/checkout/1", 200, "pod: checkout-"),
        (&shop, "https://www.shop.example.com/x", 200, "pod: storefront-"),
        (&shop, "https://other.example.com/", 404, ""),
        (&inside, "http://api.inside.example.com/checkout", 200, "pod: checkout-"),
        (&inside, "http://api.inside.example.com/other", 404, ""),
        (&inside, "http://blog.inside.example.com/", 200, "pod: pages-"),
    ] {
        let answer = stage.client.get(load_balancer, url).await?;
        let said = answer.location.clone().unwrap_or(answer.body.clone());
        ensure!(answer.status == status && said.contains(says), "{url}: {answer:?}");
    }
    Ok(())
}

async fn an_unrelated_edit_a_leader_change_and_a_restart_cost_no_call(stage: &Stage, _: &Path) -> Result<()> {
    stage.settle().await?;
    stage.take_calls();
    stage
        .cluster
        .kubectl(&["label", "ingress", "-n", "shop", "shop", "team=web"])
        .await?;
    stage.settle().await?;
    ensure!(stage.told().is_empty(), "an edit: {:?}", stage.told());
    let leader = stage.leader().await?;
    stage
        .cluster
        .kubectl(&["delete", "pod", "-n", NAMESPACE, &leader, "--wait=false"])
        .await?;
    another_leader(stage, &leader).await?;
    stage.settle().await?;
    ensure!(stage.told().is_empty(), "a leader change: {:?}", stage.told());
    restart(stage).await?;
    stage.settle().await?;
    ensure!(stage.told().is_empty(), "a restart: {:?}", stage.told());
    ensure!(
        stage.credential_requests().await? > 0,
        "credentials came from somewhere"
    );
    Ok(())
}

async fn a_last_path_costs_one_call_right_after_a_restart(stage: &Stage, _: &Path) -> Result<()> {
    restart(stage).await?;
    stage.take_calls();
    let path = r#"[{"op": "add", "path": "/spec/rules/0/http/paths/-",
        "value": {"path": "/last", "pathType": "Exact", "backend": {"service": {"name": "checkout", "port": {"number": 80}}}}}]"#;
    stage
        .cluster
        .kubectl(&["patch", "ingress", "-n", "shop", "api", "--type=json", "-p", path])
        .await?;
    let inside = stage.hostname("shop", "api").await?;
    let ask = async || {
        let answer = stage.client.get(&inside, "http://api.inside.example.com/last").await?;
        Ok((answer.status == 200).then_some(()))
    };
    stage.cluster.wait_for("the path to be served", PATIENCE, ask).await?;
    stage.settle().await?;
    ensure!(stage.told().len() == 1, "{:#?}", stage.told());
    Ok(())
}

/// Asks for a page over and over, by the address that an Ingress' status has at the moment.
struct Visitor {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Result<u64>>,
}

impl Visitor {
    fn of(stage: &Stage, namespace: &'static str, ingress: &'static str, url: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let client = stage.client.clone();
        let api: kube::Api<k8s_openapi::api::networking::v1::Ingress> =
            kube::Api::namespaced(stage.cluster.client(), namespace);
        let asking = tokio::spawn(async move {
            let mut asked = 0;
            while !stopped.load(Ordering::Relaxed) {
                let ingress = api.get(ingress).await?;
                let status = ingress
                    .status
                    .and_then(|status| status.load_balancer?.ingress?.into_iter().next());
                let name = status
                    .and_then(|at| at.hostname)
                    .context("the Ingress lost its address")?;
                let answer = client.get(&name, url).await?;
                if answer.status != 200 {
                    bail!(
                        "request {asked}, {url} by way of {name}: {} {}",
                        answer.status,
                        answer.body
                    );
                }
                asked += 1;
                sleep(Duration::from_millis(20)).await;
            }
            Ok(asked)
        });
        Self { stop, asking }
    }

    /// Every request was answered.
    async fn leave(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let asked = self.asking.await??;
        ensure!(asked > 50, "only {asked} requests");
        Ok(())
    }
}

async fn no_request_fails_while_paths_hosts_and_ports_change(stage: &Stage, _: &Path) -> Result<()> {
    let visitor = Visitor::of(stage, "shop", "shop", "https://shop.example.com/");
    let patch = async |patch: &str| {
        stage
            .cluster
            .kubectl(&["patch", "ingress", "-n", "shop", "shop", "--type=json", "-p", patch])
            .await?;
        stage.settle().await
    };
    // A path in front of all others.
    patch(
        r#"[{"op": "add", "path": "/spec/rules/0/http/paths/0",
        "value": {"path": "/first", "pathType": "Exact", "backend": {"service": {"name": "checkout", "port": {"number": 80}}}}}]"#,
    )
    .await?;
    // Another host becomes another one.
    patch(r#"[{"op": "replace", "path": "/spec/rules/1/host", "value": "web.shop.example.com"}]"#).await?;
    // The visitor's own target group is replaced: other targets, other type.
    for service in ["storefront", "checkout"] {
        let node_port = r#"{"spec": {"type": "NodePort"}}"#;
        stage
            .cluster
            .kubectl(&["patch", "service", "-n", "shop", service, "-p", node_port])
            .await?;
    }
    stage
        .cluster
        .kubectl(&[
            "annotate",
            "--overwrite",
            "ingress",
            "-n",
            "shop",
            "shop",
            "alb.ingress.kubernetes.io/target-type=instance",
        ])
        .await?;
    stage.settle().await?;
    // And its Service's port is another one.
    let service = async |patch: &str| {
        let arguments = [
            "patch",
            "service",
            "-n",
            "shop",
            "storefront",
            "--type=json",
            "-p",
            patch,
        ];
        stage.cluster.kubectl(&arguments).await
    };
    let port = async |number: &str| {
        let path = r#""/spec/rules/0/http/paths/2/backend/service/port/number""#;
        patch(&format!(r#"[{{"op": "replace", "path": {path}, "value": {number}}}]"#)).await
    };
    service(r#"[{"op": "add", "path": "/spec/ports/-", "value": {"name": "more", "port": 81, "targetPort": 8080}}]"#)
        .await?;
    port("81").await?;
    // The port that the Ingress names vanishes from the Service some time before the Ingress names the new one.
    service(r#"[{"op": "replace", "path": "/spec/ports/1/port", "value": 82}]"#).await?;
    stage.settle().await?;
    port("82").await?;
    sleep(Duration::from_secs(5)).await;
    visitor.leave().await
}

async fn no_request_fails_while_the_scheme_changes(stage: &Stage, _: &Path) -> Result<()> {
    let before = stage.hostname("shop", "shop").await?;
    let visitor = Visitor::of(stage, "shop", "shop", "https://shop.example.com/");
    stage
        .cluster
        .kubectl(&[
            "annotate",
            "--overwrite",
            "ingress",
            "-n",
            "shop",
            "shop",
            "alb.ingress.kubernetes.io/scheme=internal",
        ])
        .await?;
    let moved = async || Ok(Some(stage.hostname("shop", "shop").await?).filter(|now| *now != before));
    let after = stage
        .cluster
        .wait_for("the Ingress to move", PATIENCE * 2, moved)
        .await?;
    ensure!(after.starts_with("internal-"), "{after}");
    sleep(Duration::from_secs(5)).await;
    visitor.leave().await?;
    // Whoever has looked up the old name a moment ago is served still.
    let answer = stage.client.get(&before, "https://shop.example.com/").await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

async fn a_typo_is_answered_with_what_to_write_and_harms_nobody_else(stage: &Stage, _: &Path) -> Result<()> {
    stage.settle().await?;
    stage.take_calls();
    stage
        .cluster
        .kubectl(&[
            "annotate",
            "ingress",
            "-n",
            "shop",
            "api",
            "alb.ingress.kubernetes.io/scheme=public",
        ])
        .await?;
    let told = async || {
        let arguments = [
            "get",
            "events",
            "-n",
            "shop",
            "--field-selector=involvedObject.name=api",
            "-o",
            "jsonpath={.items[*].message}",
        ];
        let events = stage.cluster.kubectl(&arguments).await?;
        let all = [
            "shop/api",
            "alb.ingress.kubernetes.io/scheme",
            "public",
            "internet-facing",
        ];
        Ok(all.iter().all(|part| events.contains(part)).then_some(()))
    };
    stage
        .cluster
        .wait_for("an Event that says what to write", PATIENCE, told)
        .await?;
    let shown = stage
        .cluster
        .kubectl(&["get", "loadbalancers", "-o", "jsonpath={.items[*].status.problems}"])
        .await?;
    ensure!(shown.contains("public"), "{shown}");
    let inside = stage.hostname("blog", "pages").await?;
    for url in [
        "http://api.inside.example.com/checkout",
        "http://blog.inside.example.com/",
    ] {
        let answer = stage.client.get(&inside, url).await?;
        ensure!(answer.status == 200, "{url}: {answer:?}");
    }
    ensure!(stage.told().is_empty(), "{:?}", stage.told());
    stage
        .cluster
        .kubectl(&[
            "annotate",
            "ingress",
            "-n",
            "shop",
            "api",
            "alb.ingress.kubernetes.io/scheme-",
        ])
        .await
        .map(drop)
}

async fn a_leader_hands_over_within_ten_seconds(stage: &Stage, _: &Path) -> Result<()> {
    let leader = stage.leader().await?;
    let began = Instant::now();
    stage
        .cluster
        .kubectl(&["delete", "pod", "-n", NAMESPACE, &leader, "--wait=false"])
        .await?;
    another_leader(stage, &leader).await?;
    ensure!(
        began.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        began.elapsed()
    );
    Ok(())
}

async fn another_leader(stage: &Stage, than: &str) -> Result<()> {
    let another = async || Ok(stage.leader().await.ok().filter(|now| now != than).map(drop));
    stage.cluster.wait_for("another leader", PATIENCE, another).await
}

async fn what_is_deleted_leaves_nothing_behind(stage: &Stage, _: &Path) -> Result<()> {
    stage
        .cluster
        .kubectl(&["delete", "ingress", "-n", "shop", "--all", "--timeout=90s"])
        .await?;
    stage
        .cluster
        .kubectl(&["delete", "namespace", "blog", "--timeout=90s"])
        .await?;
    stage.nothing_is_left(PATIENCE).await
}

/// The last one: it looks at all that was asked of the API server until then.
async fn the_chart_grants_what_was_asked_for_and_no_more(stage: &Stage, _: &Path) -> Result<()> {
    let label = "app.kubernetes.io/instance=albacore";
    let roles = ["get", "clusterroles,roles", "-A", "-l", label, "-o", "json"];
    let roles: Value = serde_json::from_str(&stage.cluster.kubectl(&roles).await?)?;
    let granted = granted(roles["items"].as_array().context("roles")?);
    let account = format!("system:serviceaccount:{NAMESPACE}:albacore");
    let mut asked: BTreeSet<Right> = BTreeSet::new();
    for line in std::fs::read_to_string(stage.cluster.audit_log())?.lines() {
        let event: Value = serde_json::from_str(line)?;
        if event["user"]["username"] != *account {
            continue;
        }
        let status = &event["responseStatus"];
        // Priority and fairness turns away who asks too much before permissions are looked at:
        // https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
        if status["code"] == 429 {
            continue;
        }
        // Nothing new comes into a namespace that goes, whatever its maker may do elsewhere:
        // https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#namespacelifecycle
        let causes = status["details"]["causes"].as_array();
        let is_going =
            causes.is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "NamespaceTerminating"));
        let decision = &event["annotations"]["authorization.k8s.io/decision"];
        ensure!(
            decision == "allow" && (status["code"] != 403 || is_going),
            "refused: {line}"
        );
        let object = &event["objectRef"];
        let part = |name: &str| object[name].as_str().unwrap_or_default();
        if object.is_object() {
            let verb = event["verb"].as_str().unwrap_or_default();
            asked.insert(right(part("apiGroup"), part("resource"), part("subresource"), verb));
        }
    }
    let idle: Vec<&Right> = granted.difference(&asked).collect();
    ensure!(idle.is_empty(), "granted and never asked for: {idle:?}");
    ensure!(granted.len() > 30, "{granted:?}");
    Ok(())
}
