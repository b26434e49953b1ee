//! What clients notice while replicas move: a fleet of 3 nodes under load grows to 5, and loses what it can lose meanwhile.
//!
//! ```text
//! load: closed loop, half reads, half writes, through the SDK, all the time
//! stages: before ─► two nodes join ─► every shard moves ─► three moves: source, destination, controller killed
//!         ─► a node is drained ─► a dead one is replaced ─► after
//! ```
//!
//! Everything is done by `kvctl`, as operators do it; a stage ends when its command has ended. What an operation's client notices counts
//! for the stage in which it was answered. The load takes all processors that the fleet leaves, so a stage shows two things at once: what the
//! moves take from it, and whether anything fails.
//!
//! What it does not do: judge the answers (the process tests do).

mod fleet_view;
mod operator;
mod page;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::fleet::{Door, Fleet, Programs, Setup};
use crate::load::{self, Running};
use crate::machine::{self, Machine};
use crate::recorder::Measured;
use crate::workload::{Distribution, Mix, Workload};
use fleet_view::{FleetView, Victim};
use operator::Operator;

const NODES: u16 = 3;
const REPLICAS: u16 = 3;

/// The nodes that join.
const JOINING: [u64; 2] = [4, 5];

/// The node that is drained, and the one that is replaced after its death.
const DRAINED: u64 = 1;
const DEAD: u64 = 2;

/// A killed node stays down for so long: long enough for elections.
const DOWN: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shards: u32,
    pub(crate) clients: usize,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    /// How long the stages before and after are.
    pub(crate) quiet: Duration,
    pub(crate) out: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    pub(crate) note: Option<String>,
    pub(crate) programs: Programs,
}

/// What clients noticed during a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Stage {
    stage: String,
    seconds: f64,
    operations_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    refused: u64,
    unknown: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
}

/// One move, from the command to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Moved {
    shard: u64,
    from: u64,
    to: u64,
    bytes: u64,
    seconds: f64,
}

/// Measures everything, prints it, and writes the page.
pub(crate) async fn run(plan: Plan) -> Result<(), String> {
    let machine = Machine::look(&plan.dir);
    let setup = Setup::Flotilla { nodes: NODES, shards: plan.shards, replicas: REPLICAS, router: false };
    machine::say(&format!("starting {setup} and writing {} keys", plan.keys));
    let fleet = Fleet::start(setup, &plan.programs, &plan.dir).await?;
    let load = Running::begin(&load(&plan, &fleet)?).await?;
    let mut course = Course { fleet, load, began: Instant::now(), stages: Vec::new(), moves: Vec::new() };
    course.load.take();
    course.began = Instant::now();
    tokio::time::sleep(plan.quiet).await;
    course.close("before")?;
    course.grow(&plan.programs).await?;
    course.move_all(plan.shards).await?;
    for victim in Victim::ALL {
        course.move_beside_a_kill(victim).await?;
    }
    course.drain().await?;
    course.replace().await?;
    tokio::time::sleep(plan.quiet).await;
    course.close("after")?;
    let Course { load, stages, moves, .. } = course;
    load.end().await;
    if let Some(out) = &plan.out {
        page::write(out, &plan, &stages, &moves, &machine)?;
    }
    // Moving costs time, never an operation.
    match stages.iter().map(|stage| stage.refused + stage.unknown).sum() {
        0_u64 => Ok(()),
        failed => Err(format!("{failed} operations failed")),
    }
}

fn load(plan: &Plan, fleet: &Fleet) -> Result<load::Plan, String> {
    let mix: Mix = "50/50".parse()?;
    Ok(load::Plan {
        place: fleet.place(Door::Pipelined),
        workload: Workload {
            mix,
            distribution: Distribution::Uniform,
            keys: plan.keys,
            value_bytes: plan.value_bytes,
        },
        clients: plan.clients,
        connections: 1,
        warm_up: Duration::ZERO,
        duration: Duration::ZERO,
        seed: 1,
        fill: true,
    })
}

/// The stages, one after the other.
struct Course {
    fleet: Fleet,
    load: Running,
    /// When this stage began.
    began: Instant,
    stages: Vec<Stage>,
    moves: Vec<Moved>,
}

impl Course {
    async fn grow(&mut self, programs: &Programs) -> Result<(), String> {
        for _ in JOINING {
            self.fleet.join(programs).await?;
        }
        self.close("two nodes join")
    }

    async fn move_all(&mut self, shards: u32) -> Result<(), String> {
        let operator = Operator::of(&self.fleet)?;
        // Shard 0, the meta shard, moves like any other.
        for shard in 0..=u64::from(shards) {
            let from = 1 + shard % u64::from(NODES);
            let to = JOINING[(shard % 2) as usize];
            let bytes = operator.bytes_of(shard, from, to).await?;
            let began = Instant::now();
            operator.move_replica(shard, from, to).await?;
            self.moves.push(Moved { shard, from, to, bytes, seconds: began.elapsed().as_secs_f64() });
            print(self.moves.last())?;
        }
        self.close("every shard moves, one after the other")
    }

    async fn move_beside_a_kill(&mut self, victim: Victim) -> Result<(), String> {
        let operator = Operator::of(&self.fleet)?;
        let view = FleetView::of(&operator.shards().await?)?;
        let choice = view.choose(victim).ok_or_else(|| format!("no move suits: {victim} killed"))?;
        let moving = operator.begin_to_move(choice.shard, choice.from, choice.to)?;
        operator.until_under_way(choice.shard).await?;
        self.process(choice.victim)?.kill();
        tokio::time::sleep(DOWN).await;
        self.process(choice.victim)?.restart()?;
        moving.end().await?;
        self.fleet.ready().await?;
        self.close(&format!("a move, its {victim} killed"))
    }

    async fn drain(&mut self) -> Result<(), String> {
        Operator::of(&self.fleet)?.drain(DRAINED).await?;
        self.close(&format!("node {DRAINED} is drained"))
    }

    async fn replace(&mut self) -> Result<(), String> {
        self.process(DEAD)?.kill();
        Operator::of(&self.fleet)?.replace(DEAD).await?;
        self.close(&format!("node {DEAD} is killed and replaced"))
    }

    fn process(&mut self, node: u64) -> Result<&mut crate::fleet::Process, String> {
        let at = usize::try_from(node).ok().and_then(|node| node.checked_sub(1));
        at.map(|at| self.fleet.process(at)).ok_or_else(|| format!("there is no node {node}"))
    }

    /// A stage ends.
    fn close(&mut self, stage: &str) -> Result<(), String> {
        let (took, measured) = (self.began.elapsed(), self.load.take());
        self.began = Instant::now();
        let stage = summary(stage, took, &measured);
        machine::say(&format!(
            "{}: {:.1} s, {:.0}/s, p99 {:.1} ms, longest {:.0} ms, {} failed",
            stage.stage,
            stage.seconds,
            stage.operations_per_second,
            stage.p99_ms,
            stage.longest_ms,
            stage.refused + stage.unknown
        ));
        print(Some(&stage))?;
        self.stages.push(stage);
        Ok(())
    }
}

fn summary(stage: &str, took: Duration, measured: &Measured) -> Stage {
    let mut all: Option<Histogram<u64>> = None;
    for latencies in measured.latencies.values() {
        match &mut all {
            Some(all) => *all += latencies,
            None => all = Some(latencies.clone()),
        }
    }
    let ms = |quantile: f64| {
        all.as_ref().map_or(0.0, |latencies| latencies.value_at_quantile(quantile) as f64 / 1e3)
    };
    Stage {
        stage: stage.to_owned(),
        seconds: took.as_secs_f64(),
        operations_per_second: measured.operations() as f64 / took.as_secs_f64(),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        longest_ms: ms(1.0),
        refused: measured.refused,
        unknown: measured.unknown,
        first_failure: measured.first_failure.clone(),
    }
}

fn print(what: Option<&impl Serialize>) -> Result<(), String> {
    let Some(what) = what else { return Ok(()) };
    let line = serde_json::to_string(what).map_err(|error| error.to_string())?;
    writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Failed, Kind, Recorder};

    #[test]
    fn a_stage_counts_reads_and_writes_together() {
        let recorder = Recorder::default();
        for at in 0..50 {
            recorder.answered(at, Kind::Read, Duration::from_millis(1));
            recorder.answered(at, Kind::Write, Duration::from_millis(3));
        }
        recorder.failed(0, Failed::Unknown("gone".to_owned()));
        let stage = summary("moving", Duration::from_secs(2), &recorder.take());
        assert_eq!((stage.operations_per_second, stage.refused, stage.unknown), (50.0, 0, 1));
        assert!((stage.p50_ms - 1.0).abs() < 0.01 && (stage.longest_ms - 3.0).abs() < 0.01, "{stage:?}");
        assert_eq!(stage.first_failure.as_deref(), Some("gone"));
        assert_eq!(summary("still", Duration::from_secs(1), &recorder.take()).operations_per_second, 0.0);
    }
}
