//! Followers come and go at random while clients write: nobody who talks to the leader may notice.

use std::time::{Duration, Instant};

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use crate::ledger::Writers;
use crate::patience::until;
use crate::stage::{Fleet, Plan};

/// Longer than an election: what fails within it, fails.
const PATIENT: Duration = Duration::from_secs(20);

/// For how long followers come and go, in seconds; `FLOTILLA_CHURN_SECONDS` says otherwise.
const SECONDS: u64 = 12;

/// How many writes are acknowledged between two events, at most.
const CALM: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn followers_that_come_and_go_are_not_noticed() {
    let seed = crate::linearizable::number("FLOTILLA_SEED", 1);
    let how_long = Duration::from_secs(crate::linearizable::number("FLOTILLA_CHURN_SECONDS", SECONDS));
    println!("FLOTILLA_SEED={seed} FLOTILLA_CHURN_SECONDS={}", how_long.as_secs());
    let mut random = Pcg64::seed_from_u64(seed);
    let mut draw = move |below: u64| random.next_u64() % below;
    let mut fleet = Plan::new(3).flag("--flush-interval-ms", "300").start().await;
    let captain = fleet.leader(0).await.node;
    gather(&fleet, captain).await;

    let client = fleet.client(PATIENT).await;
    let writers = Writers::start(&client, "churn", 8);
    let (mut killed, mut stopped, mut frozen) = (0, 0, 0);
    let begun = Instant::now();
    while begun.elapsed() < how_long {
        writers.progress(1 + draw(CALM)).await;
        // Where elections happened all the same, leaders are gathered again: whoever goes is a follower of every shard.
        gather(&fleet, captain).await;
        let followers: Vec<u64> = fleet.ids().into_iter().filter(|id| *id != captain).collect();
        let follower = followers[draw(2) as usize];
        match draw(3) {
            0 => {
                fleet.kill(follower);
                writers.progress(1 + draw(CALM)).await;
                fleet.restart(follower);
                killed += 1;
            }
            1 => {
                fleet.stop(follower).await;
                writers.progress(1 + draw(CALM)).await;
                fleet.restart(follower);
                stopped += 1;
            }
            _ => {
                fleet.freeze(follower);
                writers.progress(1 + draw(CALM)).await;
                fleet.thaw(follower);
                frozen += 1;
            }
        }
        fleet.ready().await;
    }
    let promises = writers.stop().await;
    println!("{killed} killed, {stopped} stopped, {frozen} frozen; {} operations failed", promises.failed);
    assert!(killed + stopped + frozen > 2, "hardly anybody came or went");
    assert_eq!(promises.failed, 0, "an operation failed although every leader stayed");
    fleet.converged().await;
    promises.check(&client).await;
}

/// Lets one node lead every shard.
async fn gather(fleet: &Fleet, captain: u64) {
    for shard in fleet.shards() {
        until("the captain leads", async || {
            if fleet.leader(shard).await.node == captain {
                return Some(());
            }
            // A transfer may be refused or come to nothing, while the captain still catches up.
            let (shard, captain) = (shard.to_string(), captain.to_string());
            fleet.kvctl(&["shard", "transfer-leader", &shard, "--to", &captain]).await;
            None
        })
        .await;
    }
}
