//! `kvctl move list`: the moves that are under way.

use clap::Args;
use flotilla_daemon::table::{Align, Table};
use flotilla_proto::v1 as wire;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::progress::size;

/// Arguments of `kvctl move list`.
#[derive(Debug, Args)]
pub struct MoveListArgs {}

/// Asks the leader of the meta shard, and prints what it knows.
///
/// # Errors
/// Nobody answers, or stdout fails.
pub async fn run(_: &MoveListArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let moves = admin.moves().await?;
    if console.json_wanted() {
        return console.json(&json!({ "moves": moves.iter().map(object).collect::<Vec<_>>() }));
    }
    if moves.is_empty() {
        return console.line("nothing moves");
    }
    console.text(&table(&moves))
}

/// Also of `kvctl status`.
pub fn table(moves: &[wire::Move]) -> String {
    let mut table = Table::new(&[
        ("MOVE", Align::Right),
        ("SHARD", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("PHASE", Align::Left),
        ("SENT", Align::Right),
        ("LAG", Align::Right),
        ("WAITS FOR", Align::Left),
    ]);
    for it in moves {
        let sent = match (it.bytes_sent, it.bytes_total) {
            (0, _) => "-".to_string(),
            (sent, total) => format!("{} of {}", size(sent), size(total)),
        };
        table.row(vec![
            it.r#move.to_string(),
            it.shard.to_string(),
            it.from_node.to_string(),
            it.to_node.to_string(),
            phase(it).to_string(),
            sent,
            it.lag.to_string(),
            if it.waiting.is_empty() { "-".to_string() } else { it.waiting.clone() },
        ]);
    }
    table.render()
}

/// One move, also as `kvctl status` shows it.
pub fn object(it: &wire::Move) -> Value {
    json!({
        "move": it.r#move,
        "shard": it.shard,
        "from": it.from_node,
        "to": it.to_node,
        "leaving": it.leaving,
        "arriving": it.arriving,
        "cancelled": it.cancelled,
        "phase": phase(it),
        "waiting": it.waiting,
        "bytes_sent": it.bytes_sent,
        "bytes_total": it.bytes_total,
        "lag": it.lag,
    })
}

/// How far it is, in a word.
pub fn phase(it: &wire::Move) -> &'static str {
    match it.phase() {
        wire::MovePhase::Unobserved => "begun",
        wire::MovePhase::Creating => "creating",
        wire::MovePhase::Copying => "copying",
        wire::MovePhase::HandingOver => "handing over",
        wire::MovePhase::Joint => "joint",
        wire::MovePhase::Settling => "settling",
        wire::MovePhase::Undoing => "undoing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_how_far_each_is() {
        let mut it = wire::Move {
            r#move: 7,
            shard: 3,
            from_node: 1,
            to_node: 4,
            bytes_sent: 22 << 20,
            bytes_total: 50 << 20,
            lag: 9,
            ..wire::Move::default()
        };
        it.set_phase(wire::MovePhase::Copying);
        let other =
            wire::Move { r#move: 12, bytes_sent: 0, waiting: "node 4 is not heard".into(), ..it.clone() };
        let expected = "\
MOVE  SHARD  FROM  TO  PHASE                    SENT  LAG  WAITS FOR
   7      3     1   4  copying  22.0 MiB of 50.0 MiB    9  -
  12      3     1   4  copying                     -    9  node 4 is not heard
";
        assert_eq!(table(&[it.clone(), other]), expected);
        assert_eq!(object(&it)["phase"], "copying");
    }
}
