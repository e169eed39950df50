//! A process of the controller: what `albacore::run` wires together, over the simulated wires.

use crate::{api::Link, bed::Bed, permissions, tripwire::Tripwire};
use albacore::{
    aws::Aws,
    k8s::{Contender, Leadership, LeaseConfig, watch},
    reconcile,
};
use tokio::{
    sync::watch as flag,
    task::{JoinHandle, JoinSet},
};

/// The Lease of the chart, and of ALBC.
pub const LEASE: (&str, &str) = ("kube-system", "aws-load-balancer-controller-leader");

/// A running process.
pub struct Replica {
    /// Between it and AWS.
    pub wire: Tripwire,
    /// Between it and the API server.
    pub link: Link,
    stop: flag::Sender<bool>,
    drained: flag::Sender<bool>,
    controller: JoinHandle<()>,
    contender: Option<JoinHandle<()>>,
    _watches: JoinSet<()>,
}

impl Replica {
    /// Starts one that leads as the bed says, and reaches AWS so.
    pub fn start(bed: &Bed, wire: Tripwire, aws: Aws) -> Self {
        Self::run(bed, "albacore-0", (wire, aws), |_| (bed.leadership.clone(), None))
    }

    /// Starts one that contends for the Lease.
    pub fn contend(bed: &Bed, identity: &str) -> Self {
        let wire = Tripwire::default();
        let aws = bed.aws(&wire, permissions::credentials());
        Self::run(bed, identity, (wire, aws), |wiring| {
            let names = LeaseConfig::new(LEASE.0, LEASE.1, identity);
            let (contender, leadership) = Contender::new(bed.api.client_over(wiring.link.clone()), names);
            let (stopped, drained) = (wiring.stop.subscribe(), wiring.drained.subscribe());
            (
                leadership,
                Some(tokio::spawn(contender.run(raised(stopped), raised(drained)))),
            )
        })
    }

    fn run(
        bed: &Bed,
        identity: &str,
        (wire, aws): (Tripwire, Aws),
        lead: impl FnOnce(&Wiring) -> (Leadership, Option<JoinHandle<()>>),
    ) -> Self {
        let wiring = Wiring::default();
        let (leadership, contender) = lead(&wiring);
        let client = bed.api.client_over(wiring.link.clone());
        let mut watches = JoinSet::new();
        let seen = watch::start(&client, None, &mut watches);
        let parts = bed.parts(client, aws, identity, leadership);
        let stopped = raised(wiring.stop.subscribe());
        let controller = tokio::spawn(async move {
            if let Err(fault) = reconcile::run(parts, seen, stopped).await {
                tracing::warn!(%fault, "the controller ended");
            }
        });
        Self {
            wire,
            link: wiring.link,
            stop: wiring.stop,
            drained: wiring.drained,
            controller,
            contender,
            _watches: watches,
        }
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.controller.await.expect("a controller that ends in order");
        self.drained.send_replace(true);
        if let Some(contender) = self.contender {
            contender.await.expect("a contender that ends in order");
        }
    }

    /// Ends it as SIGKILL does: in the middle of whatever it does.
    pub async fn crash(self) {
        for task in std::iter::once(self.controller).chain(self.contender) {
            task.abort();
            drop(task.await);
        }
    }

    /// Whether it ended by itself.
    pub fn has_ended(&self) -> bool {
        self.controller.is_finished()
    }
}

#[derive(Default)]
struct Wiring {
    link: Link,
    stop: flag::Sender<bool>,
    drained: flag::Sender<bool>,
}

/// Ends when the flag is raised, or when nobody is left to raise it.
async fn raised(mut flag: flag::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
