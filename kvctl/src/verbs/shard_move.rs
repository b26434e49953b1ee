//! `kvctl shard move ID --from N --to M`: a replica goes to another node.
//!
//! The fleet carries the move out by itself; this command only asks for it and looks on. So Ctrl-C ends the looking and not the move.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::Args;
use flotilla_proto::v1 as wire;
use flotilla_topology::{NodeId, ShardId};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::local::interrupt::Interrupts;
use crate::progress::{CUT, ERASE, WRAP, bar, clock, size};
use crate::verbs::move_list;

/// How often it is asked how far the move is.
const LOOK: Duration = Duration::from_millis(200);

/// Without an answer for so long nobody waits any more: the meta shard may be down, and the move rests.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The rate is that of so much time.
const RATE_OF: Duration = Duration::from_secs(5);

/// Arguments of `kvctl shard move`.
#[derive(Debug, Args)]
pub struct ShardMoveArgs {
    /// The shard's id, as `kvctl shard list` prints it; 0 is the meta shard
    #[arg(value_name = "ID")]
    pub id: u64,
    /// The node that gives its replica up
    #[arg(long, value_name = "NODE")]
    pub from: u64,
    /// The node that gets one; it must have none of this shard
    #[arg(long, value_name = "NODE")]
    pub to: u64,
    /// Only say what would be done, and whether it could begin
    #[arg(long)]
    pub dry_run: bool,
    /// Return as soon as the move has begun
    #[arg(long)]
    pub detach: bool,
}

/// Asks for the move, and waits for its end.
///
/// # Errors
/// Refused (with the reason), cancelled by somebody, or nobody answers; or stdout fails.
pub async fn run(args: &ShardMoveArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let (shard, from, to) = (ShardId(args.id), NodeId(args.from), NodeId(args.to));
    let begun = admin.start_move(shard, from, to, args.dry_run).await?;
    let Some(id) = begun.r#move else {
        return plan(args, &begun, console);
    };
    if args.detach {
        if console.json_wanted() {
            return console.json(&document(args, &begun, id, "started"));
        }
        return console.line(&format!("move {id} has begun; look on with: kvctl move list"));
    }
    watch(args, id, admin, console).await?;
    let names = |map: &wire::ClusterMap, replica| {
        let replicas = map.shards.iter().filter(|it| it.shard == args.id).flat_map(|it| &it.replicas);
        replicas.into_iter().any(|it| it.replica == replica)
    };
    let map = admin.stored_map().await?;
    if names(&map, begun.arriving) && !names(&map, begun.leaving) {
        if console.json_wanted() {
            return console.json(&document(args, &begun, id, "done"));
        }
        return console
            .line(&format!("shard {}: moved from node {} to node {}", args.id, args.from, args.to));
    }
    if console.json_wanted() {
        console.json(&document(args, &begun, id, "cancelled"))?;
    }
    Err(Failure::Refused(format!("move {id} was cancelled: shard {} is where it was", args.id)))
}

/// What would be done.
fn plan(args: &ShardMoveArgs, begun: &wire::StartMoveResult, console: &mut Console) -> Result<(), Failure> {
    let steps = steps(args, begun);
    if console.json_wanted() {
        return console.json(&json!({
            "dry_run": true,
            "shard": args.id,
            "from": args.from,
            "to": args.to,
            "bytes": begun.bytes,
            "steps": steps,
        }));
    }
    steps.iter().enumerate().try_for_each(|(at, step)| console.line(&format!("{}. {step}", at + 1)))
}

fn steps(args: &ShardMoveArgs, begun: &wire::StartMoveResult) -> Vec<String> {
    let wire::StartMoveResult { leaving, arriving, bytes, leads, .. } = begun;
    let ShardMoveArgs { id, from, to, .. } = args;
    let mut steps = vec![
        format!("record replica {arriving} of shard {id} on node {to}"),
        format!("node {to} creates it; it gets the log, or a snapshot of about {}", size(*bytes)),
    ];
    if *leads {
        steps.push(format!("node {from} leads the shard: leadership moves to another voter"));
    }
    steps.push(format!(
        "replica {arriving} votes in the place of replica {leaving}, by a joint configuration"
    ));
    steps.push(format!("node {from} drops replica {leaving} and its data"));
    steps
}

fn document(args: &ShardMoveArgs, begun: &wire::StartMoveResult, id: u64, state: &str) -> Value {
    json!({
        "move": id,
        "shard": args.id,
        "from": args.from,
        "to": args.to,
        "leaving": begun.leaving,
        "arriving": begun.arriving,
        "bytes": begun.bytes,
        "state": state,
    })
}

/// Returns when no such move is under way any more.
async fn watch(args: &ShardMoveArgs, id: u64, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen_to_ctrl_c()?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = Line::new();
    let mut heard = Instant::now();
    loop {
        let asked = async {
            look.tick().await;
            admin.moves().await
        };
        let answer = tokio::select! {
            answer = asked => answer,
            () = interrupts.next() => {
                line.clear();
                console.note(&format!(
                    "move {id} goes on without this command; look on with `kvctl move list`, undo it with `kvctl move cancel {id}`"
                ));
                return Err(Failure::Interrupted);
            }
        };
        match answer {
            Ok(moves) => {
                heard = Instant::now();
                let Some(it) = moves.iter().find(|it| it.r#move == id) else {
                    line.clear();
                    return Ok(());
                };
                line.show(args, it, console);
            }
            Err(failure) if heard.elapsed() > SILENCE_MAX => {
                line.clear();
                return Err(Failure::Unknown(format!(
                    "{failure}; move {id} has begun, its end is not known"
                )));
            }
            Err(_) => {}
        }
    }
}

/// What is shown meanwhile: on a terminal one line that is drawn again and again, else a line for each new phase.
struct Line {
    terminal: bool,
    said: Option<wire::MovePhase>,
    sent: VecDeque<(Instant, u64)>,
}

impl Line {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), said: None, sent: VecDeque::new() }
    }

    fn show(&mut self, args: &ShardMoveArgs, it: &wire::Move, console: &mut Console) {
        let now = Instant::now();
        self.sent.push_back((now, it.bytes_sent));
        while self.sent.len() > 2 && now - self.sent[0].0 > RATE_OF {
            self.sent.pop_front();
        }
        if self.terminal {
            // A terminal that cannot be written to is no reason to stop.
            let _ = write!(io::stderr(), "{ERASE}{CUT}{}{WRAP}", picture(args, it, rate(&self.sent)));
        } else if self.said != Some(it.phase()) {
            self.said = Some(it.phase());
            console.note(&format!("move {}: {}", it.r#move, move_list::phase(it)));
        }
    }

    fn clear(&mut self) {
        if self.terminal {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}

/// Bytes each second. Nothing: none were sent lately, or another stream began.
fn rate(sent: &VecDeque<(Instant, u64)>) -> Option<f64> {
    let (begin, first) = sent.front()?;
    let (end, last) = sent.back()?;
    let seconds = (*end - *begin).as_secs_f64();
    let more = last.checked_sub(*first).filter(|more| *more > 0)?;
    (seconds > 0.0).then(|| more as f64 / seconds)
}

fn picture(args: &ShardMoveArgs, it: &wire::Move, rate: Option<f64>) -> String {
    let mut parts = vec![
        format!("shard {}: node {} to {}", args.id, args.from, args.to),
        move_list::phase(it).to_string(),
    ];
    if it.bytes_sent > 0 {
        // Keys and values were counted, and a snapshot has somewhat more; and the leader's own count may be a flush behind.
        let part = (it.bytes_sent as f64 / it.bytes_total.max(1) as f64).min(1.0);
        parts.push(format!("{}  {:3.0}%", bar(part), (part * 100.0).floor()));
        parts.push(format!("{} of about {}", size(it.bytes_sent), size(it.bytes_total)));
        if let Some(rate) = rate {
            parts.push(format!("{}/s", size(rate as u64)));
            let left = it.bytes_total.saturating_sub(it.bytes_sent) as f64 / rate;
            parts.push(format!("ETA {}", clock(left.ceil() as u64)));
        }
    } else if it.lag > 0 {
        parts.push(format!("{} entries behind", it.lag));
    }
    if !it.waiting.is_empty() {
        parts.push(format!("({})", it.waiting));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ShardMoveArgs {
        ShardMoveArgs { id: 3, from: 1, to: 4, dry_run: false, detach: false }
    }

    #[test]
    fn the_line_tells_what_is_known() {
        let mut it =
            wire::Move { r#move: 7, bytes_sent: 22 << 20, bytes_total: 50 << 20, ..wire::Move::default() };
        it.set_phase(wire::MovePhase::Copying);
        let expected = "shard 3: node 1 to 4  copying  [==========>             ]   44%  22.0 MiB of about 50.0 MiB  2.0 MiB/s  ETA 0:14";
        assert_eq!(picture(&args(), &it, Some(f64::from(2 << 20))), expected);
        let unknown =
            "shard 3: node 1 to 4  copying  [==========>             ]   44%  22.0 MiB of about 50.0 MiB";
        assert_eq!(picture(&args(), &it, None), unknown);
        let more = picture(&args(), &wire::Move { bytes_sent: 51 << 20, ..it.clone() }, None);
        assert!(more.contains("[========================]  100%  51.0 MiB of about 50.0 MiB"), "{more}");
        let waiting = wire::Move { bytes_sent: 0, lag: 12, waiting: "it is not heard".into(), ..it };
        assert_eq!(
            picture(&args(), &waiting, None),
            "shard 3: node 1 to 4  copying  12 entries behind  (it is not heard)"
        );
    }

    #[test]
    fn the_rate_is_that_of_one_stream() {
        let begin = Instant::now();
        let at = |second, bytes| (begin + Duration::from_secs(second), bytes);
        assert_eq!(rate(&VecDeque::from([at(0, 100), at(2, 300)])), Some(100.0));
        assert_eq!(rate(&VecDeque::from([at(0, 300), at(2, 100)])), None, "a second stream began");
        assert_eq!(rate(&VecDeque::from([at(0, 300)])), None);
    }

    #[test]
    fn a_dry_run_names_every_step() {
        let begun = wire::StartMoveResult {
            leaving: 1,
            arriving: 4,
            bytes: 5 << 20,
            leads: true,
            ..Default::default()
        };
        let expected = [
            "record replica 4 of shard 3 on node 4",
            "node 4 creates it; it gets the log, or a snapshot of about 5.0 MiB",
            "node 1 leads the shard: leadership moves to another voter",
            "replica 4 votes in the place of replica 1, by a joint configuration",
            "node 1 drops replica 1 and its data",
        ];
        assert_eq!(steps(&args(), &begun), expected);
        assert_eq!(steps(&args(), &wire::StartMoveResult { leads: false, ..begun }).len(), 4);
    }
}
