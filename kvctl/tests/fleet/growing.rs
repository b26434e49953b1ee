//! Fleets that grow and shrink while clients write and read: a node is drained and removed, a dead one is replaced, by command and by
//! itself, and what is uneven is evened.

use std::time::Duration;

use rustix::process::Signal;

use crate::ledger::Writers;
use crate::moves::{is_empty, listed, nodes, values};
use crate::patience::until;
use crate::questions::unready;
use crate::sailors::Voyage;
use crate::stage::{Fleet, Plan};
use crate::tool::{Running, ended};

/// What a client of this fleet waits at most. Nothing may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// Shards beside the meta shard.
const SHARDS: u64 = 4;

/// Of what the sailors do.
const SEED: u64 = 8;

/// A fleet whose logs are soon shorter than its history, so that who comes late needs a snapshot.
fn plan() -> Plan {
    let plan = Plan::new(3).shards(SHARDS).flag("--log-retain-bytes", "16KiB");
    plan.flag("--flush-bytes", "64KiB").flag("--flush-interval-ms", "50")
}

/// `kvctl` to its end, which must have this code. What it said on stdout, and on stderr.
async fn said(fleet: &Fleet, code: i32, args: &[&str]) -> (String, String) {
    let done = fleet.kvctl(args).await;
    let words = ended(&done, code);
    (String::from_utf8(done.stdout).unwrap(), words)
}

/// Waits until no shard has a replica on this node, by the map in the meta shard, and each has three.
async fn nothing_on(fleet: &Fleet, id: u64) {
    let gone = async || {
        for shard in fleet.shards() {
            let here = nodes(fleet, shard).await;
            if here.contains(&id) || here.len() != 3 {
                return None;
            }
        }
        Some(())
    };
    until(&format!("the map names no replica on node {id}"), gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_and_removed_while_the_controller_is_killed() {
    let mut fleet = plan().start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 300).await;
    let refused = said(&fleet, 3, &["node", "drain", "1"]).await.1;
    assert!(refused.contains("no node could take the replicas of s0, s1, s2, s3, s4"), "{refused}");
    fleet.join(4).await;
    fleet.join(5).await;
    let writers = Writers::start(&client, "drain", 8);
    let voyage = Voyage::begin(&fleet, DEADLINE, SEED).await;
    writers.progress(200).await;
    let planned = said(&fleet, 0, &["node", "drain", "1", "--dry-run"]).await.0;
    assert_eq!(planned.lines().count() as u64, SHARDS + 1, "{planned}");
    assert!(planned.starts_with("1. shard 0: from node 1 to node 4, about "), "{planned}");
    assert_eq!(listed(&fleet).await, Vec::<serde_json::Value>::new(), "a dry run begins nothing");

    let drain = Running::start(fleet.kvctl_command(&["node", "drain", "1"]));
    until("the drain has begun", async || (!listed(&fleet).await.is_empty()).then_some(())).await;
    let controller = fleet.leader(0).await.node;
    println!("node {controller} leads the meta shard, and is killed");
    fleet.kill(controller);
    writers.progress(200).await;
    fleet.restart(controller);
    fleet.ready().await;
    let words = ended(&drain.end().await, 0);
    assert!(words.contains("node 1: 0 of 5 replicas have left"), "{words}");
    nothing_on(&fleet, 1).await;
    is_empty(&fleet, 1).await;
    let back = said(&fleet, 3, &["shard", "move", "1", "--from", "2", "--to", "1"]).await.1;
    assert!(back.contains("n1 is being drained: it gets no new replicas"), "{back}");
    let status = said(&fleet, 0, &["status"]).await.0;
    assert!(
        status.contains("up, drained") && status.contains("hint: node 1 is drained and empty"),
        "{status}"
    );

    let refused = said(&fleet, 3, &["node", "remove", "2"]).await.1;
    assert!(
        refused.contains("n2 has replicas of s0, ") && refused.contains("(kvctl node drain 2)"),
        "{refused}"
    );
    said(&fleet, 0, &["node", "remove", "1"]).await;
    knows_that_it_was_removed(&fleet, 1).await;
    fleet.stop(1).await;
    writers.progress(200).await;
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed while a node was drained");
    voyage.end(&client).await;
    promises.check(&client).await;
    fleet.converged().await;
    let again = said(&fleet, 2, &["node", "drain", "1"]).await.1;
    assert!(again.contains("n1 is no member of the fleet"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_on_at_a_drain_may_go_and_the_drain_can_be_called_off() {
    let mut fleet = plan().start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 300).await;
    fleet.join(4).await;
    // Its destination stands still: the drain has begun, and does not end.
    fleet.freeze(4);
    let refused = said(&fleet, 3, &["node", "drain", "1"]).await.1;
    assert!(refused.contains("no node could take the replicas of"), "{refused}");
    fleet.thaw(4);
    fleet.ready().await;
    let mut drain = Running::start(fleet.kvctl_command(&["node", "drain", "1"]));
    until("the drain has begun", async || (!listed(&fleet).await.is_empty()).then_some(())).await;
    drain.signal(Signal::INT);
    assert!(drain.child().id() > 0);
    let words = ended(&drain.end().await, 130);
    assert!(words.contains("end it with `kvctl node undrain 1`"), "{words}");
    said(&fleet, 0, &["node", "undrain", "1"]).await;
    until("what moves has ended", async || listed(&fleet).await.is_empty().then_some(())).await;
    let shown = said(&fleet, 0, &["node", "list", "--output", "json"]).await.0;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["nodes"][0]["leaving"], serde_json::Value::Null, "{shown}");
    // It may be asked for again, and be left alone meanwhile.
    said(&fleet, 0, &["node", "drain", "1", "--detach"]).await;
    nothing_on(&fleet, 1).await;
    fleet.converged().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_removed_by_force_and_replaced() {
    let mut fleet = plan().start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 300).await;
    let writers = Writers::start(&client, "dead", 8);
    let voyage = Voyage::begin(&fleet, DEADLINE, SEED).await;
    writers.progress(100).await;
    let alive = said(&fleet, 3, &["node", "remove", "3", "--force"]).await.1;
    assert!(alive.contains("node 3 answers: drain it instead"), "{alive}");
    fleet.kill(3);
    let nowhere = async || {
        let done = fleet.kvctl(&["node", "remove", "3", "--force", "--dry-run"]).await;
        assert_eq!(done.status.code(), Some(3), "{done:?}");
        String::from_utf8_lossy(&done.stderr).contains("no node could take the replicas of").then_some(())
    };
    until("its leaders have noticed, and there is no place", nowhere).await;
    fleet.join(4).await;
    said(&fleet, 0, &["node", "remove", "3", "--force"]).await;
    for shard in fleet.shards() {
        assert_eq!(nodes(&fleet, shard).await, [1, 2, 4], "shard {shard}");
    }
    writers.progress(200).await;
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed while a dead node was replaced");
    promises.check(&client).await;
    voyage.end(&client).await;
    fleet.converged().await;
    let status = said(&fleet, 0, &["status"]).await.0;
    assert!(status.contains("\nall is well\n"), "{status}");
    // It is of no use any more, hears so, and harms nobody.
    fleet.restart(3);
    knows_that_it_was_removed(&fleet, 3).await;
    is_empty(&fleet, 3).await;
    writers_go_on(&client).await;
    assert_eq!(nodes(&fleet, 1).await, [1, 2, 4]);
}

/// Waits until a node says of itself that it is no member.
async fn knows_that_it_was_removed(fleet: &Fleet, id: u64) {
    let http = fleet.ports(id).http_addr();
    let told = async || unready(&http).await?.contains("is no member of the fleet any more").then_some(());
    until(&format!("node {id} knows that it was removed"), told).await;
}

async fn writers_go_on(client: &flotilla_client::Client) {
    let writers = Writers::start(client, "after", 4);
    writers.progress(200).await;
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed");
    promises.check(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stays_dead_is_replaced_without_a_command() {
    let mut fleet = plan().flag("--repair-after-ms", "2000").start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 300).await;
    fleet.join(4).await;
    let writers = Writers::start(&client, "repair", 8);
    writers.progress(100).await;
    fleet.kill(2);
    nothing_on(&fleet, 2).await;
    writers.progress(100).await;
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed while a dead node was replaced");
    promises.check(&client).await;
    fleet.converged().await;
    // It comes back, finds that it was replaced, and keeps nothing.
    fleet.restart(2);
    fleet.ready().await;
    is_empty(&fleet, 2).await;
    promises.check(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_and_leaders_are_evened_once() {
    let mut fleet = plan().start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 300).await;
    fleet.join(4).await;
    fleet.join(5).await;
    let hint = said(&fleet, 0, &["status"]).await.0;
    assert!(hint.contains("replicas, node 4 has 0\n      kvctl shard rebalance\n"), "{hint}");
    let writers = Writers::start(&client, "even", 8);
    let planned = said(&fleet, 0, &["shard", "rebalance", "--dry-run"]).await.0;
    assert_eq!(planned.lines().count(), 7, "{planned}");
    assert_eq!(listed(&fleet).await, Vec::<serde_json::Value>::new(), "a dry run begins nothing");
    let mut first = Running::start(fleet.kvctl_command(&["shard", "rebalance"]));
    until("something moves", async || (!listed(&fleet).await.is_empty()).then_some(())).await;
    first.signal(Signal::INT);
    let words = ended(&first.end().await, 130);
    assert!(words.contains("what moves goes on"), "{words}");
    // The same command goes on, and has ended when all of it has.
    said(&fleet, 0, &["shard", "rebalance"]).await;
    assert_eq!(listed(&fleet).await, Vec::<serde_json::Value>::new(), "it returned too early");
    let mut counts = vec![0; 6];
    for shard in fleet.shards() {
        nodes(&fleet, shard).await.into_iter().for_each(|node| counts[node as usize] += 1);
    }
    assert_eq!(counts, [0, 3, 3, 3, 3, 3]);
    let again = said(&fleet, 0, &["shard", "rebalance"]).await.0;
    assert!(again.contains("nothing to do"), "{again}");
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed while the fleet was evened");
    promises.check(&client).await;
    fleet.converged().await;
    let drawn = said(&fleet, 0, &["ring", "show"]).await.0;
    assert!(drawn.starts_with("ring of 16384 slots over 4 shards, epoch "), "{drawn}");
}
