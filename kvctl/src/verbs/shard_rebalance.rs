//! `kvctl shard rebalance`: replicas and leaders are spread evenly over the nodes.
//!
//! The fleet plans, and carries out each move by itself; this command has them begin, a few at a time. So Ctrl-C leaves those that have begun,
//! and the same command goes on later: it plans from what it finds. Where the difference is small it plans nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clap::Args;
use flotilla_proto::v1 as wire;
use flotilla_topology::{NodeId, ShardId};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::node_drain::{object, sentence};
use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::local::interrupt::Interrupts;

/// How many replicas move at once; those that others began count.
const MOVES_AT_ONCE_MAX: usize = 4;

/// How often it is asked what has ended.
const LOOK: Duration = Duration::from_millis(300);

/// Without an answer for so long nobody waits any more.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Arguments of `kvctl shard rebalance`.
#[derive(Debug, Args)]
pub struct ShardRebalanceArgs {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Has the plan made and carried out: replicas first, then leaders. What moves already comes to its end before: perhaps an earlier
/// such command began it.
///
/// # Errors
/// Refused (with the reason), interrupted, or nobody answers; or stdout fails.
pub async fn run(args: &ShardRebalanceArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    if args.dry_run {
        return show(&admin.plan_evening().await?, true, console);
    }
    let under_way: Vec<u64> = admin.listed_moves().await?.moves.iter().map(|it| it.r#move).collect();
    if !under_way.is_empty() {
        console.note(&match under_way.len() {
            1 => "a move is under way: it comes first".to_owned(),
            more => format!("{more} moves are under way: they come first"),
        });
        carry_out(&[], under_way, admin, console).await?;
    }
    let plan = admin.plan_evening().await?;
    if plan.moves.is_empty() {
        hand_over(&plan.hand_overs, admin).await?;
        return show(&plan, false, console);
    }
    carry_out(&plan.moves, Vec::new(), admin, console).await?;
    let then = admin.plan_evening().await?;
    hand_over(&then.hand_overs, admin).await?;
    let done = wire::PlanEveningResult { hand_overs: then.hand_overs, ..plan };
    show(&done, false, console)
}

fn show(plan: &wire::PlanEveningResult, dry_run: bool, console: &mut Console) -> Result<(), Failure> {
    if console.json_wanted() {
        return console.json(&document(plan, dry_run));
    }
    let lines = lines(plan);
    if lines.is_empty() {
        return console
            .line("nothing to do: replicas and leaders are spread evenly enough, as far as disks have room");
    }
    lines.iter().enumerate().try_for_each(|(at, line)| console.line(&format!("{}. {line}", at + 1)))?;
    if dry_run && !plan.moves.is_empty() {
        return console.line("then leaders, where they are uneven");
    }
    Ok(())
}

fn lines(plan: &wire::PlanEveningResult) -> Vec<String> {
    let hand_over = |it: &wire::PlannedHandOver| {
        format!("shard {}: node {} leads instead of node {}", it.shard, it.to_node, it.from_node)
    };
    plan.moves.iter().map(sentence).chain(plan.hand_overs.iter().map(hand_over)).collect()
}

fn document(plan: &wire::PlanEveningResult, dry_run: bool) -> Value {
    let hand_over =
        |it: &wire::PlannedHandOver| json!({ "shard": it.shard, "from": it.from_node, "to": it.to_node });
    json!({
        "dry_run": dry_run,
        "moves": plan.moves.iter().map(object).collect::<Vec<_>>(),
        "leaders": plan.hand_overs.iter().map(hand_over).collect::<Vec<_>>(),
    })
}

async fn hand_over(hand_overs: &[wire::PlannedHandOver], admin: &Admin) -> Result<(), Failure> {
    if hand_overs.is_empty() {
        return Ok(());
    }
    let map = admin.map().await?;
    for it in hand_overs {
        let Some(leader) = map.nodes.iter().find(|node| node.node == it.from_node) else { continue };
        admin.transfer_leader(ShardId(it.shard), NodeId(it.to_node), &leader.client_addr).await?;
    }
    Ok(())
}

/// Has the moves begin, a few at a time, and waits until all have ended, those too that have begun already.
async fn carry_out(
    moves: &[wire::PlannedMove],
    mut begun: Vec<u64>,
    admin: &Admin,
    console: &mut Console,
) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen_to_ctrl_c()?;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = moves.iter().peekable();
    let mut heard = Instant::now();
    loop {
        let asked = async {
            look.tick().await;
            admin.listed_moves().await
        };
        let answer = tokio::select! {
            answer = asked => answer,
            () = interrupts.next() => {
                console.note("what moves goes on (kvctl move list); the rest is begun by the same command");
                return Err(Failure::Interrupted);
            }
        };
        let listed = match answer {
            Ok(listed) => listed.moves,
            Err(failure) if heard.elapsed() > SILENCE_MAX => {
                return Err(Failure::Unknown(format!("{failure}; {} moves have begun", begun.len())));
            }
            Err(_) => continue,
        };
        heard = Instant::now();
        let is_under_way = |id: &u64| listed.iter().any(|it| it.r#move == *id);
        if open.peek().is_none() && !begun.iter().any(is_under_way) {
            return Ok(());
        }
        let (mut room, mut moving) = (MOVES_AT_ONCE_MAX.saturating_sub(listed.len()), BTreeSet::new());
        moving.extend(listed.iter().map(|it| it.shard));
        // Another move of the same shard waits for the one before, and what comes later for it: in this order each makes sense.
        while let Some(it) = open.peek().filter(|it| room > 0 && !moving.contains(&it.shard)) {
            let (from, to) = (NodeId(it.from_node), NodeId(it.to_node));
            let started = match admin.start_move(ShardId(it.shard), from, to, false).await {
                Ok(started) => started,
                // What moves may be what is in its way: a disk has more room when that has come to rest.
                Err(Failure::Refused(_)) if !moving.is_empty() => break,
                Err(failure) => return Err(failure),
            };
            begun.extend(started.r#move);
            console.note(&sentence(it));
            room -= 1;
            moving.insert(it.shard);
            open.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_told_move_by_move_and_leader_by_leader() {
        let it = wire::PlannedMove { shard: 3, from_node: 1, to_node: 4, bytes: 10, leads: false };
        let over = wire::PlannedHandOver { shard: 2, from_node: 1, to_node: 5 };
        let plan = wire::PlanEveningResult { moves: vec![it], hand_overs: vec![over], epoch: 7 };
        let expected =
            ["shard 3: from node 1 to node 4, about 10 B", "shard 2: node 5 leads instead of node 1"];
        assert_eq!(lines(&plan), expected);
        assert_eq!(document(&plan, true)["leaders"][0], json!({ "shard": 2, "from": 1, "to": 5 }));
    }
}
