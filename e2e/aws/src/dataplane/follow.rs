//! The data plane of a double: it serves what the control plane says, and says what its health checks find.
//!
//! ```text
//! Double ── changed, or time passed ──► world::snapshot ──► Plane::apply
//!   ▲                                                           │
//!   └────────────────────── report_health ◄────── Report ◄──────┘
//! ```

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::plane::Plane;
use super::probe::Report;
use super::snapshot::Snapshot;
use super::{Options, world};
use crate::Double;
use crate::elbv2::{HealthReport, TargetKey};

/// How often it is looked whether the passing of time changed something: a load balancer active, a target drained. An
/// address that could not be listened on is tried again as often.
const TICK: Duration = Duration::from_millis(200);

/// How many findings are told at once, before the world is looked at again.
const BATCH: usize = 1024;

/// What a running data plane last did.
#[derive(Clone, Debug, Default, PartialEq)]
struct Served {
    /// The double's version ([`Double::changed`]) that is served; none before the first.
    version: Option<u64>,
    /// What could not be served.
    problems: Vec<String>,
}

/// A running data plane. Dropped, it stops: what is in flight finishes.
#[derive(Debug)]
pub struct DataPlane {
    double: Double,
    served: watch::Receiver<Served>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl DataPlane {
    /// Serves what the double's control plane says, from now on. With [`crate::HealthMode::Probed`] it also makes the health
    /// checks. Must be called inside a tokio runtime.
    pub fn start(double: Double, options: Options) -> DataPlane {
        let (plane, reports) = Plane::new(options);
        let (sender, served) = watch::channel(Served::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(follow(plane, reports, double.clone(), sender, stop.clone()));
        DataPlane {
            double,
            served,
            stop,
            task,
        }
    }

    /// Waits until everything that was changed before this call is served; answers what can't be.
    pub async fn settled(&self) -> Vec<String> {
        let version = Some(*self.double.changed().borrow());
        let mut served = self.served.clone();
        // An error means that it was stopped: nothing is served any more.
        let settled = served.wait_for(|served| served.version >= version).await;
        settled.map_or_else(
            |_| vec!["the data plane has stopped".into()],
            |served| served.problems.clone(),
        )
    }

    /// Closes all listeners and waits until what is in flight has finished.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "data plane");
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn follow(
    plane: Plane,
    mut reports: UnboundedReceiver<Report>,
    double: Double,
    served: watch::Sender<Served>,
    stop: CancellationToken,
) {
    let mut changes = double.changed();
    let mut last: Option<Snapshot> = None;
    let mut problems = Vec::new();
    let mut found = Vec::new();
    while !stop.is_cancelled() {
        // The version first: what changes in between is looked at again.
        let version = *changes.borrow_and_update();
        let snapshot = world::snapshot(&double.world(), double.now());
        if last.as_ref() != Some(&snapshot) || !problems.is_empty() {
            let errors = plane.apply(snapshot.clone()).await;
            let now: Vec<String> = errors.iter().map(ToString::to_string).collect();
            for problem in now.iter().filter(|problem| !problems.contains(*problem)) {
                tracing::warn!("{problem}");
            }
            (last, problems) = (Some(snapshot), now);
        }
        let problems = problems.clone();
        let version = Some(version);
        served.send_replace(Served { version, problems });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(TICK) => {}
            _ = reports.recv_many(&mut found, BATCH) => {}
            () = stop.cancelled() => {}
        }
        found.drain(..).for_each(|report| tell(&double, report));
    }
    plane.stop().await;
}

fn tell(double: &Double, report: Report) {
    let health = match report.outcome.reason() {
        None => HealthReport::Healthy,
        Some((reason, description)) => HealthReport::Unhealthy {
            reason: reason.to_owned(),
            description,
        },
    };
    tracing::debug!(
        target_group = report.target.target_group,
        id = report.target.id,
        ?health,
        "health"
    );
    let key = TargetKey {
        id: report.target.id,
        port: report.target.port,
    };
    // arn:PARTITION:elasticloadbalancing:REGION:…
    let region = report.target.target_group.split(':').nth(3).unwrap_or_default();
    double.report_health(region, &report.target.target_group, &key, health);
}
