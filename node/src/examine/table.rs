//! For people.

use flotilla_raft::LogId;
use flotilla_topology::ShardId;
use flotilla_wal::inspect::{Place, Segment};

use super::look::Look;

/// Aligned columns, two spaces apart, as `kvctl` prints them: numbers keep to the right.
fn table(rows: &[Vec<String>]) -> String {
    let (titles, cells) = rows.split_first().unwrap_or_else(|| unreachable!("a table has titles"));
    let is_number = |cell: &String| cell == "-" || cell.bytes().all(|letter| letter.is_ascii_digit());
    let columns = titles.iter().enumerate().map(|(column, title)| {
        let of_column = || cells.iter().map(|row| &row[column]);
        (of_column().map(String::len).fold(title.len(), usize::max), of_column().all(is_number))
    });
    let columns: Vec<(usize, bool)> = columns.collect();
    let mut out = String::new();
    for row in rows {
        let aligned = row.iter().zip(&columns).map(|(cell, (width, right))| {
            if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        out.push_str(aligned.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn row(cells: &[&dyn ToString]) -> Vec<String> {
    cells.iter().map(|cell| cell.to_string()).collect()
}

fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
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
    let mut rows = vec![row(&[
        &"SEGMENT",
        &"BYTES",
        &"FRAMES",
        &"SEQUENCES",
        &"DURABLE TO",
        &"PREVIOUS",
        &"OLDEST NEEDED",
        &"STATE",
    ])];
    for segment in &look.segments {
        let (count, first, last, durable) = extent(segment);
        let sequences = if count == 0 { "-".to_owned() } else { format!("{}-{}", known(first), known(last)) };
        let header = segment.header;
        let state = if look.rot_in(segment.number).next().is_some() {
            "rotten"
        } else if look.counts(segment.number) {
            "in use"
        } else {
            "left over"
        };
        rows.push(row(&[
            &segment.number,
            &segment.bytes,
            &count,
            &sequences,
            &known(durable),
            &header.map_or_else(|| "unreadable".to_owned(), |it| it.previous.to_string()),
            &header.map_or_else(|| "unreadable".to_owned(), |it| it.oldest.to_string()),
            &state,
        ]));
    }
    table(&rows)
}

fn shards(look: &Look) -> String {
    let Some(found) = look.found() else { return String::new() };
    let mut rows = vec![row(&[
        &"SHARD",
        &"REPLICA",
        &"TERM",
        &"VOTE",
        &"COMMIT",
        &"COMPACTED",
        &"LAST",
        &"ENTRIES",
        &"STATE",
    ])];
    let none = "-";
    for (shard, it) in &found.recovered.shards {
        let last = it.entries.last().map_or(it.compacted, |entry| entry.id);
        let intent = |at: LogId| format!("installs a snapshot of {at}");
        rows.push(row(&[
            shard,
            &it.replica,
            &it.hard_state.term,
            &it.hard_state.vote.map_or_else(|| none.to_owned(), |vote| vote.to_string()),
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
        rows.push(row(&[shard, replica, &none, &none, &none, &none, &none, &none, &state]));
    }
    table(&rows)
}

fn names(shards: &[ShardId]) -> String {
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn places(look: &Look) -> String {
    let mut rows = vec![row(&[&"SEGMENT", &"OFFSET", &"KIND", &"SEQUENCE", &"BYTES", &"RECORDS", &"SHARDS"])];
    for segment in &look.segments {
        for place in &segment.places {
            let (number, none) = (segment.number, "-");
            match place {
                Place::Frame { offset, bytes, kind, sequence, shards, records } => {
                    let kind = format!("{kind:?}").to_lowercase();
                    let records = known(records.map(|count| count as u64));
                    rows.push(row(&[&number, offset, &kind, sequence, bytes, &records, &names(shards)]));
                }
                Place::Broken { offset, shards } => {
                    let names = names(shards.as_deref().unwrap_or_default());
                    rows.push(row(&[&number, offset, &"broken", &none, &none, &none, &names]));
                }
                Place::Gap { offset } => {
                    rows.push(row(&[&number, offset, &"gap", &none, &none, &none, &none]));
                }
            }
        }
    }
    table(&rows)
}
