//! Replicas that move to a node which joined the running fleet, while clients write and read: nobody of them notices.

use std::time::Duration;

use flotilla_client::Client;
use flotilla_proto::v1;
use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_proto::v1::raft_server::RaftServer;
use flotilla_store::{Base, disk, snapshot};
use tonic::Status;

use crate::idler::Idler;
use crate::ledger::Writers;
use crate::patience::until;
use crate::sailors::Voyage;
use crate::stage::{Fleet, Plan};

/// What a client of this fleet waits at most. Nothing may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// Shards beside the meta shard.
const SHARDS: u64 = 4;

/// Of what the sailors do.
const SEED: u64 = 7;

/// A fleet whose logs are soon shorter than its history, so that who comes late needs a snapshot.
fn plan() -> Plan {
    let plan = Plan::new(3).shards(SHARDS).flag("--log-retain-bytes", "16KiB");
    plan.flag("--flush-bytes", "64KiB").flag("--flush-interval-ms", "50")
}

/// `kvctl shard move` to its end.
async fn moved(fleet: &Fleet, shard: u64, from: u64, to: u64) {
    let (shard, from, to) = (shard.to_string(), from.to_string(), to.to_string());
    let done = fleet.kvctl(&["shard", "move", &shard, "--from", &from, "--to", &to]).await;
    let words = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "shard {shard} from {from} to {to}: {words}");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(said, format!("shard {shard}: moved from node {from} to node {to}\n"));
}

/// The nodes of each shard, as the map of a node has them.
fn nodes_of(map: &v1::ClusterMap, shard: u64) -> Vec<u64> {
    let replicas = map.shards.iter().filter(|it| it.shard == shard).flat_map(|it| &it.replicas);
    let mut nodes: Vec<u64> = replicas.map(|it| it.node).collect();
    nodes.sort_unstable();
    nodes
}

/// Waits until a node says that it hosts nothing.
pub async fn is_empty(fleet: &Fleet, id: u64) {
    let empty = async || {
        let status = crate::questions::status(&fleet.address(id)).await?;
        status.replicas.is_empty().then_some(())
    };
    until(&format!("node {id} hosts nothing"), empty).await;
}

/// What the base of a node that does not run holds.
fn base_of(fleet: &Fleet, id: u64) -> Vec<u64> {
    let base = disk::Disk::open(&fleet.data(id).join("base"), disk::Options::default()).unwrap();
    snapshot::shards_in(&base.view()).unwrap().into_iter().map(|shard| shard.0).collect()
}

pub async fn values(client: &Client, count: usize) {
    for number in 0..count {
        client.put(format!("early-{number}"), format!("{number:->1000}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shard_moves_off_a_node_and_no_client_notices() {
    let mut fleet = plan().start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 300).await;
    fleet.join(4).await;
    let writers = Writers::start(&client, "moves", 8);
    writers.progress(200).await;
    for shard in fleet.shards() {
        moved(&fleet, shard, 1, 4).await;
        writers.progress(50).await;
    }
    is_empty(&fleet, 1).await;
    // Its series vanish, and it serves by asking others.
    let shown = crate::questions::metrics(&fleet.ports(1).http_addr()).await.unwrap();
    assert!(!shown.contains("kv_shard_leader{"), "{shown}");
    let through_it = Client::builder([fleet.address(1)]).deadline(DEADLINE).build().await.unwrap();
    assert!(through_it.get("early-7").await.unwrap().is_some());
    writers.progress(200).await;
    let promises = writers.stop().await;
    assert_eq!(promises.failed, 0, "operations failed while shards moved");
    promises.check(&client).await;

    fleet.stop(1).await;
    assert_eq!(base_of(&fleet, 1), Vec::<u64>::new(), "the base of the empty node");
    // Nobody misses it, and nothing comes back with it: neither from its log nor by a message that was late.
    promises.check(&client).await;
    fleet.restart(1);
    fleet.ready().await;
    is_empty(&fleet, 1).await;
    for shown in fleet.converged().await {
        let nodes: Vec<u64> =
            shown["replicas"].as_array().unwrap().iter().map(|it| it["node"].as_u64().unwrap()).collect();
        assert!(!nodes.contains(&1) && nodes.contains(&4), "{shown}");
    }
    // And a replica may come back to it, under another id.
    moved(&fleet, 1, 4, 1).await;
    promises.check(&client).await;
}

/// Kills whoever has to do with a move, once it has begun; another round of writes decides how far it is by then. What sailors saw
/// meanwhile is judged.
#[tokio::test(flavor = "multi_thread")]
async fn moves_go_on_when_source_destination_or_controller_are_killed() {
    let mut fleet = plan().start().await;
    let client = fleet.client(DEADLINE).await;
    values(&client, 300).await;
    fleet.join(4).await;
    let writers = Writers::start(&client, "kills", 8);
    let voyage = Voyage::begin(&fleet, DEADLINE, SEED).await;
    for round in 0..6 {
        let shard = 1 + round % SHARDS;
        let here = nodes(&fleet, shard).await;
        let from = here[round as usize % here.len()];
        let to = fleet.ids().into_iter().find(|id| !here.contains(id)).unwrap();
        let begun = fleet
            .kvctl(&[
                "shard",
                "move",
                &shard.to_string(),
                "--from",
                &from.to_string(),
                "--to",
                &to.to_string(),
                "--detach",
            ])
            .await;
        assert_eq!(begun.status.code(), Some(0), "{}", String::from_utf8_lossy(&begun.stderr));
        writers.progress(10 * round).await;
        let victim = match round % 3 {
            0 => from,
            1 => to,
            _ => fleet.leader(0).await.node,
        };
        println!("round {round}: shard {shard} from {from} to {to}, node {victim} is killed");
        fleet.kill(victim);
        writers.progress(100).await;
        fleet.restart(victim);
        fleet.ready().await;
        let placed = async || {
            let now = nodes(&fleet, shard).await;
            (now.len() == 3 && now.contains(&to) && !now.contains(&from)).then_some(())
        };
        until(&format!("shard {shard} has moved from {from} to {to}"), placed).await;
    }
    let promises = writers.stop().await;
    promises.check(&client).await;
    assert_eq!(promises.failed, 0, "operations failed while nodes were killed");
    voyage.end(&client).await;
    fleet.converged().await;
    for id in fleet.ids() {
        let hosted = async || {
            let status = crate::questions::status(&fleet.address(id)).await?;
            let mut named = Vec::new();
            for shard in fleet.shards() {
                if nodes(&fleet, shard).await.contains(&id) {
                    named.push(shard);
                }
            }
            let hosts: Vec<u64> = status.replicas.iter().map(|it| it.shard).collect();
            (hosts == named).then_some(())
        };
        until(&format!("node {id} hosts what the map says, and nothing else"), hosted).await;
    }
}

/// Where a shard is, by the map in the meta shard.
pub async fn nodes(fleet: &Fleet, shard: u64) -> Vec<u64> {
    let map = async || {
        for id in fleet.ids() {
            let Some(channel) = crate::questions::connect(&fleet.address(id)).await else { continue };
            let mut cluster = v1::cluster_client::ClusterClient::new(channel);
            let request = v1::GetMapRequest { linearizable: true, ..v1::GetMapRequest::default() };
            let answer = tokio::time::timeout(DEADLINE, cluster.get_map(request)).await.ok()?.ok();
            if let Some(v1::get_map_response::Outcome::Result(map)) = answer?.into_inner().outcome {
                return Some(map);
            }
        }
        None
    };
    nodes_of(&until("the map is read", map).await, shard)
}

/// Has node 5 join with this directory, played by this process. The error is the fleet's last word.
async fn idler_joins(fleet: &Fleet, directory: u128) -> Result<(), Status> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(RaftServer::new(Idler::default()));
    tokio::spawn(server.serve_with_incoming(incoming));
    let asked = async || crate::questions::status(&fleet.address(1)).await;
    let cluster = until("node 1 says of which fleet it is", asked).await.cluster;
    let request = v1::JoinRequest {
        cluster,
        node: 5,
        directory: Some(directory.into()),
        client_addr: address.clone(),
        peer_addr: address.clone(),
        http_addr: String::new(),
    };
    // For a moment after its founding the fleet has no map that could name one more; and a leader that loses its office in the
    // middle does not know what comes of it. Whoever asks again is answered again.
    let asked = async || {
        let leader = fleet.leader(0).await.node;
        let channel = crate::questions::connect(&fleet.ports(leader).peer_addr()).await?;
        match RaftClient::new(channel).join(request.clone()).await {
            Ok(reply) => match reply.into_inner().outcome {
                Some(v1::join_reply::Outcome::Map(_)) => Some(Ok(())),
                _ => None,
            },
            Err(status) => (status.code() == tonic::Code::FailedPrecondition).then_some(Err(status)),
        }
    };
    until("node 5 is answered", asked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_waits_is_undone_and_what_makes_no_sense_is_refused() {
    let fleet = plan().start().await;
    idler_joins(&fleet, 55).await.unwrap();
    idler_joins(&fleet, 55).await.unwrap();
    let forgot = idler_joins(&fleet, 56).await.unwrap_err();
    assert!(forgot.message().contains("it forgot its votes"), "{forgot}");

    let refused = async |args: [&str; 3], code, reason: &str| {
        let [shard, from, to] = args;
        let done = fleet.kvctl(&["shard", "move", shard, "--from", from, "--to", to]).await;
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!((done.status.code(), words.contains(reason)), (Some(code), true), "{args:?}: {words}");
    };
    refused(["9", "1", "5"], 2, "there is no s9").await;
    refused(["1", "1", "9"], 2, "n9 is no member of the fleet").await;
    refused(["1", "1", "2"], 2, "s1 has a replica on n2 already").await;
    refused(["1", "5", "1"], 2, "s1 has no replica on n5").await;
    let args = ["shard", "move", "1", "--from", "1", "--to", "5", "--dry-run"];
    let planned = String::from_utf8_lossy(&fleet.kvctl(&args).await.stdout).into_owned();
    assert!(planned.starts_with("1. record replica 4 of shard 1 on node 5\n"), "{planned}");
    assert_eq!(listed(&fleet).await, Vec::<serde_json::Value>::new(), "a dry run begins nothing");

    let args = ["shard", "move", "1", "--from", "1", "--to", "5", "--detach"];
    let begun = fleet.kvctl(&args).await;
    assert_eq!(begun.status.code(), Some(0), "{}", String::from_utf8_lossy(&begun.stderr));
    refused(["1", "2", "5"], 3, "s1 is being moved already, by m1").await;
    let waits = async || {
        let moves = listed(&fleet).await;
        let [it] = &moves[..] else { panic!("one move is under way: {moves:?}") };
        (it["waiting"] == "node 5 has not created its replica").then(|| it.clone())
    };
    let it = until("the move waits for node 5", waits).await;
    assert_eq!((&it["phase"], &it["arriving"]), (&"creating".into(), &4.into()), "{it}");

    let cancelled = fleet.kvctl(&["move", "cancel", "1"]).await;
    assert_eq!(cancelled.status.code(), Some(0), "{}", String::from_utf8_lossy(&cancelled.stderr));
    until("the move is undone", async || listed(&fleet).await.is_empty().then_some(())).await;
    assert_eq!(nodes(&fleet, 1).await, [1, 2, 3]);
    let gone = fleet.kvctl(&["move", "cancel", "1"]).await;
    assert_eq!(gone.status.code(), Some(3), "{}", String::from_utf8_lossy(&gone.stderr));
}

/// The moves that are under way.
pub async fn listed(fleet: &Fleet) -> Vec<serde_json::Value> {
    let shown = fleet.kvctl(&["move", "list", "--output", "json"]).await;
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    shown["moves"].as_array().unwrap().clone()
}
