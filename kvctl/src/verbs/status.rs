//! `kvctl status`: the fleet at a glance, and what is wrong with it.

use clap::Args;
use flotilla_daemon::table::{Align, Table, or_dash};
use flotilla_proto::v1 as wire;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::verbs::{move_list, node_list, shard_list};
use crate::view::{Fleet, Node, Problem, Shard, problems};

/// More shards than these are not all listed: only those that have no leader, lag, or miss a replica.
const SHARDS_LISTED_MAX: usize = 20;

/// Arguments of `kvctl status`.
#[derive(Debug, Args)]
pub struct StatusArgs {}

/// Asks all nodes and prints what it comes to.
///
/// # Errors
/// No endpoint answers, or stdout fails.
pub async fn run(_: &StatusArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let fleet = admin.fleet().await?;
    // Without a leader of the meta shard nobody knows; that is said among the problems.
    let listed = admin.listed_moves().await.unwrap_or_default();
    let (moves, problems) = (&listed.moves, problems(&fleet, &listed));
    if console.json_wanted() {
        return console.json(&document(&fleet, moves, &problems));
    }
    console.text(&page(&fleet, moves, &problems))
}

/// Head, nodes, shards, problems, moves.
fn page(fleet: &Fleet, moves: &[wire::Move], problems: &[Problem]) -> String {
    let mut page = format!("cluster {:032x}, epoch {}\n\n{}\n", fleet.cluster, fleet.epoch, nodes(fleet));
    let notable: Vec<&Shard> = fleet.shards.iter().filter(|shard| is_notable(shard)).collect();
    if fleet.shards.len() <= SHARDS_LISTED_MAX {
        page.push_str(&shard_list::table(&fleet.shards));
    } else {
        let shards = fleet.shards.len();
        page.push_str(&format!("{shards} shards, {} of them worth a look\n", notable.len()));
        if !notable.is_empty() {
            page.push_str(&shard_list::table(notable.into_iter().take(SHARDS_LISTED_MAX)));
        }
    }
    page.push('\n');
    if problems.iter().all(|problem| !problem.is_grave) {
        page.push_str("all is well\n");
    }
    for problem in problems {
        let mark = if problem.is_grave { "! " } else { "hint: " };
        page.push_str(&format!("{mark}{}\n{:width$}{}\n", problem.what, "", problem.fix, width = mark.len()));
    }
    if !moves.is_empty() {
        page.push_str(&format!("\n{}", move_list::table(moves)));
    }
    page
}

/// Whether an operator of many shards wants to see this one.
fn is_notable(shard: &Shard) -> bool {
    shard.leader.is_none()
        || shard.lag_max() > Some(0)
        || shard.replicas.iter().any(|replica| replica.seen.is_none())
}

fn nodes(fleet: &Fleet) -> String {
    let mut table = Table::new(&[
        ("NODE", Align::Right),
        ("STATE", Align::Left),
        ("UPTIME", Align::Right),
        ("REPLICAS", Align::Right),
        ("LEADERS", Align::Right),
        ("LAG", Align::Right),
        ("DISK", Align::Right),
        ("CLIENT", Align::Left),
    ]);
    for node in &fleet.nodes {
        let up = node.answer.as_ref().ok();
        table.row(vec![
            node.id.0.to_string(),
            node_list::condition(fleet, node),
            or_dash(up.map(|up| uptime(up.uptime_ms))),
            or_dash(up.map(|up| up.replicas)),
            or_dash(up.map(|up| up.leaders)),
            or_dash(lag(fleet, node)),
            or_dash(up.and_then(|up| up.room).and_then(used)),
            node.client_addr.clone(),
        ]);
    }
    table.render()
}

/// The greatest known lag of a node's replicas, in entries.
fn lag(fleet: &Fleet, node: &Node) -> Option<u64> {
    let replicas = fleet.shards.iter().flat_map(|shard| &shard.replicas);
    replicas.filter(|replica| replica.node == node.id).filter_map(|replica| replica.lag).max()
}

/// How much of a disk is used: `75%`, rounded up.
fn used(room: wire::DiskRoom) -> Option<String> {
    let used = u128::from(room.total_bytes.saturating_sub(room.free_bytes)) * 100;
    let total = u128::from(room.total_bytes);
    (total > 0).then(|| format!("{}%", used.div_ceil(total)))
}

/// The two greatest units: `2d 3h`, `1h 5m`, `1m 5s`, `5s`.
fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

fn document(fleet: &Fleet, moves: &[wire::Move], problems: &[Problem]) -> Value {
    json!({
        "cluster": format!("{:032x}", fleet.cluster),
        "epoch": fleet.epoch.0,
        "nodes": fleet.nodes.iter().map(node_list::object).collect::<Vec<_>>(),
        "shards": fleet.shards.iter().map(shard_list::object).collect::<Vec<_>>(),
        "moves": moves.iter().map(move_list::object).collect::<Vec<_>>(),
        "problems": problems.iter().map(|at| json!({ "grave": at.is_grave, "what": at.what, "fix": at.fix })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};
    use flotilla_topology::NodeId;

    #[test]
    fn a_healthy_fleet_is_well() {
        let fleet = Fleet::of(&map(), three_nodes());
        let expected = "\
cluster 0123456789abcdeffedcba9876543210, epoch 5

NODE  STATE  UPTIME  REPLICAS  LEADERS  LAG  DISK  CLIENT
   1  up      1m 5s         2        1    0   25%  127.0.0.1:7501
   2  up      1m 5s         2        1    0   25%  127.0.0.1:7502
   3  up      1m 5s         2        0    7   25%  127.0.0.1:7503

SHARD  LEADER  TERM  SLOTS  KEYS  BYTES  LAG  NODES
    0       1     2      0     1    700    0  1 2 3
    1       2     4  16384  1234   5.0M    7  1 2 3

all is well
";
        assert_eq!(page(&fleet, &[], &problems(&fleet, &wire::ListMovesResult::default())), expected);
    }

    #[test]
    fn what_is_wrong_stands_below_with_what_to_do() {
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        let fleet = Fleet::of(&map(), answers);
        let page = page(&fleet, &[], &problems(&fleet, &wire::ListMovesResult::default()));
        let expected = "\n! node 3 does not answer at 127.0.0.1:7503: connection refused\n  \
                        start it again, with its data directory: kvnode --id 3 …; if it is lost for good: kvctl node remove 3 --force\n";
        assert!(page.ends_with(expected), "{page}");
        assert!(
            page.contains("\n   3  down        -         -        -    7     -  127.0.0.1:7503\n"),
            "{page}"
        );
        assert_eq!(
            document(&fleet, &[], &problems(&fleet, &wire::ListMovesResult::default()))["problems"][0]["fix"],
            problems(&fleet, &wire::ListMovesResult::default())[0].fix.as_str()
        );
    }

    #[test]
    fn what_moves_stands_at_the_end_with_how_far_it_is() {
        let fleet = Fleet::of(&map(), three_nodes());
        let mut it = wire::Move { r#move: 7, shard: 1, from_node: 1, to_node: 3, ..wire::Move::default() };
        it.set_phase(wire::MovePhase::Copying);
        (it.bytes_sent, it.bytes_total) = (22 << 20, 50 << 20);
        let page = page(&fleet, std::slice::from_ref(&it), &[]);
        let last = page.lines().last().unwrap();
        for what in ["7", "1", "3", "copying", "22.0 MiB of 50.0 MiB"] {
            assert!(last.contains(what), "{page}");
        }
        let document = document(&fleet, &[it], &[]);
        assert_eq!(document["moves"][0]["phase"], "copying");
        assert_eq!(document["moves"][0]["bytes_sent"], 22 << 20);
    }

    #[test]
    fn what_could_be_better_is_a_hint_and_all_is_well() {
        let hint = Problem { is_grave: false, what: "a is uneven".to_string(), fix: "even it".to_string() };
        let page = page(&Fleet::of(&map(), three_nodes()), &[], &[hint]);
        assert!(page.ends_with("\nall is well\nhint: a is uneven\n      even it\n"), "{page}");
    }

    #[test]
    fn of_many_shards_only_the_notable_are_listed() {
        let mut map = map();
        for shard in 2..=40 {
            map.shards.push(flotilla_proto::v1::Shard { shard, ..map.shards[0].clone() });
        }
        let fleet = Fleet::of(&map, three_nodes());
        let page = page(&fleet, &[], &[]);
        // Shard 1 lags; shards 2 to 40 were heard of by nobody.
        assert!(page.contains("\n41 shards, 40 of them worth a look\nSHARD"), "{page}");
        assert_eq!(page.lines().filter(|line| line.ends_with(")")).count(), SHARDS_LISTED_MAX - 1);
    }

    #[test]
    fn uptimes_are_short() {
        let cases = [(999, "0s"), (65_000, "1m 5s"), (3_900_000, "1h 5m"), (183_600_000, "2d 3h")];
        for (ms, text) in cases {
            assert_eq!(uptime(ms), text);
        }
    }
}
