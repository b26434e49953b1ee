//! How long writes stop when a leader dies: Flotilla and etcd, measured in the same way.
//!
//! ```text
//! eight lanes of writes, one every 2 ms each, whatever became of the ones before ──► the moments of their acknowledgements
//! blow:  who leads? · SIGKILL (or another) for the node that leads most lanes · wait until every lane acknowledged a write that began after it
//!        · gap of a lane = its longest silence around the kill · start the node again · wait until it serves · pause
//! ```
//!
//! With Flotilla each lane is a key of another shard, so that the load is spread over all shards; with etcd, which is one group, the
//! lanes are eight keys of it. Both are written by unary calls under one policy (`lane`): any node is asked, the next one after a
//! failure. Nothing is learned from redirects, no SDK helps.
//!
//! A shard that the dead node did not lead should hardly notice: such lanes are told apart as *bystanders*. With etcd there are none.
//!
//! With SIGSTOP the connections stay, and the node answers nobody: an attempt that reaches it is lost for a second, but a lane begins
//! another write every 2 ms, two of three of them elsewhere.
//!
//! What it does not do: it kills processes, not machines. Connections break at once; a machine that vanishes is noticed later.

mod blow;
mod gap;
mod lane;
mod leaders;
mod page;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::compare::spread::Spread;
use crate::fleet::{Fleet, Kind, Process, Programs, Setup};
use crate::machine::{self, Machine};
use lane::Lanes;

pub(crate) use blow::Blow;
use blow::Struck;

const NODES: u16 = 3;
const REPLICAS: u16 = 3;

/// So many shards, and so many lanes.
const LANES: u32 = 8;

/// How long anything may take before the measurement has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at moments that other processes make.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// So long writes are watched before a disk becomes slow, and beside it.
const SLOW: Duration = Duration::from_secs(5);

/// How long writes go on before each kill.
const SETTLING: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) targets: Vec<Kind>,
    pub(crate) kills: u32,
    pub(crate) blows: Vec<Blow>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) dir: PathBuf,
    pub(crate) note: Option<String>,
    pub(crate) programs: Programs,
}

/// What one kill did.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Kill {
    target: &'static str,
    signal: &'static str,
    kill: u32,
    /// The gaps of the lanes that the dead node led; of etcd the one gap of its one group.
    gaps_ms: Vec<f64>,
    /// The longest gap of the other lanes, where there are any.
    bystanders_ms: Option<f64>,
    /// From the node's start until it served again.
    back_ms: f64,
    /// With a slow disk, the 99th percentile of all writes before, and while the node is a follower with it.
    p99_ms: Option<(f64, f64)>,
}

/// What all kills did.
#[derive(Clone, Debug, Serialize)]
struct Summary {
    target: &'static str,
    signal: &'static str,
    kills: usize,
    /// Over all gaps of all kills.
    gap_ms: Spread,
    /// Over the longest gap of each kill: until the last key can be written again.
    longest_gap_ms: Spread,
    /// The longest of all bystanders' gaps.
    bystanders_ms: Option<f64>,
    /// The 99th percentile of all writes before and beside a slow disk.
    p99_ms: Option<(Spread, Spread)>,
}

/// Does it.
pub(crate) async fn run(plan: Plan) -> Result<(), String> {
    let machine = Machine::look(&plan.dir);
    let mut all = Vec::new();
    for (kind, target) in [(Kind::Flotilla, "flotilla"), (Kind::Etcd, "etcd")] {
        if !plan.targets.contains(&kind) {
            continue;
        }
        if let Err(reason) = plan.programs.get(kind) {
            machine::say(&format!("{target} is left out: {reason}"));
            continue;
        }
        for blow in Blow::ALL.into_iter().filter(|blow| plan.blows.contains(blow)) {
            let kills =
                series(&plan, kind, target, blow).await.map_err(|reason| format!("{target}: {reason}"))?;
            let Some(summary) = summary(target, blow, &kills) else { continue };
            machine::say(&format!(
                "{target}, {}: median gap {:.0} ms; until the last lane was back {:.0} ms ({:.0} to {:.0})",
                summary.signal,
                summary.gap_ms.median,
                summary.longest_gap_ms.median,
                summary.longest_gap_ms.min,
                summary.longest_gap_ms.max
            ));
            print(&summary)?;
            all.push((summary, kills));
        }
    }
    if all.is_empty() {
        return Err("nothing to measure: no target is there".to_owned());
    }
    match &plan.out {
        Some(out) => page::write(out, &plan, &all, &machine),
        None => Ok(()),
    }
}

fn print(line: &impl Serialize) -> Result<(), String> {
    let line = serde_json::to_string(line).map_err(|error| error.to_string())?;
    writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())
}

/// All blows of one kind at one target.
async fn series(plan: &Plan, kind: Kind, target: &'static str, blow: Blow) -> Result<Vec<Kill>, String> {
    let setup = match kind {
        Kind::Etcd => Setup::Etcd { nodes: NODES },
        Kind::Flotilla | Kind::Redis => {
            Setup::Flotilla { nodes: NODES, shards: LANES, replicas: REPLICAS, router: false }
        }
    };
    let mut fleet = Fleet::start(setup, &plan.programs, &plan.dir).await?;
    let keys = leaders::keys(kind, fleet.nodes(), LANES).await?;
    let lanes = Arc::new(Lanes::open(kind, fleet.nodes(), keys.clone())?);
    let writing = lanes.start();
    let mut kills = Vec::new();
    for kill in 1..=plan.kills {
        tokio::time::sleep(SETTLING).await;
        let led = leaders::find(kind, fleet.nodes(), &keys).await?;
        let Blown { mut gaps, bystanders, p99, struck } =
            strike(&mut fleet, &lanes, &led, kind, blow).await?;
        let started = Instant::now();
        struck.mend(fleet.process(victim(&led)))?;
        fleet.ready().await?;
        let back_ms = millis(started.elapsed());
        gaps.sort_unstable();
        let gaps_ms: Vec<f64> = gaps.into_iter().map(millis).collect();
        let p99_ms = p99.map(|(before, beside)| (millis(before), millis(beside)));
        let signal = blow.name();
        let bystanders_ms = bystanders.map(millis);
        let done = Kill { target, signal, kill, gaps_ms, bystanders_ms, back_ms, p99_ms };
        tell(&done, plan.kills);
        print(&done)?;
        kills.push(done);
    }
    drop(writing);
    Ok(kills)
}

/// What a blow did.
struct Blown {
    /// Of the lanes that the node led.
    gaps: Vec<Duration>,
    /// The longest of the others.
    bystanders: Option<Duration>,
    /// Of all writes, before and beside a slow disk.
    p99: Option<(Duration, Duration)>,
    struck: Struck,
}

/// Strikes the node that leads most lanes.
async fn strike(
    fleet: &mut Fleet,
    lanes: &Lanes,
    led: &[usize],
    kind: Kind,
    blow: Blow,
) -> Result<Blown, String> {
    let victim = victim(led);
    lanes.forget();
    lanes.written(Instant::now(), PATIENCE).await?;
    let mut p99 = None;
    if blow == Blow::Disk {
        let from = Instant::now();
        tokio::time::sleep(SLOW).await;
        p99 = gap::p99(&lanes.moments().concat(), from);
    }
    let begun = Instant::now();
    let struck = blow.strike(fleet.process(victim))?;
    if blow == Blow::Term {
        ended(fleet.process(victim)).await?;
    }
    let at = Instant::now();
    lanes.written(at, PATIENCE).await?;
    let moments = lanes.moments();
    let p99 = match p99 {
        Some(before) => {
            let from = Instant::now();
            tokio::time::sleep(SLOW).await;
            gap::p99(&lanes.moments().concat(), from).map(|beside| (before, beside))
        }
        None => None,
    };
    let silence = |writes: &[gap::Acknowledged]| {
        gap::longest(writes, begun, at).ok_or_else(|| "a lane has no write before the kill".to_owned())
    };
    if kind == Kind::Etcd {
        // One group: as long as any lane is written, the group is.
        return Ok(Blown { gaps: vec![silence(&moments.concat())?], bystanders: None, p99, struck });
    }
    let (mut gaps, mut bystanders) = (Vec::new(), None);
    for (writes, leader) in moments.iter().zip(led) {
        let gap = silence(writes)?;
        if *leader == victim {
            gaps.push(gap);
        } else {
            bystanders = bystanders.max(Some(gap));
        }
    }
    Ok(Blown { gaps, bystanders, p99, struck })
}

/// Waits until a process that was asked to end has ended.
async fn ended(process: &mut Process) -> Result<(), String> {
    let asked = Instant::now();
    while process.check().is_ok() {
        if asked.elapsed() > PATIENCE {
            return Err(format!("{} does not end", process.name()));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

/// The node that leads most lanes.
fn victim(led: &[usize]) -> usize {
    let count = |node: usize| led.iter().filter(|leader| **leader == node).count();
    led.iter().copied().max_by_key(|node| (count(*node), std::cmp::Reverse(*node))).unwrap_or(0)
}

fn tell(kill: &Kill, kills: u32) {
    let gaps: Vec<String> = kill.gaps_ms.iter().map(|gap| format!("{gap:.0}")).collect();
    let others =
        kill.bystanders_ms.map(|gap| format!("; bystanders at most {gap:.0} ms")).unwrap_or_default();
    let p99 = kill
        .p99_ms
        .map(|(before, beside)| format!("; p99 {before:.1} ms before, {beside:.1} ms beside"))
        .unwrap_or_default();
    machine::say(&format!(
        "{} {} {}/{kills}: gaps {} ms{others}; back after {:.0} ms{p99}",
        kill.target,
        kill.signal,
        kill.kill,
        gaps.join(" "),
        kill.back_ms
    ));
}

fn summary(target: &'static str, blow: Blow, kills: &[Kill]) -> Option<Summary> {
    let longest = |kill: &Kill| {
        kill.gaps_ms.iter().copied().fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))))
    };
    Some(Summary {
        target,
        signal: blow.name(),
        kills: kills.len(),
        gap_ms: Spread::of(kills.iter().flat_map(|kill| kill.gaps_ms.iter().copied()))?,
        longest_gap_ms: Spread::of(kills.iter().filter_map(longest))?,
        bystanders_ms: Spread::of(kills.iter().filter_map(|kill| kill.bystanders_ms)).map(|it| it.max),
        p99_ms: Spread::of(kills.iter().filter_map(|kill| Some(kill.p99_ms?.0)))
            .zip(Spread::of(kills.iter().filter_map(|kill| Some(kill.p99_ms?.1)))),
    })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victim_leads_most_lanes() {
        assert_eq!(victim(&[0, 1, 1, 2, 1, 0]), 1);
        assert_eq!(victim(&[2, 2, 0, 0]), 0);
        assert_eq!(victim(&[2]), 2);
    }

    #[test]
    fn a_summary_knows_the_usual_gap_and_the_longest_of_each_kill() {
        let kill = |kill, gaps: &[f64], bystanders_ms| Kill {
            target: "flotilla",
            signal: "SIGKILL",
            kill,
            gaps_ms: gaps.to_vec(),
            bystanders_ms,
            back_ms: 1.0,
            p99_ms: None,
        };
        let kills = [
            kill(1, &[100.0, 200.0, 300.0], Some(12.0)),
            kill(2, &[150.0], Some(40.0)),
            kill(3, &[250.0, 900.0], None),
        ];
        let summary = summary("flotilla", Blow::Kill, &kills).unwrap();
        assert_eq!(summary.gap_ms, Spread { median: 225.0, min: 100.0, max: 900.0 });
        assert_eq!(summary.longest_gap_ms, Spread { median: 300.0, min: 150.0, max: 900.0 });
        assert_eq!(summary.bystanders_ms, Some(40.0));
        assert!(super::summary("flotilla", Blow::Kill, &[]).is_none());
    }
}
