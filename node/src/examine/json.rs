//! For programs: one object. Numbers stay numbers.

use flotilla_raft::LogId;
use flotilla_topology::ShardId;
use flotilla_wal::inspect::{Place, Segment};
use flotilla_wal::{RotAt, ShardState};
use serde_json::{Value, json};

use super::look::{Look, Verdict};
use super::table::extent;

/// Whether it is whole.
pub(super) fn verified(look: &Look) -> String {
    print(&verdict(look))
}

/// What is there.
pub(super) fn inspected(look: &Look, frames: bool) -> String {
    let mut object = verdict(look);
    object["segments"] = look.segments.iter().map(|it| segment(look, it, frames)).collect();
    if let Some(found) = look.found() {
        object["shards"] = found.recovered.shards.iter().map(|(id, it)| shard(*id, it)).collect();
        let ended = found.recovered.tombstones.iter();
        object["tombstones"] =
            ended.map(|(shard, replica)| json!({ "shard": shard.0, "replica": replica.0 })).collect();
    }
    print(&object)
}

fn print(object: &Value) -> String {
    format!("{object}\n")
}

fn place(at: RotAt) -> Value {
    json!({ "segment": at.segment, "offset": at.offset })
}

fn verdict(look: &Look) -> Value {
    let state = match &look.verdict {
        Verdict::Whole(_) => "whole",
        Verdict::Rotten(_) => "rotten",
        Verdict::Refused(_) => "refused",
    };
    let mut object = json!({ "state": state, "said": look.sentence() });
    if let Some(found) = look.found() {
        let recovered = &found.recovered;
        object["rot"] = found.rot.iter().copied().map(place).collect();
        object["torn"] = recovered
            .torn
            .map_or(Value::Null, |torn| json!({ "segment": torn.segment, "offset": torn.offset }));
        let new = recovered.rot.as_ref();
        let out = recovered.quarantined.iter().map(|(shard, it)| {
            let is_new = new.is_some_and(|rot| rot.shards.contains_key(shard));
            json!({
                "shard": shard.0,
                "replica": it.replica.0,
                "segment": it.at.segment,
                "offset": it.at.offset,
                "since_next_start": is_new,
            })
        });
        object["quarantined"] = out.collect();
    }
    object
}

fn segment(look: &Look, it: &Segment, frames: bool) -> Value {
    let (count, first, last, durable) = extent(it);
    let header = it.header.map_or(Value::Null, |header| {
        json!({
            "directory": format!("{:032x}", header.directory),
            "previous": header.previous,
            "previous_end": header.previous_end,
            "oldest": header.oldest,
        })
    });
    let mut object = json!({
        "segment": it.number,
        "bytes": it.bytes,
        "header": header,
        "frames": count,
        "first_sequence": first,
        "last_sequence": last,
        "durable_offset": durable,
        "in_use": look.counts(it.number),
        "rot": look.rot_in(it.number).map(|at| at.offset).collect::<Vec<_>>(),
    });
    if frames {
        object["places"] = it.places.iter().map(frame).collect();
    }
    object
}

fn frame(place: &Place) -> Value {
    let ids = |shards: &[ShardId]| shards.iter().map(|shard| shard.0).collect::<Vec<_>>();
    match place {
        Place::Frame { offset, bytes, kind, sequence, shards, records } => json!({
            "offset": offset,
            "kind": format!("{kind:?}").to_lowercase(),
            "bytes": bytes,
            "sequence": sequence,
            "shards": ids(shards),
            "records": records,
        }),
        Place::Broken { offset, shards } => {
            json!({ "offset": offset, "kind": "broken", "shards": shards.as_deref().map(ids) })
        }
        Place::Gap { offset } => json!({ "offset": offset, "kind": "gap" }),
    }
}

fn shard(id: ShardId, it: &ShardState) -> Value {
    let entry = |id: LogId| json!({ "index": id.index.0, "term": id.term.0 });
    let last = it.entries.last().map_or(it.compacted, |entry| entry.id);
    json!({
        "shard": id.0,
        "replica": it.replica.0,
        "term": it.hard_state.term.0,
        "vote": it.hard_state.vote.map(|vote| vote.0),
        "commit": it.hard_state.commit.0,
        "compacted": entry(it.compacted),
        "last": entry(last),
        "entries": it.entries.len(),
        "intent": it.intent.map(entry),
    })
}
