//! Far more clients than a node lets in: who is refused is told so at once and truthfully, and nothing else suffers.

use std::time::{Duration, Instant};

use flotilla_proto::status;
use futures_util::future::join_all;
use tonic::Code;
use tonic::transport::Channel;

use crate::patience::PATIENCE;
use crate::questions::{self, put};
use crate::stage::{Fleet, Leader, Plan};

/// How many clients ask at a time.
const CLIENTS: usize = 2_000;

/// How many of them share a connection.
const TOGETHER: usize = 100;

/// How many writes each makes, one after the other.
const WRITES: usize = 4;

const VALUE_BYTES: usize = 4 * 1024;

/// What may wait for a worker, what may be on its way to the followers, and what one entry may hold: a few of these writes.
const QUEUE: &str = "64KiB";

/// What the node may grow by while all that goes on, at its peak: the writes that it let in lie in its overlay, in the memory
/// of its log and in the base's own; the rest is 20 connections with 100 streams each.
const GROWTH_MAX_BYTES: u64 = 96 << 20;

/// What came of one write.
#[derive(Debug)]
struct Answer {
    /// Refused, surely not executed.
    refused: bool,
    took: Duration,
    at: Instant,
}

/// What one client saw: its answers, and the last write that was acknowledged.
type Seen = (Vec<Answer>, Option<String>);

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_clients_are_refused_quickly_and_nothing_is_lost() {
    // Elections would also come of a machine that is busy with other tests: they must not be mistaken for ours.
    let plan = Plan::new(3).shards(1).flag("--inbox-bytes-max", QUEUE).flag("--proposed-bytes-max", QUEUE);
    let plan = plan.flag("--batch-bytes-max", QUEUE).flag("--value-bytes-max", "16KiB");
    let plan = plan.flag("--election-timeout-min-ms", "2000").flag("--election-timeout-max-ms", "3000");
    let mut fleet = plan.start().await;
    let leader = settled(&fleet).await;
    let pid = fleet.process(leader.node).pid();
    let before = memory(pid, "VmRSS");

    let channels = connections(&fleet, leader.node).await;
    let clients = (0..CLIENTS).map(|number| tokio::spawn(write(channels[number / TOGETHER].clone(), number)));
    let clients: Vec<_> = clients.collect();
    let seen: Vec<Seen> = join_all(clients).await.into_iter().map(Result::unwrap).collect();

    let peak = memory(pid, "VmHWM");
    let grown = peak.saturating_sub(before);
    let answers = || seen.iter().flat_map(|(answers, _)| answers);
    let (refused, accepted): (Vec<&Answer>, Vec<&Answer>) = answers().partition(|answer| answer.refused);
    println!(
        "{} accepted, {} refused; median {:?} and {:?}, longest {:?} and {:?}; memory {} → {} KiB",
        accepted.len(),
        refused.len(),
        median(&accepted),
        median(&refused),
        longest(&accepted),
        longest(&refused),
        before >> 10,
        peak >> 10,
    );
    assert!(!accepted.is_empty() && refused.len() > CLIENTS / 10, "that was no overload");
    // Nobody waits behind what was let in to hear that he is not.
    let first_refused = refused.iter().map(|answer| answer.at).min().unwrap();
    let last_accepted = accepted.iter().map(|answer| answer.at).max().unwrap();
    assert!(first_refused < last_accepted, "refusals came after all the work was done");
    assert!(grown < GROWTH_MAX_BYTES, "the node grew by {grown} bytes");
    assert_eq!(settled(&fleet).await, leader, "the overload cost the leader its office");
    afterwards(&fleet, &seen).await;
}

/// The leader of the only shard, once all nodes agree on it.
async fn settled(fleet: &Fleet) -> Leader {
    let (meta, leader) = (fleet.leader(0).await, fleet.leader(1).await);
    assert!(meta.term > 0 && leader.term > 0);
    leader
}

async fn connections(fleet: &Fleet, id: u64) -> Vec<Channel> {
    let connect =
        (0..CLIENTS.div_ceil(TOGETHER)).map(async |_| questions::connect(&fleet.address(id)).await.unwrap());
    join_all(connect).await
}

/// Writes one value after the other under a key of its own.
async fn write(channel: Channel, number: usize) -> Seen {
    let mut kv = questions::kv(channel);
    let (mut answers, mut last) = (Vec::new(), None);
    for write in 0..WRITES {
        let value = format!("{write:0VALUE_BYTES$}");
        let begun = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, kv.put(put(key(number), value.clone()))).await;
        let answer = answer.expect("an overloaded node answers");
        let refused = answer.as_ref().err();
        if let Some(refusal) = refused {
            assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
            assert!(status::definite(refusal), "{refusal:?}");
            let detail = status::detail(refusal).unwrap();
            assert!(detail.retry_after_ms > 0, "{detail:?}: when is it worth trying again?");
        } else {
            last = Some(value);
        }
        answers.push(Answer { refused: refused.is_some(), took: begun.elapsed(), at: Instant::now() });
    }
    (answers, last)
}

fn key(number: usize) -> String {
    format!("client-{number:04}")
}

/// Everything works, every acknowledged write is there, none that was refused.
async fn afterwards(fleet: &Fleet, seen: &[Seen]) {
    let client = fleet.client(PATIENCE).await;
    client.put("afterwards", "works").await.unwrap();
    for (number, (_, last)) in seen.iter().enumerate() {
        let found = client.get(key(number)).await.unwrap().map(|found| found.bytes);
        assert_eq!(found.as_deref(), last.as_deref().map(str::as_bytes), "{}", key(number));
    }
}

fn median(answers: &[&Answer]) -> Duration {
    let mut took: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

fn longest(answers: &[&Answer]) -> Duration {
    answers.iter().map(|answer| answer.took).max().unwrap_or_default()
}

/// A figure of `/proc/PID/status`, in bytes.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}
