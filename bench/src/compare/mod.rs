//! Targets side by side: the same load on fleets that are started for it, in rounds, as tables and plots.
//!
//! Reading order: `suite` (what), `schedule` (in which order, for how long), this file (does it), `spread` (what rounds say
//! together), `results`, `page` and `crate::plot` (what is written).
//!
//! **Fairness.** All targets get the same clients, keys, values and number of connections. Only one fleet runs at a time, alone with the
//! load, each time on fresh data of the same file system. etcd's connections lead to its leader, which is its shortest way: another
//! member would forward. Nothing but addresses is configured at either.
//!
//! What it does not do: several machines. Clients and servers share processors, so a target also pays for what its protocol costs its clients.

mod page;
pub(crate) mod results;
pub(crate) mod schedule;
pub(crate) mod spread;
pub(crate) mod suite;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Kind, Programs, Setup};
use crate::load;
use crate::machine::{self, Machine};
use crate::report::Report;
use crate::workload::{Distribution, Workload};
use results::Results;
use schedule::{Ahead, Times, Turn};
use suite::{Panel, Point};

/// What all loads have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    pub(crate) connections: u32,
    pub(crate) seed: u64,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) panels: Vec<Panel>,
    pub(crate) targets: Vec<Kind>,
    pub(crate) times: Times,
    pub(crate) load: Load,
    pub(crate) out: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    pub(crate) note: Option<String>,
    pub(crate) programs: Programs,
}

impl Plan {
    /// Whether the budget suffices for the shortest loads.
    pub(crate) fn check(&self) -> Result<(), String> {
        let ahead = Ahead::of(&self.turns());
        let cost = schedule::FLEET_COST;
        match self.times.budget {
            Some(budget) if self.times.next(Some(budget), ahead, cost).is_none() => Err(format!(
                "--budget {}: too short for {} measurements on {} fleets",
                budget.as_secs_f64(),
                ahead.loads,
                ahead.fleets
            )),
            _ => Ok(()),
        }
    }

    fn turns(&self) -> Vec<Turn> {
        let wanted = |setup: Setup| self.has(setup.kind()).is_ok();
        schedule::turns(&self.panels, self.times.rounds, wanted)
    }

    fn has(&self, kind: Kind) -> Result<(), String> {
        if self.targets.contains(&kind) {
            self.programs.get(kind).map(drop)
        } else {
            Err("not among --targets".to_owned())
        }
    }

    fn load(
        &self,
        point: &Point,
        fleet: &Fleet,
        (warm_up, duration): (Duration, Duration),
    ) -> Result<load::Plan, String> {
        Ok(load::Plan {
            place: fleet.place(point.door),
            workload: Workload {
                mix: point.mix.parse()?,
                distribution: Distribution::Uniform,
                keys: self.load.keys,
                value_bytes: self.load.value_bytes,
            },
            clients: point.clients as usize,
            // A connection without a client would be none.
            connections: self.load.connections.min(point.clients) as usize,
            warm_up,
            duration,
            seed: self.load.seed,
            fill: false,
        })
    }
}

/// Does it.
pub(crate) async fn run(plan: Plan) -> Result<(), String> {
    let machine = Machine::look(&plan.dir);
    for kind in [Kind::Flotilla, Kind::Etcd, Kind::Redis] {
        if let Err(reason) = plan.has(kind) {
            machine::say(&format!("{} is left out: {reason}", crate::report::value_name(&kind)));
        }
    }
    if machine.in_memory {
        machine::say("--dir is in memory: syncs cost nothing there, and writes will look too fast");
    }
    let turns = plan.turns();
    if turns.is_empty() {
        return Err("nothing to compare: no target is there".to_owned());
    }
    let mut work = Work::new(&plan, &turns);
    for turn in &turns {
        let at = format!("round {} of {}: {}", turn.round, plan.times.rounds, turn.setup);
        work.turn(turn).await.map_err(|reason| format!("{at}: {reason}"))?;
    }
    work.results.print(&plan.panels)?;
    match &plan.out {
        Some(out) => page::write(out, &plan, &work.results, &machine),
        None => Ok(()),
    }
}

/// The comparison under way.
struct Work<'a> {
    plan: &'a Plan,
    results: Results,
    began: Instant,
    ahead: Ahead,
    done: Ahead,
    /// What fleets cost so far.
    fleets_took: Duration,
}

impl<'a> Work<'a> {
    fn new(plan: &'a Plan, turns: &[Turn]) -> Self {
        let (results, ahead) = (Results::default(), Ahead::of(turns));
        Self {
            plan,
            results,
            began: Instant::now(),
            ahead,
            done: Ahead::default(),
            fleets_took: Duration::ZERO,
        }
    }

    fn left(&self) -> Option<Duration> {
        self.plan.times.budget.map(|budget| budget.saturating_sub(self.began.elapsed()))
    }

    fn fleet_cost(&self) -> Duration {
        match u32::try_from(self.done.fleets) {
            Ok(done) if done > 0 => self.fleets_took / done,
            _ => schedule::FLEET_COST,
        }
    }

    async fn turn(&mut self, turn: &Turn) -> Result<(), String> {
        let started = Instant::now();
        let mut fleet = Fleet::start(turn.setup, &self.plan.programs, &self.plan.dir).await?;
        let points: Vec<&Point> = turn
            .loads
            .iter()
            .map(|(panel, series, at)| &self.plan.panels[*panel].series[*series].points[*at])
            .collect();
        if let Some(first) = points.first() {
            load::fill(&self.plan.load(first, &fleet, (Duration::ZERO, Duration::ZERO))?).await?;
        }
        machine::say(&format!("round {}/{}  {} is filled", turn.round, self.plan.times.rounds, turn.setup));
        self.ahead.fleets -= 1;
        self.fleets_took += started.elapsed();
        self.done.fleets += 1;
        for (address, point) in turn.loads.iter().zip(points) {
            let shortest = (Duration::ZERO, Duration::from_millis(400));
            let times = self.plan.times.next(self.left(), self.ahead, self.fleet_cost()).unwrap_or(shortest);
            let load = self.plan.load(point, &fleet, times)?;
            let outcome = load::run(&load).await?;
            fleet.check()?;
            self.ahead.loads -= 1;
            self.done.loads += 1;
            self.record(turn, *address, Report::of(&load, &outcome))?;
        }
        Ok(())
    }

    fn record(&mut self, turn: &Turn, address: schedule::Address, report: Report) -> Result<(), String> {
        let panel = &self.plan.panels[address.0];
        let series = &panel.series[address.1];
        let x = series.points[address.2].x;
        let eta = self.plan.times.estimate(self.left(), self.ahead, self.fleet_cost());
        let all = self.done.loads + self.ahead.loads;
        machine::say(&format!(
            "[{:>3}/{all}] round {}/{}  {}  {}  {x} {}: {:.0}/s  (ends in {})",
            self.done.loads,
            turn.round,
            self.plan.times.rounds,
            panel.id,
            series.label,
            panel.axis,
            report.operations_per_second,
            machine::minutes(eta),
        ));
        let line =
            results::Line { panel: panel.id, series: series.label, round: turn.round, x, report: &report };
        let line = serde_json::to_string(&line).map_err(|error| error.to_string())?;
        writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())?;
        self.results.add(address, report);
        Ok(())
    }
}
