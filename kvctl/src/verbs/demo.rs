//! `kvctl demo`: leaders die, writes go on, nothing is lost.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::cli::Common;
use crate::console::Console;
use crate::demo::gap::median;
use crate::demo::keys::{self, Tag};
use crate::demo::ledger::{Counts, Verdict};
use crate::demo::load::{Running, Writers};
use crate::demo::round::{self, Round};
use crate::encoding::escape;
use crate::failure::Failure;
use crate::local::directory::{Directory, Wanted};
use crate::local::fleet::LocalFleet;
use crate::local::interrupt::Interrupts;
use crate::local::ports;
use crate::local::shape::Shape;
use crate::session;

/// How long the fleet may take to elect all leaders at first.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// A write may take this long: it must outlive a failover by far.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Arguments of `kvctl demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How many leaders to kill, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=9))]
    pub nodes: u16,
    /// How many shards, besides the meta shard
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub shards: u32,
    /// Keep the data and the logs (they are also kept when something goes wrong)
    #[arg(long)]
    pub keep: bool,
}

/// What a whole demo came to.
struct Report {
    rounds: Vec<Round>,
    counts: Counts,
    verdict: Verdict,
}

/// Runs it on free ports in a directory of its own.
///
/// # Errors
/// Something was lost or did not happen in time; then the directory stays.
pub async fn run(args: &DemoArgs, common: &Common, console: &mut Console) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let seed = std::process::id();
    let shape =
        ports::find(Shape { nodes: args.nodes, shards: args.shards, replicas: 3, base_port: 0 }, seed)?;
    let folder = tempfile::Builder::new().prefix("flotilla-demo-").tempdir();
    let mut folder =
        folder.map_err(|error| Failure::Internal(format!("cannot make a directory: {error}")))?;
    let wanted = Wanted {
        nodes: Some(shape.nodes),
        shards: Some(shape.shards),
        replicas: Some(shape.replicas),
        base_port: Some(shape.base_port),
    };
    let mut fleet = LocalFleet::start(Directory::open(folder.path(), wanted)?, false)?;
    console.note(&format!(
        "starting {} nodes with {} shards in {}",
        shape.nodes,
        shape.shards,
        folder.path().display()
    ));
    let shared = fleet.common(common);
    let report = tokio::select! {
        report = play(args, &shared, &mut fleet, console) => report,
        () = interrupts.next() => Err(Failure::Interrupted),
    };
    fleet.kill().await;
    let ended = report.and_then(|report| conclude(&report, console));
    let wrong = !matches!(ended, Ok(()) | Err(Failure::Interrupted | Failure::ClosedPipe));
    if args.keep || wrong {
        folder.disable_cleanup(true);
        console.note(&format!("data and logs stay in {}", folder.path().display()));
    }
    ended
}

/// Writes, kills, and reads everything back.
async fn play(
    args: &DemoArgs,
    common: &Common,
    fleet: &mut LocalFleet,
    console: &mut Console,
) -> Result<Report, Failure> {
    let admin = Admin::new(common);
    fleet.ready(&admin, READY_PATIENCE).await?;
    let client = session::straight(common, WRITE_DEADLINE).await?;
    let tags = keys::tags(&admin.map().await?);
    let writers = Writers::new(client);
    let load = Running::load(&writers, tags.clone());
    let rounds = kill_leaders(args, fleet, &admin, &writers, &tags, console).await;
    load.stop().await;
    let rounds = rounds?;
    let counts = writers.ledger().counts();
    console.note(&format!("reading {} acknowledged writes back", counts.acknowledged));
    let verdict = writers.ledger().check(writers.client()).await?;
    Ok(Report { rounds, counts, verdict })
}

/// One round after the other, each on the next shard.
async fn kill_leaders(
    args: &DemoArgs,
    fleet: &mut LocalFleet,
    admin: &Admin,
    writers: &std::sync::Arc<Writers>,
    tags: &[Tag],
    console: &mut Console,
) -> Result<Vec<Round>, Failure> {
    if !console.json_wanted() {
        console.line(HEAD)?;
    }
    let mut rounds = Vec::new();
    for (number, tag) in (1..=args.rounds).zip(tags.iter().cycle()) {
        let round = round::run(fleet, admin, writers, tag).await?;
        if !console.json_wanted() {
            console.line(&row(number, &round))?;
            console.flush()?;
        }
        rounds.push(round);
    }
    Ok(rounds)
}

/// Rows appear one by one, so their widths are fixed.
const HEAD: &str = "RUN  SHARD  KILLED       NEW LEADER   GAP ms  BACK ms";

fn row(number: u32, round: &Round) -> String {
    let leader = |(node, term): (flotilla_topology::NodeId, u64)| format!("node {}@{term}", node.0);
    format!(
        "{number:>3}  {:>5}  {:<11}  {:<11}  {:>6}  {:>7}",
        round.shard.0,
        leader(round.old),
        leader(round.new),
        round.gap.as_millis(),
        round.back.as_millis()
    )
}

/// The last lines, and whether all is well.
fn conclude(report: &Report, console: &mut Console) -> Result<(), Failure> {
    if console.json_wanted() {
        console.json(&document(report))?;
    } else {
        console.text(&summary(report))?;
    }
    console.flush()?;
    let Verdict { lost, named, .. } = &report.verdict;
    if *lost == 0 {
        return Ok(());
    }
    let named = named.iter().map(|key| escape(key)).collect::<Vec<_>>().join(", ");
    Err(Failure::Internal(format!("{lost} acknowledged writes are lost: {named}")))
}

fn gaps(report: &Report) -> Vec<Duration> {
    report.rounds.iter().map(|round| round.gap).collect()
}

fn summary(report: &Report) -> String {
    let gaps = gaps(report);
    let ms = |gap: Option<Duration>| gap.unwrap_or_default().as_millis();
    let (least, most) = (gaps.iter().min().copied(), gaps.iter().max().copied());
    let Counts { acknowledged, refused, unknown } = report.counts;
    let Verdict { read, lost, .. } = report.verdict;
    format!(
        "\ngap: median {} ms, least {} ms, greatest {} ms (node@term; the longest time without an acknowledged write)\n\
         writes: {acknowledged} acknowledged, {refused} refused, {unknown} unknown\n\
         read back: {read}, lost: {lost}\n",
        ms(median(&gaps)),
        ms(least),
        ms(most),
    )
}

fn document(report: &Report) -> Value {
    let rounds = report.rounds.iter().map(|round| {
        json!({
            "shard": round.shard.0,
            "old_leader": round.old.0.0,
            "old_term": round.old.1,
            "new_leader": round.new.0.0,
            "new_term": round.new.1,
            "gap_ms": round.gap.as_millis() as u64,
            "back_ms": round.back.as_millis() as u64,
        })
    });
    json!({
        "rounds": rounds.collect::<Vec<_>>(),
        "gap_median_ms": median(&gaps(report)).map(|gap| gap.as_millis() as u64),
        "acknowledged": report.counts.acknowledged,
        "refused": report.counts.refused,
        "unknown": report.counts.unknown,
        "read": report.verdict.read,
        "lost": report.verdict.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Format;
    use flotilla_topology::{NodeId, ShardId};

    fn report(lost: u64) -> Report {
        let round = |gap| Round {
            shard: ShardId(3),
            old: (NodeId(1), 2),
            new: (NodeId(2), 3),
            gap: Duration::from_millis(gap),
            back: Duration::from_millis(900),
        };
        let named = (0..lost).map(|_| bytes::Bytes::from("k\n")).collect();
        Report {
            rounds: vec![round(210), round(190)],
            counts: Counts { acknowledged: 1000, refused: 0, unknown: 2 },
            verdict: Verdict { read: 1000, lost, named },
        }
    }

    #[test]
    fn rows_stand_under_their_head() {
        assert_eq!(HEAD, "RUN  SHARD  KILLED       NEW LEADER   GAP ms  BACK ms");
        let row = row(1, &report(0).rounds[0]);
        assert_eq!(row, "  1      3  node 1@2     node 2@3        210      900");
        assert_eq!(row.len(), HEAD.len());
    }

    #[test]
    fn a_demo_without_loss_ends_well() {
        let expected = "\ngap: median 200 ms, least 190 ms, greatest 210 ms \
                        (node@term; the longest time without an acknowledged write)\n\
                        writes: 1000 acknowledged, 0 refused, 2 unknown\nread back: 1000, lost: 0\n";
        assert_eq!(summary(&report(0)), expected);
        let mut console =
            Console::new(Format::Json, false, Box::new(std::io::sink()), Box::new(std::io::sink()));
        assert_eq!(conclude(&report(0), &mut console), Ok(()));
        assert_eq!(document(&report(0))["gap_median_ms"], 200);
    }

    #[test]
    fn a_single_lost_write_fails_it_and_is_named() {
        let mut console =
            Console::new(Format::Table, false, Box::new(std::io::sink()), Box::new(std::io::sink()));
        let failure = conclude(&report(1), &mut console).unwrap_err();
        assert_eq!(failure, Failure::Internal("1 acknowledged writes are lost: k\\n".to_string()));
        assert_eq!(failure.code(), 5);
    }
}
