//! Wiring: what is started, in which order, and how it stops.
//!
//! ```text
//! configuration ─► region and VPC ─► AWS, Kubernetes, health and metrics
//!                                       ├─► lease ─► leadership ┐
//!                                       └─► watches ────────────┴─► controller ─► facts ─► webhook
//! SIGTERM ─► nothing new is sent ─► calls under way end ─► the lease is handed over ─► exit
//!         └► the webhook answers on until nobody asks here any more ─────────────────────┘
//! ```

use crate::{
    aws::{self, Aws},
    budget::{Budget, BudgetConfig},
    config::Config,
    facts::Facts,
    k8s::{self, Contender, Leadership, LeaseConfig, watch},
    reconcile::{self, Parts},
    report::preview::Preview,
    telemetry::{self, Clock, Metrics},
    webhook,
};
use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch as flag,
    task::JoinSet,
};

/// Runs the controller until it is told to stop, or has lost its lease.
///
/// # Errors
/// What cannot be started, and what to do about it.
pub async fn run(config: Config) -> Result<()> {
    if !config.ignored.is_empty() {
        tracing::info!(
            flags = config.ignored.join(" "),
            "these flags of the AWS Load Balancer Controller do nothing here"
        );
    }
    let metrics = Metrics::default();
    let mut servers = telemetry::serve(&config, &metrics).await?;

    let budget = Budget::new(BudgetConfig {
        overrides: config.budget.clone(),
        ..BudgetConfig::default()
    });
    metrics.watch(budget.clone());
    let place = aws::discover(&config.aws, &budget).await?;
    let aws = Aws::connect(&config.aws, &place, budget, Clock::system()).await?;
    let cache = aws.clone();
    metrics.watch_cache(move || cache.cache());

    let clients = k8s::connect(config.kubeconfig.as_deref()).await?;
    let (stop, stopped) = flag::channel(false);
    let (drain, drained) = flag::channel(false);
    let mut background = JoinSet::new();
    let leadership = match &config.lease {
        None => Leadership::alone(),
        Some(lease) => {
            let names = LeaseConfig::new(&lease.namespace, &lease.name, &config.instance);
            let (contender, leadership) = Contender::new(clients.unretried, names);
            background.spawn(contender.run(raised(stopped.clone()), raised(drained)));
            leadership
        }
    };

    let mut watches = JoinSet::new();
    let seen = watch::start(&clients.ordinary, config.watch_namespace.as_deref(), &mut watches);
    let settings = config.settings(place.vpc.clone());
    let facts = Facts::new(settings.clone());
    let mut admission = JoinSet::new();
    if let Some(webhook) = config.webhook.clone() {
        let parts = webhook::Parts {
            config: webhook,
            client: clients.ordinary.clone(),
            facts: facts.clone(),
            clock: Clock::system(),
            metrics: metrics.clone(),
        };
        admission.spawn(webhook::serve(parts, raised(stopped.clone())));
    }
    let parts = Parts {
        settings,
        aws,
        client: clients.ordinary,
        facts,
        instance: config.instance.clone(),
        leadership: leadership.clone(),
        clock: Clock::system(),
        metrics: metrics.clone(),
        audits: config.audits,
    };
    background.spawn(tell_leadership(leadership, metrics, raised(stopped.clone())));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let controller = reconcile::run(parts, seen, raised(stopped));
    tokio::pin!(controller);
    let (done, failure) = tokio::select! {
        done = &mut controller => (Some(done), None),
        _ = terminate.recv() => (None, None),
        _ = interrupt.recv() => (None, None),
        Some(server) = servers.join_next() => (None, Some(server.map_err(Into::into).and_then(|served| served))),
        Some(webhook) = admission.join_next() => (None, Some(webhook.map_err(Into::into).and_then(|served| served))),
        // Without one of its watches it would act on what was.
        Some(Err(panic)) = watches.join_next() => (None, Some(Err(panic).context("a watch ended"))),
    };
    tracing::info!("stopping");
    stop.send_replace(true);
    let done = match done {
        Some(done) => done,
        None => controller.await,
    };
    drain.send_replace(true);
    while background.join_next().await.is_some() {}
    while admission.join_next().await.is_some() {}
    failure.unwrap_or(Ok(()))?;
    done.context("what was remembered could not be read")
}

/// Tells what would change if albacore took over now. Reads from AWS and from Kubernetes, writes nothing, and takes no lease.
///
/// # Errors
/// What could not be found out, and why.
pub async fn check(config: Config) -> Result<Preview> {
    let budget = Budget::new(BudgetConfig {
        overrides: config.budget.clone(),
        ..BudgetConfig::default()
    });
    let place = aws::discover(&config.aws, &budget).await?;
    let aws = Aws::connect(&config.aws, &place, budget, Clock::system()).await?;
    let client = k8s::connect(config.kubeconfig.as_deref()).await?.ordinary;
    let namespace = config.watch_namespace.as_deref();
    let unattended = k8s::survey(&client, namespace).await.context("Kubernetes")?;
    let mut watches = JoinSet::new();
    let seen = watch::start_without_own(&client, namespace, &mut watches);
    let settings = config.settings(place.vpc.clone());
    let parts = Parts {
        facts: Facts::new(settings.clone()),
        settings,
        aws,
        client,
        instance: config.instance,
        leadership: Leadership::never(),
        clock: Clock::system(),
        metrics: Metrics::default(),
        audits: false,
    };
    let mut preview = reconcile::preview(parts, seen).await?;
    preview.unattended.extend(unattended);
    Ok(preview)
}

/// Keeps the metric up to date until told to stop.
async fn tell_leadership(mut leadership: Leadership, metrics: Metrics, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    tokio::select! {
        () = leadership.won() => metrics.leads(true),
        () = &mut stop => return,
    }
    tokio::select! {
        () = leadership.lost() => {}
        () = &mut stop => {}
    }
    metrics.leads(false);
}

/// Ends when the flag is raised, or when nobody is left to raise it.
async fn raised(mut raised: flag::Receiver<bool>) {
    let _ = raised.wait_for(|raised| *raised).await;
}
