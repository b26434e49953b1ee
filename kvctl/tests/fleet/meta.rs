//! The meta shard has lost its majority: nothing moves and nobody joins, and every other shard goes on.

use std::time::Duration;

use crate::logbook::Logbook;
use crate::moves::nodes;
use crate::patience::until;
use crate::stage::Plan;

/// What a client of this fleet waits at most. Nothing may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn without_the_meta_shard_the_others_are_read_and_written_and_elect() {
    let mut fleet = Plan::new(5).shards(8).start().await;
    let client = fleet.client(DEADLINE).await;
    let meta = nodes(&fleet, 0).await;
    let mut found = None;
    for shard in fleet.shards().filter(|shard| *shard != 0) {
        let here = nodes(&fleet, shard).await;
        let others: Vec<u64> = meta.iter().copied().filter(|id| !here.contains(id)).collect();
        if others.len() >= 2 {
            found = Some((shard, others));
            break;
        }
    }
    let (shard, others) = found.expect("a shard that shares at most one node with the meta shard");
    let logbook = Logbook::new(&client);
    let keys = (0..).map(|number| format!("key-{number}"));
    let of_shard = keys.filter(|key| logbook.shard(&key.clone().into()) == shard);
    let keys: Vec<String> = of_shard.take(20).collect();
    for id in &others[..2] {
        fleet.kill(*id);
    }
    let leaderless = async || fleet.leader_now(0).await.is_none().then_some(());
    until("nobody leads the meta shard", leaderless).await;
    for key in &keys {
        client.put(key.clone(), "before").await.unwrap();
        assert_eq!(client.get(key.clone()).await.unwrap().unwrap().bytes, "before");
    }
    let leader = fleet.leader(shard).await.node;
    fleet.kill(leader);
    fleet.led_by_another(shard, leader).await;
    for key in &keys {
        assert_eq!(client.get(key.clone()).await.unwrap().unwrap().bytes, "before");
        client.put(key.clone(), "after").await.unwrap();
        assert_eq!(client.get(key.clone()).await.unwrap().unwrap().bytes, "after");
    }
    assert!(fleet.leader_now(0).await.is_none(), "the meta shard had a leader after all");
    for id in [others[0], others[1], leader] {
        fleet.restart(id);
    }
    fleet.ready().await;
    fleet.converged().await;
}
