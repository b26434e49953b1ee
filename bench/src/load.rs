//! The load: fill, warm up, measure.
//!
//! ```text
//!   fill: every key once ─► warm-up: the mix, not counted ─► measured: the mix, counted ─► report
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand_core::SeedableRng;
use rand_pcg::Pcg64Mcg;
use tokio::task::JoinSet;

use crate::processes;
use crate::recorder::{Failed, Kind, Measured, Recorder};
use crate::target::{Connection, Place};
use crate::workload::{Chooser, Step, Workload, key};

/// So many keys are written at once when filling.
const FILLERS: usize = 256;

/// A failed operation is not followed at once by another: who is refused waits, as a real client would.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// How a load is made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) place: Place,
    pub(crate) workload: Workload,
    pub(crate) clients: usize,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) fill: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) measured: Measured,
    /// The time that was measured, which is a little more than was planned.
    pub(crate) took: Duration,
    /// The CPU time of the servers meanwhile, and how many there were; nothing where none was found.
    pub(crate) servers: Option<(Duration, usize)>,
    /// The CPU time of this process meanwhile.
    pub(crate) own: Duration,
}

/// Makes the load, until its end or until it is interrupted.
pub(crate) async fn run(plan: &Plan) -> Result<Outcome, String> {
    let connections = open(plan).await?;
    if plan.fill {
        write_all(plan, &connections).await?;
    }
    let clients = start(plan, &connections);
    tokio::time::sleep(plan.warm_up).await;
    let servers = plan.place.servers.clone().unwrap_or_else(|| processes::find(plan.place.name.servers()));
    let (began, cpu, own) = (Instant::now(), processes::cpu_time(&servers), processes::own());
    clients.measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(plan.duration).await;
    clients.measuring.store(false, Ordering::Relaxed);
    let outcome = Outcome {
        took: began.elapsed(),
        measured: clients.recorder.measured(),
        servers: (!servers.is_empty())
            .then(|| (processes::cpu_time(&servers).saturating_sub(cpu), servers.len())),
        own: processes::own().saturating_sub(own),
    };
    clients.end().await;
    Ok(outcome)
}

/// A load that goes on while other things are done to the fleet.
pub(crate) struct Running(Clients);

impl Running {
    /// Fills and begins. What was planned of times does not count.
    pub(crate) async fn begin(plan: &Plan) -> Result<Self, String> {
        let connections = open(plan).await?;
        write_all(plan, &connections).await?;
        let clients = start(plan, &connections);
        clients.measuring.store(true, Ordering::Relaxed);
        Ok(Self(clients))
    }

    /// What ended since the last time.
    pub(crate) fn take(&self) -> Measured {
        self.0.recorder.take()
    }

    /// Lets each client finish what it has asked.
    pub(crate) async fn end(self) {
        self.0.end().await;
    }
}

/// Only writes every key once.
pub(crate) async fn fill(plan: &Plan) -> Result<(), String> {
    write_all(plan, &open(plan).await?).await
}

async fn open(plan: &Plan) -> Result<Vec<Connection>, String> {
    let mut connections = Vec::new();
    for number in 0..plan.connections {
        connections.push(Connection::open(&plan.place, number).await?);
    }
    Ok(connections)
}

async fn write_all(plan: &Plan, connections: &[Connection]) -> Result<(), String> {
    let next = Arc::new(AtomicU64::new(0));
    let mut fillers = JoinSet::new();
    for number in 0..FILLERS {
        let (next, workload) = (Arc::clone(&next), plan.workload.clone());
        let connection = connections[number % connections.len()].clone();
        let mut chance = Pcg64Mcg::seed_from_u64(plan.seed ^ number as u64);
        fillers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= workload.keys {
                    return Ok(());
                }
                connection.write(key(number), workload.value(&mut chance)).await?;
            }
        });
    }
    while let Some(ended) = fillers.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(Failed::Refused(text) | Failed::Unknown(text))) => {
                return Err(format!("cannot fill: {text}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// The clients at work.
struct Clients {
    tasks: JoinSet<()>,
    measuring: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    recorder: Arc<Recorder>,
}

impl Clients {
    /// Lets each finish what it has asked.
    async fn end(mut self) {
        self.ending.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

fn start(plan: &Plan, connections: &[Connection]) -> Clients {
    let mut tasks = JoinSet::new();
    let (measuring, ending) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let recorder = Arc::new(Recorder::default());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let begun = Arc::new(AtomicU64::new(0));
    let chooser = Chooser::new(plan.workload.distribution, plan.workload.keys, Arc::clone(&acknowledged));
    for number in 0..plan.clients {
        let client = Client {
            number,
            connection: connections[number % connections.len()].clone(),
            workload: plan.workload.clone(),
            chooser: chooser.clone(),
            begun: Arc::clone(&begun),
            acknowledged: Arc::clone(&acknowledged),
            recorder: Arc::clone(&recorder),
            chance: Pcg64Mcg::seed_from_u64(plan.seed.wrapping_add(number as u64)),
        };
        tasks.spawn(client.run(Arc::clone(&measuring), Arc::clone(&ending)));
    }
    Clients { tasks, measuring, ending, recorder }
}

/// One client: asks, waits, asks again.
struct Client {
    number: usize,
    connection: Connection,
    workload: Workload,
    chooser: Chooser,
    begun: Arc<AtomicU64>,
    acknowledged: Arc<AtomicU64>,
    recorder: Arc<Recorder>,
    chance: Pcg64Mcg,
}

impl Client {
    async fn run(mut self, measuring: Arc<AtomicBool>, ending: Arc<AtomicBool>) {
        while !ending.load(Ordering::Relaxed) {
            let mut inserts = false;
            let begun = &self.begun;
            let mut inserted = || {
                inserts = true;
                begun.fetch_add(1, Ordering::Relaxed)
            };
            let step = self.workload.draw(&self.chooser, &mut inserted, &mut self.chance);
            let counted = measuring.load(Ordering::Relaxed);
            let began = Instant::now();
            let (kind, done) = self.take(step).await;
            // What began before the measured time or ended after it is not part of it.
            let counted = counted && measuring.load(Ordering::Relaxed);
            match done {
                Ok(()) => {
                    if inserts {
                        self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    if counted {
                        self.recorder.answered(self.number, kind, began.elapsed());
                    }
                }
                Err(failed) => {
                    if counted {
                        self.recorder.failed(self.number, failed);
                    }
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn take(&self, step: Step) -> (Kind, Result<(), Failed>) {
        let connection = &self.connection;
        match step {
            Step::Read(key) => (Kind::Read, connection.read(key).await.map(drop)),
            Step::Write(key, value) => (Kind::Write, connection.write(key, value).await),
            Step::Change(key, value) => {
                let done = match connection.read(key.clone()).await {
                    Ok(_) => connection.write(key, value).await,
                    Err(failed) => Err(failed),
                };
                (Kind::Change, done)
            }
            Step::Scan(from, records) => (Kind::Scan, connection.scan(from, records).await.map(drop)),
        }
    }
}
