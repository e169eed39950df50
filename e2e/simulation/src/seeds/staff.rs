//! The controller's processes: two replicas that contend for the Lease, started again when they end, as a Deployment does.

use crate::{bed::Bed, replica::Replica};
use fastrand::Rng;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How many processes there should be.
const REPLICAS: usize = 2;

/// The processes.
#[derive(Default)]
pub struct Staff {
    replicas: Vec<Option<Replica>>,
    /// When each is started again.
    due: Vec<Option<Instant>>,
    hired: usize,
}

impl Staff {
    /// Starts all.
    pub fn hire(bed: &Bed) -> Self {
        let mut staff = Self::default();
        for place in 0..REPLICAS {
            staff.replicas.push(None);
            staff.due.push(None);
            staff.start(bed, place);
        }
        staff
    }

    fn start(&mut self, bed: &Bed, place: usize) {
        self.hired += 1;
        // A new pod has a new name.
        self.replicas[place] = Some(Replica::contend(bed, &format!("albacore-{}", self.hired)));
        self.due[place] = None;
    }

    /// Lets time pass; whoever has ended is started again after a while.
    pub async fn work(&mut self, rng: &mut Rng, bed: &Bed, time: Duration) {
        let end = Instant::now() + time;
        loop {
            for place in 0..REPLICAS {
                if self.replicas[place].as_ref().is_none_or(Replica::has_ended) {
                    match self.due[place] {
                        None => self.due[place] = Some(Instant::now() + Duration::from_millis(rng.u64(500..20_000))),
                        Some(due) if due <= Instant::now() => self.start(bed, place),
                        Some(_) => {}
                    }
                }
            }
            if Instant::now() >= end {
                return;
            }
            sleep(Duration::from_millis(500).min(end - Instant::now())).await;
        }
    }

    /// Kills a process: now, or as soon as AWS carried out one of its next calls.
    pub async fn crash(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let place = rng.usize(..REPLICAS);
        let nth = rng.u64(..6);
        if let (Some(replica), true) = (&self.replicas[place], nth > 0) {
            let wire = replica.wire.clone();
            wire.set(nth);
            if tokio::time::timeout(Duration::from_secs(20), wire.tripped())
                .await
                .is_err()
            {
                wire.mend();
                return format!("replica {place} made less than {nth} calls");
            }
        }
        if let Some(replica) = self.replicas[place].take() {
            replica.crash().await;
        }
        self.work(rng, bed, Duration::ZERO).await;
        format!("replica {place} is killed after {nth} calls")
    }

    /// Stops a process in order, as a rollout does.
    pub async fn replace(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let place = rng.usize(..REPLICAS);
        if let Some(replica) = self.replicas[place].take() {
            replica.stop().await;
        }
        self.start(bed, place);
        format!("replica {place} is replaced")
    }

    /// Stops all processes in order, and starts new ones.
    pub async fn replace_all(&mut self, bed: &Bed) {
        for replica in self.replicas.iter_mut().filter_map(Option::take) {
            replica.stop().await;
        }
        (0..REPLICAS).for_each(|place| self.start(bed, place));
    }

    /// Cuts a process off from the API server, or connects it again.
    pub fn cut_off(&mut self, rng: &mut Rng, bed: &Bed) -> String {
        let place = rng.usize(..REPLICAS);
        let down = rng.u8(..3) > 0;
        if let Some(replica) = &self.replicas[place] {
            replica.link.set_down(down);
            bed.api.cut_watches();
        }
        format!("replica {place} is cut off: {down}")
    }

    /// Connects everybody again.
    pub fn connect(&self) {
        for replica in self.replicas.iter().flatten() {
            replica.link.set_down(false);
        }
    }
}
