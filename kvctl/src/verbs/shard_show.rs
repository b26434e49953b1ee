//! `kvctl shard show ID`: one shard's replicas: who leads, how far each is, and whether they hold the same.
//!
//! Digests can be compared only between states of the same index. Each replica flushes when it is asked and then speaks of
//! its base's index; under writes these differ. So all are asked again, for a while, until they speak of one index.

use std::time::Duration;

use clap::Args;
use flotilla_daemon::table::{Align, Table, or_dash};
use flotilla_proto::v1 as wire;
use flotilla_topology::{NodeId, ShardId};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::console::Console;
use crate::failure::Failure;
use crate::view::{Fleet, Shard};

/// How often all replicas are asked at most.
const ROUNDS_MAX: u32 = 20;

/// Between two rounds: a follower learns of the last commit by the next heartbeat.
const PAUSE: Duration = Duration::from_millis(60);

/// Arguments of `kvctl shard show`.
#[derive(Debug, Args)]
pub struct ShardShowArgs {
    /// The shard's id, as `kvctl shard list` prints it; 0 is the meta shard
    #[arg(value_name = "ID")]
    pub id: u64,
}

/// Asks every replica, until their digests can be compared.
///
/// # Errors
/// No endpoint answers; there is no such shard; the replicas differ; stdout fails.
pub async fn run(args: &ShardShowArgs, admin: &Admin, console: &mut Console) -> Result<(), Failure> {
    let id = ShardId(args.id);
    let (mut fleet, mut verdict) = ask(admin, id).await?;
    for _ in 1..ROUNDS_MAX {
        if verdict != Verdict::OtherIndexes {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        (fleet, verdict) = ask(admin, id).await?;
    }
    let shard = shard_of(&fleet, id)?;
    if console.json_wanted() {
        console.json(&document(shard, verdict))?;
    } else {
        console.text(&page(shard, verdict))?;
    }
    match verdict {
        Verdict::Differ => {
            Err(Failure::Internal(format!("shard {}: its replicas differ at the same index", id.0)))
        }
        _ => Ok(()),
    }
}

/// What the digests say about the replicas that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Equal at one index.
    Equal,
    /// Different at one index: a bug of ours or a rotten disk.
    Differ,
    /// They speak of different indexes.
    OtherIndexes,
    /// Fewer than two answered.
    Alone,
}

impl Verdict {
    fn of(shard: &Shard) -> Self {
        let seen: Vec<&wire::ReplicaStatus> =
            shard.replicas.iter().filter_map(|replica| replica.seen.as_ref()).collect();
        let [first, others @ ..] = seen.as_slice() else { return Self::Alone };
        if others.is_empty() {
            return Self::Alone;
        }
        if others.iter().any(|other| other.digest_index != first.digest_index) {
            return Self::OtherIndexes;
        }
        let state = |at: &wire::ReplicaStatus| (at.digest.map(u128::from), at.keys, at.bytes);
        if others.iter().all(|other| state(other) == state(first)) { Self::Equal } else { Self::Differ }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Differ => "differ",
            Self::OtherIndexes | Self::Alone => "unknown",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Equal => "the replicas are equal",
            Self::Differ => "THE REPLICAS DIFFER at the same index",
            Self::OtherIndexes => {
                "not compared: the shard is being written, and its replicas speak of different indexes"
            }
            Self::Alone => "not compared: fewer than two replicas answer",
        }
    }
}

/// One round: the fleet, with the flushed replicas of this shard in place of what the nodes said in passing.
async fn ask(admin: &Admin, id: ShardId) -> Result<(Fleet, Verdict), Failure> {
    let mut fleet = admin.fleet().await?;
    let shard = shard_of(&fleet, id)?;
    let asked = shard.replicas.iter().filter(|replica| replica.seen.is_some()).map(|replica| async {
        let node = fleet.node(replica.node)?;
        Some((node.id, admin.shard_status(&node.client_addr, id).await.ok()?))
    });
    let answers: Vec<(NodeId, wire::ReplicaStatus)> = join_all(asked).await.into_iter().flatten().collect();
    let shard = fleet.shards.iter_mut().find(|shard| shard.id == id);
    let shard = shard.ok_or_else(|| Failure::Internal(format!("shard {} vanished from the answer", id.0)))?;
    shard.refresh(&answers);
    let verdict = Verdict::of(shard);
    Ok((fleet, verdict))
}

fn shard_of(fleet: &Fleet, id: ShardId) -> Result<&Shard, Failure> {
    fleet.shard(id).ok_or_else(|| {
        let ids: Vec<String> = fleet.shards.iter().map(|shard| shard.id.0.to_string()).collect();
        Failure::Usage(format!("ID: there is no shard {}; there are {}", id.0, ids.join(", ")))
    })
}

fn page(shard: &Shard, verdict: Verdict) -> String {
    let leader =
        shard.leader.map_or_else(|| "no leader".to_string(), |node| format!("leader node {}", node.0));
    let mut page = format!("shard {}: {leader}, term {}, {} slots\n\n", shard.id.0, shard.term, shard.slots);
    page.push_str(&positions(shard));
    page.push('\n');
    page.push_str(&states(shard));
    page.push_str(&format!("\n{}\n", verdict.sentence()));
    page
}

/// How far each replica is, in entries.
fn positions(shard: &Shard) -> String {
    let mut table = Table::new(&[
        ("REPLICA", Align::Right),
        ("NODE", Align::Right),
        ("ROLE", Align::Left),
        ("TERM", Align::Right),
        ("COMMIT", Align::Right),
        ("APPLIED", Align::Right),
        ("DURABLE", Align::Right),
        ("LAG", Align::Right),
    ]);
    for replica in &shard.replicas {
        let seen = replica.seen.as_ref();
        table.row(vec![
            replica.id.to_string(),
            replica.node.0.to_string(),
            replica.role().to_string(),
            or_dash(seen.map(|seen| seen.term)),
            or_dash(seen.map(|seen| seen.commit_index)),
            or_dash(seen.map(|seen| seen.applied_index)),
            or_dash(seen.map(|seen| seen.durable_index)),
            or_dash(replica.lag),
        ]);
    }
    table.render()
}

/// What each replica holds, as of its flushed index.
fn states(shard: &Shard) -> String {
    let mut table = Table::new(&[
        ("REPLICA", Align::Right),
        ("KEYS", Align::Right),
        ("BYTES", Align::Right),
        ("AT INDEX", Align::Right),
        ("DIGEST", Align::Left),
    ]);
    for replica in &shard.replicas {
        let seen = replica.seen.as_ref();
        table.row(vec![
            replica.id.to_string(),
            or_dash(seen.map(|seen| seen.keys)),
            or_dash(seen.map(|seen| seen.bytes)),
            or_dash(seen.map(|seen| seen.digest_index)),
            or_dash(seen.map(digest)),
        ]);
    }
    table.render()
}

/// 32 hexadecimal digits.
fn digest(seen: &wire::ReplicaStatus) -> String {
    format!("{:032x}", seen.digest.map_or(0, u128::from))
}

fn document(shard: &Shard, verdict: Verdict) -> Value {
    let replicas = shard.replicas.iter().map(|replica| {
        let seen = replica.seen.as_ref();
        json!({
            "replica": replica.id,
            "node": replica.node.0,
            "role": replica.membership(),
            "state": replica.role(),
            "term": seen.map(|seen| seen.term),
            "commit": seen.map(|seen| seen.commit_index),
            "applied": seen.map(|seen| seen.applied_index),
            "durable": seen.map(|seen| seen.durable_index),
            "lag": replica.lag,
            "keys": seen.map(|seen| seen.keys),
            "bytes": seen.map(|seen| seen.bytes),
            "digest": seen.map(digest),
            "digest_index": seen.map(|seen| seen.digest_index),
        })
    });
    json!({
        "shard": shard.id.0,
        "leader": shard.leader.map(|node| node.0),
        "term": shard.term,
        "slots": shard.slots,
        "digests": verdict.word(),
        "replicas": replicas.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};

    fn fleet(change: impl Fn(u64, &mut wire::ReplicaStatus)) -> Fleet {
        let mut answers = three_nodes();
        for (node, answer) in &mut answers {
            let replicas = answer.as_mut().unwrap().replicas.iter_mut();
            replicas.for_each(|replica| change(node.0, replica));
        }
        Fleet::of(&map(), answers)
    }

    fn verdict(fleet: &Fleet) -> Verdict {
        Verdict::of(fleet.shard(ShardId(1)).unwrap())
    }

    #[test]
    fn digests_are_judged_only_at_one_index() {
        let other = Some(wire::Id128 { high: 1, low: 1 });
        assert_eq!(verdict(&fleet(|_, _| ())), Verdict::Equal);
        assert_eq!(verdict(&fleet(|node, at| at.keys += u64::from(node == 3))), Verdict::Differ);
        let both = fleet(|node, at| {
            if node == 3 {
                (at.digest, at.digest_index) = (other, 91);
            }
        });
        assert_eq!(verdict(&both), Verdict::OtherIndexes);
        let differ = fleet(|node, at| {
            if node == 3 {
                at.digest = other;
            }
        });
        assert_eq!(verdict(&differ), Verdict::Differ);
    }

    #[test]
    fn one_replica_alone_is_equal_to_nothing() {
        let mut answers = three_nodes();
        for node in [1, 3] {
            answers.insert(NodeId(node), Err("connection refused".to_string()));
        }
        assert_eq!(verdict(&Fleet::of(&map(), answers)), Verdict::Alone);
    }

    #[test]
    fn the_page_fits_80_columns() {
        let fleet = fleet(|_, _| ());
        let expected = "\
shard 1: leader node 2, term 4, 16384 slots

REPLICA  NODE  ROLE      TERM  COMMIT  APPLIED  DURABLE  LAG
     11     1  follower     4     100      100       90    0
     12     2  leader       4     100      100       90    0
     13     3  follower     4      93       93       90    7

REPLICA  KEYS    BYTES  AT INDEX  DIGEST
     11  1234  5242880        90  000000000000abcd0000000000000001
     12  1234  5242880        90  000000000000abcd0000000000000001
     13  1234  5242880        90  000000000000abcd0000000000000001

the replicas are equal
";
        assert_eq!(page(fleet.shard(ShardId(1)).unwrap(), Verdict::Equal), expected);
    }

    #[test]
    fn a_shard_that_does_not_exist_is_wrong_usage() {
        let failure = shard_of(&fleet(|_, _| ()), ShardId(7)).map(|_| ()).unwrap_err();
        assert_eq!(failure, Failure::Usage("ID: there is no shard 7; there are 0, 1".to_string()));
    }

    #[test]
    fn the_document_says_whether_the_digests_are_equal() {
        let fleet = fleet(|_, _| ());
        let document = document(fleet.shard(ShardId(1)).unwrap(), Verdict::Equal);
        assert_eq!(document["digests"], "equal");
        let expected = json!({
            "replica": 12, "node": 2, "role": "voter", "state": "leader", "term": 4, "commit": 100, "applied": 100,
            "durable": 90, "lag": 0, "keys": 1234, "bytes": 5_242_880, "digest_index": 90,
            "digest": "000000000000abcd0000000000000001",
        });
        assert_eq!(document["replicas"][1], expected);
    }
}
