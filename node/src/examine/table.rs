//! For people.

use flotilla_daemon::table::{Align, Table, or_dash};
use flotilla_raft::LogId;
use flotilla_topology::ShardId;
use flotilla_wal::inspect::{Place, Segment};

use super::look::Look;

fn row(cells: &[&dyn ToString]) -> Vec<String> {
    cells.iter().map(|cell| cell.to_string()).collect()
}

/// The sequence numbers of the intact frames, and up to where they state everything to have been durable.
pub(super) fn extent(segment: &Segment) -> (usize, Option<u64>, Option<u64>, Option<u64>) {
    let frames = segment.places.iter().filter_map(|place| match place {
        Place::Frame { offset, sequence, .. } => Some((*offset, *sequence)),
        Place::Broken { .. } | Place::Gap { .. } => None,
    });
    let frames: Vec<(u64, u64)> = frames.collect();
    let (first, last) = (frames.first(), frames.last());
    (frames.len(), first.map(|it| it.1), last.map(|it| it.1), last.map(|it| it.0))
}

/// What is there.
pub(super) fn inspected(look: &Look, frames: bool) -> String {
    let mut out = segments(look);
    out.push('\n');
    out.push_str(&shards(look));
    if frames {
        out.push('\n');
        out.push_str(&places(look));
    }
    out.push('\n');
    out.push_str(&verified(look));
    out
}

/// Whether it is whole.
pub(super) fn verified(look: &Look) -> String {
    format!("{}\n", look.sentence())
}

fn segments(look: &Look) -> String {
    let mut table = Table::new(&[
        ("SEGMENT", Align::Right),
        ("BYTES", Align::Right),
        ("FRAMES", Align::Right),
        ("SEQUENCES", Align::Left),
        ("DURABLE TO", Align::Right),
        ("PREVIOUS", Align::Right),
        ("OLDEST NEEDED", Align::Right),
        ("STATE", Align::Left),
    ]);
    for segment in &look.segments {
        let (count, first, last, durable) = extent(segment);
        let sequences =
            if count == 0 { "-".to_owned() } else { format!("{}-{}", or_dash(first), or_dash(last)) };
        let header = segment.header;
        let state = if look.rot_in(segment.number).next().is_some() {
            "rotten"
        } else if look.counts(segment.number) {
            "in use"
        } else {
            "left over"
        };
        table.row(row(&[
            &segment.number,
            &segment.bytes,
            &count,
            &sequences,
            &or_dash(durable),
            &header.map_or_else(|| "unreadable".to_owned(), |it| it.previous.to_string()),
            &header.map_or_else(|| "unreadable".to_owned(), |it| it.oldest.to_string()),
            &state,
        ]));
    }
    table.render()
}

fn shards(look: &Look) -> String {
    let Some(found) = look.found() else { return String::new() };
    let mut table = Table::new(&[
        ("SHARD", Align::Left),
        ("REPLICA", Align::Left),
        ("TERM", Align::Right),
        ("VOTE", Align::Left),
        ("COMMIT", Align::Right),
        ("COMPACTED", Align::Left),
        ("LAST", Align::Left),
        ("ENTRIES", Align::Right),
        ("STATE", Align::Left),
    ]);
    let none = "-";
    for (shard, it) in &found.recovered.shards {
        let last = it.entries.last().map_or(it.compacted, |entry| entry.id);
        let intent = |at: LogId| format!("installs a snapshot of {at}");
        table.row(row(&[
            shard,
            &it.replica,
            &it.hard_state.term,
            &or_dash(it.hard_state.vote),
            &it.hard_state.commit,
            &it.compacted,
            &last,
            &it.entries.len(),
            &it.intent.map_or_else(|| "in service".to_owned(), intent),
        ]));
    }
    for (shard, replica) in &found.recovered.tombstones {
        let quarantined = found.recovered.quarantined.get(shard);
        if found.recovered.shards.contains_key(shard) {
            continue;
        }
        let state = quarantined.map_or_else(
            || "ended".to_owned(),
            |it| format!("out of service: rot in segment {} at byte {}", it.at.segment, it.at.offset),
        );
        table.row(row(&[shard, replica, &none, &none, &none, &none, &none, &none, &state]));
    }
    table.render()
}

fn names(shards: &[ShardId]) -> String {
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn places(look: &Look) -> String {
    let mut table = Table::new(&[
        ("SEGMENT", Align::Right),
        ("OFFSET", Align::Right),
        ("KIND", Align::Left),
        ("SEQUENCE", Align::Right),
        ("BYTES", Align::Right),
        ("RECORDS", Align::Right),
        ("SHARDS", Align::Left),
    ]);
    for segment in &look.segments {
        for place in &segment.places {
            let (number, none) = (segment.number, "-");
            match place {
                Place::Frame { offset, bytes, kind, sequence, shards, records } => {
                    let kind = format!("{kind:?}").to_lowercase();
                    let records = or_dash(records.map(|count| count as u64));
                    table.row(row(&[&number, offset, &kind, sequence, bytes, &records, &names(shards)]));
                }
                Place::Broken { offset, shards } => {
                    let names = names(shards.as_deref().unwrap_or_default());
                    table.row(row(&[&number, offset, &"broken", &none, &none, &none, &names]));
                }
                Place::Gap { offset } => {
                    table.row(row(&[&number, offset, &"gap", &none, &none, &none, &none]));
                }
            }
        }
    }
    table.render()
}
