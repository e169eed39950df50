//! The cluster's own facts, all on one cluster, each in a Kubernetes namespace of its own. `cargo test --test cluster WORD` picks some.

mod inside;
mod lives;
mod place;
mod traffic;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::process::ExitCode;

use albacore_cluster::{Cluster, Image, NodeSpec, Options};
use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ipnet::Ipv4Net;
use serde_json::json;

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
    let whole = Cluster::start(options).await?;
    let cluster = &whole;
    let word = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with('-'))
        .unwrap_or_default();
    let facts: Vec<(&str, Fact)> = vec![
        (
            "pods_are_seen_and_see_others_with_their_true_addresses",
            Box::pin(traffic::true_addresses(cluster)),
        ),
        (
            "a_pod_that_fails_its_readiness_probe_leaves_its_service_and_comes_back",
            Box::pin(traffic::readiness(cluster)),
        ),
        (
            "a_container_that_exits_or_fails_its_liveness_probe_is_started_again",
            Box::pin(lives::restarts(cluster)),
        ),
        (
            "a_request_under_way_is_answered_before_its_pod_ends",
            Box::pin(traffic::graceful_end(cluster)),
        ),
        (
            "a_pods_token_may_do_what_its_service_account_may_and_no_more",
            Box::pin(inside::token(cluster)),
        ),
        (
            "environment_and_volumes_are_where_the_pod_asked_for_them",
            Box::pin(inside::surroundings(cluster)),
        ),
        (
            "a_config_map_changes_inside_a_running_pod",
            Box::pin(inside::refreshed(cluster)),
        ),
        (
            "containers_of_a_pod_share_its_address",
            Box::pin(traffic::neighbours(cluster)),
        ),
        (
            "init_containers_run_before_and_a_failed_one_holds_the_pod_back",
            Box::pin(lives::init(cluster)),
        ),
        (
            "a_readiness_gate_keeps_a_pod_from_being_ready",
            Box::pin(lives::gate(cluster)),
        ),
        (
            "a_node_port_leads_from_every_node_to_a_ready_pod",
            Box::pin(traffic::node_port(cluster)),
        ),
        (
            "a_fake_nodes_pods_have_addresses_of_its_range",
            Box::pin(lives::fake_pods(cluster)),
        ),
        ("what_cannot_be_run_says_why", Box::pin(lives::refused(cluster))),
        (
            "a_pod_reaches_the_metadata_address_with_its_own",
            Box::pin(traffic::metadata(cluster)),
        ),
        ("kubectl_shows_and_follows_logs", Box::pin(inside::logs(cluster))),
        ("helm_installs_a_chart", Box::pin(lives::helm(cluster))),
    ];
    let all = facts.len() + 1;
    let mut running: FuturesUnordered<_> = facts
        .into_iter()
        .filter(|(name, _)| name.contains(&word))
        .map(|(name, fact)| async move { (name, fact.await) })
        .collect();
    let (mut passed, mut failed) = (0, 0);
    let mut note = |name: &str, outcome: Result<()>| match outcome {
        Ok(()) => {
            passed += 1;
            println!("test {name} ... ok");
        }
        Err(error) => {
            failed += 1;
            println!("test {name} ... FAILED\n{error:#}");
        }
    };
    while let Some((name, outcome)) = running.next().await {
        note(name, outcome);
    }
    drop(running);
    let name = "after_a_stop_no_process_is_left_and_another_cluster_can_start";
    if name.contains(&word) {
        note(name, lives::stopped(whole).await);
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out",
        all - passed - failed
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
