//! Writes that never stop, and the policy that retries them: the same for all targets.
//!
//! A write is sent to one node, the nodes taking turns. An attempt that fails, or has no answer after a second, is followed after
//! 10 ms by one at the next node, until the write is acknowledged. Each lane begins a write every 2 ms, whatever became of the
//! earlier ones: so a lane's first acknowledgement after a gap is at most 2 ms late.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::gap::Acknowledged;
use crate::fleet::Kind;
use crate::recorder::Failed;
use crate::target::{Connection, Name};

const INTERVAL: Duration = Duration::from_millis(2);
const ATTEMPT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// Writes under way at once, over all lanes: during a gap they pile up.
const UNDER_WAY_MAX: usize = 8_192;

const VALUE: Bytes = Bytes::from_static(&[b'v'; 256]);

/// All lanes of a fleet.
#[derive(Debug)]
pub(super) struct Lanes {
    nodes: Vec<Connection>,
    lanes: Vec<Lane>,
    turn: AtomicUsize,
    under_way: Arc<Semaphore>,
}

#[derive(Debug)]
struct Lane {
    key: Bytes,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

impl Lanes {
    pub(super) fn open(kind: Kind, nodes: &[String], keys: Vec<Bytes>) -> Result<Self, String> {
        let name = if kind == Kind::Etcd { Name::Etcd } else { Name::FlotillaUnary };
        let nodes = nodes.iter().map(|node| Connection::lazy(name, node)).collect::<Result<_, _>>()?;
        let lane = |key| Lane { key, acknowledged: Mutex::default() };
        let (lanes, under_way) =
            (keys.into_iter().map(lane).collect(), Arc::new(Semaphore::new(UNDER_WAY_MAX)));
        Ok(Self { nodes, lanes, turn: AtomicUsize::new(0), under_way })
    }

    /// Starts all lanes. They end when the set is dropped.
    pub(super) fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut writing = JoinSet::new();
        for lane in 0..self.lanes.len() {
            writing.spawn(Arc::clone(self).pace(lane));
        }
        writing
    }

    async fn pace(self: Arc<Self>, lane: usize) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut writes = JoinSet::new();
        loop {
            ticks.tick().await;
            while writes.try_join_next().is_some() {}
            let Ok(permit) = Arc::clone(&self.under_way).acquire_owned().await else { return };
            let lanes = Arc::clone(&self);
            writes.spawn(async move {
                lanes.write(lane).await;
                drop(permit);
            });
        }
    }

    /// One write, until it is acknowledged.
    async fn write(&self, lane: usize) {
        let lane = &self.lanes[lane];
        let began = Instant::now();
        let mut turn = self.turn.fetch_add(1, Ordering::Relaxed);
        loop {
            let node = &self.nodes[turn % self.nodes.len()];
            let attempt: Result<Result<(), Failed>, _> =
                timeout(ATTEMPT, node.write(lane.key.clone(), VALUE)).await;
            if matches!(attempt, Ok(Ok(()))) {
                let ended = Instant::now();
                lane.locked().push(Acknowledged { began, ended });
                return;
            }
            turn += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What was written before is of no more interest.
    pub(super) fn forget(&self) {
        self.lanes.iter().for_each(|lane| lane.locked().clear());
    }

    /// Waits until every lane has acknowledged a write that began after this.
    pub(super) async fn written(&self, after: Instant, patience: Duration) -> Result<(), String> {
        let done = |lane: &Lane| lane.locked().iter().any(|write| write.began > after);
        while !self.lanes.iter().all(done) {
            if after.elapsed() > patience {
                let missing = self.lanes.iter().filter(|lane| !done(lane)).count();
                return Err(format!("{missing} lanes took no writes for {} s", patience.as_secs()));
            }
            tokio::time::sleep(super::LOOK_PAUSE).await;
        }
        Ok(())
    }

    /// The acknowledged writes of each lane.
    pub(super) fn moments(&self) -> Vec<Vec<Acknowledged>> {
        self.lanes.iter().map(|lane| lane.locked().clone()).collect()
    }
}

impl Lane {
    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Acknowledged>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
