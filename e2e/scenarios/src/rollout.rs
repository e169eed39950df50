//! Rollouts as a visitor sees them.

use crate::{
    admission::LABELS,
    stage::{NAMESPACE, PATIENCE, Stage},
};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep},
};

const PODS: usize = 20;
/// Fifty requests a second.
const PACE: Duration = Duration::from_millis(20);

/// A Deployment behind a load balancer of its own.
fn manifests() -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: rolling}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: rolling}}
spec:
  replicas: {PODS}
  strategy: {{rollingUpdate: {{maxSurge: 10, maxUnavailable: 0}}}}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: albacore-demo-http
        readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: rolling}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: rolling
  annotations:
    alb.ingress.kubernetes.io/target-type: ip
    alb.ingress.kubernetes.io/healthcheck-path: /healthz
    alb.ingress.kubernetes.io/healthcheck-interval-seconds: '5'
    alb.ingress.kubernetes.io/healthcheck-timeout-seconds: '2'
spec:
  ingressClassName: alb
  rules:
  - http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"
    )
}

/// Requests at a steady pace, whatever becomes of those before.
struct Traffic {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<(usize, Vec<String>)>,
}

impl Traffic {
    fn start(stage: &Stage, load_balancer: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, client) = (Arc::clone(&stop), stage.client.clone());
        let load_balancer = load_balancer.to_owned();
        let asking = tokio::spawn(async move {
            let mut ticks = interval(PACE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut asked, mut failed, mut open) = (0, Vec::new(), JoinSet::new());
            while !stopped.load(Ordering::Relaxed) || !open.is_empty() {
                if stopped.load(Ordering::Relaxed) {
                    failed.extend(open.join_next().await.and_then(Result::ok).flatten());
                    continue;
                }
                ticks.tick().await;
                let (client, load_balancer) = (client.clone(), load_balancer.clone());
                open.spawn(async move {
                    match client.get(&load_balancer, "http://rolling.example.com/").await {
                        Ok(answer) if answer.status == 200 => None,
                        Ok(answer) => Some(format!("{} {}", answer.status, answer.body)),
                        Err(error) => Some(format!("{error:#}")),
                    }
                });
                asked += 1;
                while let Some(done) = open.try_join_next() {
                    failed.extend(done.ok().flatten());
                }
            }
            (asked, failed)
        });
        Self { stop, asking }
    }

    /// How many requests there were, and what became of those that were not served.
    async fn stop(self) -> Result<(usize, Vec<String>)> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.asking.await?)
    }
}

/// Replaces all pods; ends when they are.
async fn roll(stage: &Stage) -> Result<()> {
    let deployment = ["-n", "rolling", "deployment/web"];
    let restart = ["rollout", "restart"].iter().chain(&deployment).copied();
    stage.cluster.kubectl(&restart.collect::<Vec<_>>()).await?;
    let status = ["rollout", "status", "--timeout=240s"]
        .iter()
        .chain(&deployment)
        .copied();
    stage.cluster.kubectl(&status.collect::<Vec<_>>()).await.map(drop)
}

pub async fn no_request_fails_while_pods_are_rolled_and_without_gates_some_do(
    stage: &Stage,
    project: &Path,
) -> Result<()> {
    stage.apply(&manifests()).await?;
    let load_balancer = stage.hostname("rolling", "web").await?;
    let serves = async || {
        let answer = stage.client.get(&load_balancer, "http://rolling.example.com/").await;
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    };
    stage
        .cluster
        .wait_for("the Deployment to serve", PATIENCE * 2, serves)
        .await?;

    // Without gates and hooks: pods go while the load balancer still sends them requests.
    let traffic = Traffic::start(stage, &load_balancer);
    roll(stage).await?;
    sleep(Duration::from_secs(5)).await;
    let (asked, failed) = traffic.stop().await?;
    println!("  without gates: {} of {asked} requests failed", failed.len());
    ensure!(
        !failed.is_empty(),
        "none of {asked} requests failed, so nothing can be seen here"
    );

    for label in LABELS {
        let label = format!("{label}=enabled");
        stage
            .cluster
            .kubectl(&["label", "namespace", "rolling", &label])
            .await?;
    }
    roll(stage).await?;
    // Those that came without hooks are gone by now.
    sleep(Duration::from_secs(10)).await;
    let traffic = Traffic::start(stage, &load_balancer);
    roll(stage).await?;
    let (rolled, killed) = tokio::join!(roll(stage), async {
        sleep(Duration::from_secs(5)).await;
        let leader = stage.leader().await?;
        let kill = ["delete", "pod", "-n", NAMESPACE, &leader, "--grace-period=0", "--force"];
        stage.cluster.kubectl(&kill).await
    });
    rolled.context("while the leader is killed")?;
    killed?;
    let (rolled, upgraded) = tokio::join!(roll(stage), async {
        sleep(Duration::from_secs(5)).await;
        let other = json!({ "podAnnotations": { "example.com/rolled": "yes" } });
        stage.upgrade(&project.join("chart"), &other).await
    });
    rolled.context("while the release is upgraded")?;
    upgraded?;
    // The last ones end.
    sleep(Duration::from_secs(40)).await;
    let (asked, failed) = traffic.stop().await?;
    println!(
        "  with gates, three rollouts, a killed leader, an upgrade: {} of {asked} requests failed",
        failed.len()
    );
    ensure!(
        failed.is_empty() && asked > 1000,
        "of {asked} requests: {:?}",
        &failed[..failed.len().min(5)]
    );
    stage.upgrade(&project.join("chart"), &serde_json::Value::Null).await?;
    let delete = ["delete", "namespace", "rolling", "--timeout=120s"];
    stage.cluster.kubectl(&delete).await.map(drop)
}
