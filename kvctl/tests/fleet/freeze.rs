//! An old leader that stood still for a while and wakes up believing that it leads.

use std::time::Duration;

use flotilla_proto::v1::RouteMode;
use futures_util::future::join_all;
use tonic::transport::Channel;

use crate::patience::{PATIENCE, until};
use crate::questions::{self, Read, get};
use crate::stage::{Fleet, Plan};

/// How many reads wait at the frozen node.
const QUEUED: usize = 64;

/// How many of them share a connection.
const TOGETHER: usize = 16;

/// How often the leader of the day is frozen.
const ROUNDS: u32 = 4;

const KEY: &str = "captain";

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_never_answers_with_the_past() {
    let mut fleet = Plan::new(3).shards(1).start().await;
    let client = fleet.client(Duration::from_secs(20)).await;
    let mut answers = Vec::new();
    for round in 0..ROUNDS {
        client.put(KEY, format!("old {round}")).await.unwrap();
        let old = fleet.leader(1).await.node;
        let channels = connections(&fleet, old).await;
        // It leads and serves: the answers that will come later could come from here.
        let served = Read::from(questions::kv(channels[0].clone()).get(get(KEY, RouteMode::Redirect)).await);
        assert_eq!(served, Read::Value(Some(format!("old {round}"))));

        fleet.freeze(old);
        fleet.led_by_another(1, old).await;
        let new = format!("new {round}");
        client.put(KEY, new.clone()).await.unwrap();
        // Asked after the new value was acknowledged, of one who has not heard of it.
        let asked: Vec<_> = (0..QUEUED).map(|number| ask(channels[number / TOGETHER].clone())).collect();
        let waiting = tokio::spawn(join_all(asked));
        fleet.thaw(old);
        let first = channels[0].clone();
        let awake = async || {
            let read = ask(first.clone()).await;
            let woken = matches!(read, Read::Redirected(_)).then_some(());
            judge(&read, &new);
            woken
        };
        until("the old leader sends its clients on", awake).await;
        for read in waiting.await.unwrap() {
            judge(&read, &new);
            answers.push(read);
        }
        fleet.ready().await;
    }
    assert_eq!(answers.len(), QUEUED * ROUNDS as usize);
    let told = |wanted: fn(&Read) -> bool| answers.iter().filter(|read| wanted(read)).count();
    println!(
        "of {} queued reads: {} redirected, {} refused, {} new values",
        answers.len(),
        told(|read| matches!(read, Read::Redirected(_))),
        told(|read| matches!(read, Read::Failed(_))),
        told(|read| matches!(read, Read::Value(_))),
    );
}

/// What may be answered: the new value, the way to somebody else, or an error. Never the old value.
fn judge(read: &Read, new: &str) {
    if let Read::Value(value) = read {
        assert_eq!(value.as_deref(), Some(new), "a stale read");
    }
}

/// Connections that exist before the node stands still: what is sent on them waits in the kernel.
async fn connections(fleet: &Fleet, id: u64) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..QUEUED / TOGETHER {
        let channel = questions::connect(&fleet.address(id)).await.unwrap();
        // The first answer completes what HTTP/2 says at the beginning.
        questions::kv(channel.clone()).get(get("nothing", RouteMode::Redirect)).await.unwrap();
        channels.push(channel);
    }
    channels
}

async fn ask(channel: Channel) -> Read {
    let mut kv = questions::kv(channel);
    let answer = tokio::time::timeout(PATIENCE, kv.get(get(KEY, RouteMode::Redirect))).await;
    Read::from(answer.expect("a node that runs answers"))
}
