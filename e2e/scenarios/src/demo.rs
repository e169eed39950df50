//! `make demo`: an Ingress becomes a load balancer, before your eyes.

use crate::stage::{NAMESPACE, PATIENCE, Stage};
use albacore_aws::call::Service;
use anyhow::{Result, ensure};
use std::{collections::BTreeMap, path::Path};

fn heading(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m");
}

/// Plays the demo; with `keep` it then waits for Ctrl-C.
///
/// # Errors
/// What did not happen.
pub async fn run(project: &Path, keep: bool) -> Result<()> {
    heading("Setting up");
    let stage = Stage::start(|what| println!("  {what}")).await?;
    let played = play(&stage, project, keep).await;
    if played.is_err() {
        stage.show_logs().await;
    }
    stage.cluster.stop().await;
    played
}

async fn play(stage: &Stage, project: &Path, keep: bool) -> Result<()> {
    println!("  helm install albacore chart/, two replicas");
    stage.install(&project.join("chart")).await?;
    stage.take_calls();
    println!("  kubectl apply -f e2e/demo/");
    stage.apply_folder(&project.join("e2e/demo")).await?;
    let shop = stage.hostname("shop", "shop").await?;
    let inside = stage.hostname("blog", "pages").await?;
    println!("  waiting for targets to be healthy");
    stage.settle().await?;

    heading("What was made");
    show(stage);
    println!("\n$ kubectl get loadbalancers");
    print!("{}", stage.cluster.kubectl(&["get", "loadbalancers"]).await?);

    heading("Requests, by name");
    for (load_balancer, url) in [
        (&shop, "http://shop.example.com/"),
        (&shop, "https://shop.example.com/"),
        (&shop, "https://shop.example.com/checkout/cart"),
        (&shop, "https://www.shop.example.com/"),
        (&shop, "https://other.example.com/"),
        (&inside, "http://api.inside.example.com/checkout"),
        (&inside, "http://blog.inside.example.com/"),
    ] {
        let answer = stage.client.get(load_balancer, url).await?;
        let said = answer
            .location
            .or_else(|| answer.body.lines().next().map(ToOwned::to_owned))
            .unwrap_or_default();
        println!("  {url:<44} {} {said}", answer.status);
    }

    heading("AWS calls to make all that");
    count(&stage.take_calls());
    stage
        .cluster
        .kubectl(&["annotate", "ingress", "-n", "shop", "shop", "example.com/note=hello"])
        .await?;
    stage.settle().await?;
    let edit = stage.take_calls();
    println!(
        "\n  an unrelated edit of an Ingress: {} calls",
        edit.values().sum::<usize>()
    );
    restart(stage).await?;
    stage.settle().await?;
    let restarted = stage.take_calls();
    println!(
        "  a restart of the controller:     {} calls, and {} requests for instance metadata and credentials",
        restarted.values().sum::<usize>(),
        stage.credential_requests().await?
    );
    ensure!(
        edit.is_empty() && restarted.is_empty(),
        "that should have been 0: {edit:?} {restarted:?}"
    );

    if keep {
        heading("It goes on until Ctrl-C. From another shell of this machine:");
        let door = stage.cluster.entrance();
        println!("  {door}                       a shell with kubectl and helm");
        println!("  {door} kubectl get ingress -A");
        println!("  {door} curl -s -H 'Host: blog.inside.example.com' http://{inside}/");
        println!("  {door} curl -sk --connect-to ::{shop} https://shop.example.com/");
        println!(
            "  {door} chromium --no-sandbox --ignore-certificate-errors --host-resolver-rules='MAP shop.example.com {shop}' \
             https://shop.example.com/"
        );
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

/// Restarts every replica and waits until they are back.
///
/// # Errors
/// They do not come back.
pub async fn restart(stage: &Stage) -> Result<()> {
    let before = stage.leader().await?;
    let deployment = "deployment/albacore";
    stage
        .cluster
        .kubectl(&["rollout", "restart", "-n", NAMESPACE, deployment])
        .await?;
    stage
        .cluster
        .kubectl(&["rollout", "status", "-n", NAMESPACE, deployment, "--timeout=90s"])
        .await?;
    let another = async || Ok(stage.leader().await.ok().filter(|now| *now != before).map(drop));
    stage.cluster.wait_for("a new leader", PATIENCE, another).await
}

fn count(calls: &BTreeMap<(Service, String), usize>) {
    for ((service, operation), times) in calls {
        println!("  {times:>3}  {service:?} {operation}");
    }
    println!("  {:>3}  together", calls.values().sum::<usize>());
}

/// Load balancers, listeners, rules and targets.
fn show(stage: &Stage) {
    let world = stage.double.world();
    let now = stage.double.now();
    for region in world.regions.values() {
        let elb = &region.elbv2;
        let name_of = |arn: &str| {
            elb.target_groups
                .get(arn)
                .map_or(arn.to_owned(), |group| group.name.clone())
        };
        for lb in elb.load_balancers.values() {
            println!("\n  {} ({})\n  {}", lb.name, lb.scheme, lb.dns_name);
            for listener in elb
                .listeners
                .values()
                .filter(|listener| listener.load_balancer == lb.arn)
            {
                println!("    {} {}", listener.protocol, listener.port);
                let mut rules: Vec<_> = elb
                    .rules
                    .values()
                    .filter(|rule| rule.listener == listener.arn)
                    .collect();
                rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
                for rule in rules {
                    let values = |values: &Option<Vec<String>>| values.clone().unwrap_or_default().join(" ");
                    let conditions: Vec<String> = rule
                        .conditions
                        .iter()
                        .map(|condition| values(&condition.values))
                        .collect();
                    let does = |action: &albacore_aws::elbv2::state::Action| {
                        let groups = action.forward_config.iter().flat_map(|forward| &forward.target_groups);
                        let groups: Vec<String> = groups.map(|group| name_of(&group.target_group_arn)).collect();
                        format!("{} {}", action.kind, groups.join(", "))
                    };
                    let actions: Vec<String> = rule.actions.iter().map(does).collect();
                    let place = rule.priority.map_or("else".to_owned(), |priority| priority.to_string());
                    println!("      {place:>4}  {:<44} {}", conditions.join(" "), actions.join(", "));
                }
            }
        }
        println!();
        for group in elb.target_groups.values() {
            let state = |key| region.target_health(&world.options, group, key, now).state;
            let targets = group
                .targets
                .keys()
                .map(|key| format!("{}:{} {}", key.id, key.port, state(key)));
            println!(
                "    {} ({}): {}",
                group.name,
                group.target_type,
                targets.collect::<Vec<_>>().join(", ")
            );
        }
    }
}
