//! `kvctl ring show`: which share of the slots each shard owns, and how leaders and replicas are spread over the nodes.
//!
//! A terminal gets a picture as wide as it is. A file or a pipe gets 80 columns without bars: there is nobody to see them.

use std::io::{self, IsTerminal};

use clap::Args;
use flotilla_daemon::table::{Align, Table, or_dash};
use flotilla_topology::{NodeId, SLOTS, ShardId};
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::verbs::node_list;
use crate::view::{Fleet, Shard};

/// The width of what is no terminal, and of a terminal that does not say how wide it is, in columns.
const PLAIN_COLUMNS: usize = 80;

/// A longer bar says no more, in columns.
const BAR_COLUMNS_MAX: usize = 48;

/// A row of the ring, at most, in columns.
const ROW_COLUMNS_MAX: usize = 128;

/// The ring is cut into so many pieces where the width allows for it: each is one character.
const PIECES: usize = 256;

/// What stands for a shard, by its id. Of more shards the ring is not drawn: a character could not name one.
const GLYPHS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Arguments of `kvctl ring show`.
#[derive(Debug, Args)]
pub struct RingShowArgs {}

/// On what is drawn.
#[derive(Clone, Copy, Debug)]
struct Canvas {
    columns: usize,
    bars: bool,
}

/// Asks all nodes and draws what they say.
///
/// # Errors
/// No endpoint answers, or stdout fails.
pub async fn run(_: &RingShowArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let fleet = admin.fleet().await?;
    if console.json_wanted() {
        console.json(&document(&fleet))
    } else {
        console.text(&page(&fleet, canvas()))
    }
}

fn canvas() -> Canvas {
    if !io::stdout().is_terminal() {
        return Canvas { columns: PLAIN_COLUMNS, bars: false };
    }
    let size = rustyline::DefaultEditor::new().ok().and_then(|mut editor| editor.dimensions());
    let columns = size.map_or(PLAIN_COLUMNS, |(columns, _)| usize::from(columns));
    Canvas { columns: if columns == 0 { PLAIN_COLUMNS } else { columns }, bars: true }
}

fn page(fleet: &Fleet, canvas: Canvas) -> String {
    let shards = fleet.shards.iter().filter(|shard| shard.id != ShardId::META).count();
    let mut page = format!("ring of {SLOTS} slots over {shards} shards, epoch {}\n\n", fleet.epoch);
    if let Some(picture) = picture(fleet, canvas.columns) {
        page.push_str(&picture);
        page.push('\n');
    }
    page.push_str(&with_bars(canvas, &|bar| shards_table(fleet, bar)));
    page.push('\n');
    page.push_str(&with_bars(canvas, &|bar| nodes_table(fleet, bar)));
    page
}

/// The ring from slot 0 on, row by row. Nothing: there are more shards than characters.
fn picture(fleet: &Fleet, columns: usize) -> Option<String> {
    let greatest = fleet.shards.iter().map(|shard| shard.id.0).max()?;
    if greatest as usize >= GLYPHS.len() || columns == 0 {
        return None;
    }
    let row = 1 << columns.min(ROW_COLUMNS_MAX).ilog2();
    let pieces = PIECES.max(row);
    let slots = usize::from(SLOTS) / pieces;
    let glyphs: String = (0..pieces).map(|piece| glyph(fleet, piece * slots, slots)).collect();
    let rows = glyphs.as_bytes().chunks(row).map(|row| format!("{}\n", String::from_utf8_lossy(row)));
    let legend = format!("each character: {slots} slots, named by the shard that owns most of them");
    Some(rows.chain([wrapped(&legend, columns)]).collect())
}

/// The shard that owns most of the slots from `first` on; of several the first.
fn glyph(fleet: &Fleet, first: usize, count: usize) -> char {
    let owned = |shard: &Shard| -> usize {
        let ranges = shard.ranges.iter().map(|range| (range.first as usize, range.last as usize + 1));
        ranges.map(|(from, to)| to.min(first + count).saturating_sub(from.max(first))).sum()
    };
    let owners = fleet.shards.iter().map(|shard| (owned(shard), std::cmp::Reverse(shard.id)));
    match owners.max() {
        Some((1.., std::cmp::Reverse(shard))) => {
            GLYPHS.get(shard.0 as usize).map_or('?', |it| char::from(*it))
        }
        _ => '.',
    }
}

/// Words on lines of at most so many columns.
fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut().filter(|_| last == 0 || last + 1 + word.chars().count() <= columns) {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => line.extend([" ", word]),
            None => lines.push(word.to_string()),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A table whose last column is a bar, as wide as the rest of it leaves room for.
fn with_bars(canvas: Canvas, table: &dyn Fn(Option<usize>) -> String) -> String {
    let plain = table(None);
    let widest = plain.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    // Two blanks before it; and its title must fit.
    let room = canvas.columns.saturating_sub(widest + 2).min(BAR_COLUMNS_MAX);
    if canvas.bars && room >= BAR_TITLE_SHARE.len().max(BAR_TITLE_NODE.len()) {
        table(Some(room))
    } else {
        plain
    }
}

const BAR_TITLE_SHARE: &str = "SHARE";
const BAR_TITLE_NODE: &str = "# LEADS  - FOLLOWS";

fn shards_table(fleet: &Fleet, bar: Option<usize>) -> String {
    let mut columns = vec![
        ("SHARD", Align::Right),
        ("SLOTS", Align::Right),
        ("PART", Align::Right),
        ("LEADER", Align::Right),
        ("REPLICAS ON", Align::Left),
    ];
    columns.extend(bar.map(|_| (BAR_TITLE_SHARE, Align::Left)));
    let most = fleet.shards.iter().map(|shard| shard.slots).max().unwrap_or(0);
    let mut table = Table::new(&columns);
    for shard in &fleet.shards {
        let nodes: Vec<String> = shard.replicas.iter().map(|replica| replica.node.0.to_string()).collect();
        let mut row = vec![
            shard.id.0.to_string(),
            shard.slots.to_string(),
            format!("{:.1}%", percent(shard.slots)),
            or_dash(shard.leader.map(|node| node.0)),
            nodes.join(" "),
        ];
        row.extend(bar.map(|room| "#".repeat(scaled(shard.slots, most, room))));
        table.row(row);
    }
    table.render()
}

fn nodes_table(fleet: &Fleet, bar: Option<usize>) -> String {
    let mut columns = vec![
        ("NODE", Align::Right),
        ("STATE", Align::Left),
        ("LEADS", Align::Right),
        ("REPLICAS", Align::Right),
    ];
    columns.extend(bar.map(|_| (BAR_TITLE_NODE, Align::Left)));
    let most = fleet.nodes.iter().map(|node| spread(fleet, node.id).1).max().unwrap_or(0);
    let mut table = Table::new(&columns);
    for node in &fleet.nodes {
        let (leads, replicas) = spread(fleet, node.id);
        let mut row = vec![
            node.id.0.to_string(),
            node_list::state(node).to_string(),
            leads.to_string(),
            replicas.to_string(),
        ];
        row.extend(bar.map(|room| {
            let (whole, led) = (scaled(replicas, most, room), scaled(leads, most, room));
            format!("{}{}", "#".repeat(led), "-".repeat(whole - led))
        }));
        table.row(row);
    }
    table.render()
}

/// How many shards a node leads, and of how many it has a replica, by the map.
fn spread(fleet: &Fleet, node: NodeId) -> (u64, u64) {
    let leads = fleet.shards.iter().filter(|shard| shard.leader == Some(node));
    (leads.count() as u64, fleet.replicas_on(node) as u64)
}

fn percent(slots: u64) -> f64 {
    slots as f64 * 100.0 / f64::from(SLOTS)
}

/// So many of `room` columns; something that is there gets at least one.
fn scaled(part: u64, most: u64, room: usize) -> usize {
    if part == 0 { 0 } else { (part as usize * room / most.max(1) as usize).max(1) }
}

fn document(fleet: &Fleet) -> Value {
    let shards = fleet.shards.iter().map(|shard| {
        let replicas = shard.replicas.iter().map(
            |replica| json!({ "replica": replica.id, "node": replica.node.0, "role": replica.membership() }),
        );
        json!({
            "shard": shard.id.0,
            "slots": shard.slots,
            "share": shard.slots as f64 / f64::from(SLOTS),
            "leader": shard.leader.map(|node| node.0),
            "replicas": replicas.collect::<Vec<_>>(),
            "ranges": shard.ranges.iter().map(|range| json!([range.first, range.last])).collect::<Vec<_>>(),
        })
    });
    let nodes = fleet.nodes.iter().map(|node| {
        let (leads, replicas) = spread(fleet, node.id);
        json!({
            "node": node.id.0,
            "state": node_list::state(node),
            "leaving": node_list::leaving(node),
            "leaders": leads,
            "replicas": replicas,
        })
    });
    json!({
        "epoch": fleet.epoch.0,
        "slots": SLOTS,
        "shards": shards.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};
    use flotilla_proto::v1 as wire;

    /// Shard 1 owns the first three quarters, shard 2 the rest; node 3 is down.
    fn fleet() -> Fleet {
        let mut map = map();
        let range = |first, last| vec![wire::SlotRange { first, last }];
        map.shards[1].slots = range(0, 12_287);
        map.shards.push(wire::Shard { shard: 2, replicas: Vec::new(), slots: range(12_288, 16_383) });
        let mut answers = three_nodes();
        answers.insert(NodeId(3), Err("connection refused".to_string()));
        Fleet::of(&map, answers)
    }

    #[test]
    fn a_pipe_gets_eighty_columns_and_no_bars() {
        let (ones, twos) = ("1".repeat(64), "2".repeat(64));
        let expected = format!(
            "\
ring of 16384 slots over 2 shards, epoch 5

{ones}
{ones}
{ones}
{twos}
each character: 64 slots, named by the shard that owns most of them

SHARD  SLOTS   PART  LEADER  REPLICAS ON
    0      0   0.0%       1  1 2 3
    1  12288  75.0%       2  1 2 3
    2   4096  25.0%       -

NODE  STATE  LEADS  REPLICAS
   1  up         1         2
   2  up         1         2
   3  down       0         2
"
        );
        assert_eq!(page(&fleet(), Canvas { columns: 80, bars: false }), expected);
    }

    #[test]
    fn a_terminal_gets_bars_as_long_as_there_is_room() {
        let page = page(&fleet(), Canvas { columns: 60, bars: true });
        let expected = "
SHARD  SLOTS   PART  LEADER  REPLICAS ON  SHARE
    0      0   0.0%       1  1 2 3
    1  12288  75.0%       2  1 2 3        ##################
    2   4096  25.0%       -               ######

NODE  STATE  LEADS  REPLICAS  # LEADS  - FOLLOWS
   1  up         1         2  ###############---------------
   2  up         1         2  ###############---------------
   3  down       0         2  ------------------------------
";
        assert!(page.ends_with(expected), "{page}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_a_narrow_one_gets_no_bars() {
        for columns in [42, 64, 100, 300] {
            let page = page(&fleet(), Canvas { columns, bars: true });
            assert!(page.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{page}");
            assert_eq!(page.contains("####"), columns > 60, "{columns}:\n{page}");
        }
    }

    #[test]
    fn a_ring_of_more_shards_than_characters_is_not_drawn() {
        let mut map = map();
        map.shards.push(wire::Shard { shard: 62, replicas: Vec::new(), slots: Vec::new() });
        assert_eq!(picture(&Fleet::of(&map, three_nodes()), 80), None);
    }

    #[test]
    fn the_document_has_the_numbers() {
        let document = document(&fleet());
        assert_eq!(document["shards"][2]["share"], 0.25);
        assert_eq!(document["shards"][2]["ranges"], json!([[12_288, 16_383]]));
        assert_eq!(
            document["nodes"][2],
            json!({ "node": 3, "state": "down", "leaving": null, "leaders": 0, "replicas": 2 })
        );
    }
}
