//! Who leads what, by the nodes' own word.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::{self, RouteMode};
use tonic::transport::Channel;

use super::{LOOK_PAUSE, PATIENCE};
use crate::fleet::{self, Kind};

/// Keys tried until each shard has one.
const KEYS_MAX: u32 = 100_000;

/// One key for each lane: of different shards, where there are shards.
pub(super) async fn keys(kind: Kind, nodes: &[String], lanes: u32) -> Result<Vec<Bytes>, String> {
    let name = |number: u32| Bytes::from(format!("lane{number}"));
    if kind == Kind::Etcd {
        return Ok((0..lanes).map(name).collect());
    }
    let mut client = connect(&nodes[0]).await?;
    let (mut shards, mut keys) = (BTreeSet::new(), Vec::new());
    for number in 0..KEYS_MAX {
        if keys.len() == lanes as usize {
            return Ok(keys);
        }
        let key = name(number);
        let request = v1::GetRequest { key: key.clone(), ..v1::GetRequest::default() };
        let answer = client.get(request).await.map_err(|status| status.to_string())?.into_inner();
        let Some(v1::get_response::Outcome::Result(result)) = answer.outcome else { continue };
        if result.stamp.is_some_and(|stamp| shards.insert(stamp.shard)) {
            keys.push(key);
        }
    }
    Err(format!("{} of {lanes} shards were found", keys.len()))
}

/// Which node leads each key's group: its place among `nodes`.
pub(super) async fn find(kind: Kind, nodes: &[String], keys: &[Bytes]) -> Result<Vec<usize>, String> {
    if kind == Kind::Etcd {
        let leader = fleet::etcd::leader(nodes).await?;
        return Ok(vec![leader; keys.len()]);
    }
    let mut client = connect(&nodes[0]).await?;
    let mut led = Vec::new();
    for key in keys {
        led.push(leader(&mut client, nodes, key).await?);
    }
    Ok(led)
}

/// Asks the first node, which either leads or knows who does.
async fn leader(client: &mut KvClient<Channel>, nodes: &[String], key: &Bytes) -> Result<usize, String> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let route_mode = RouteMode::Redirect.into();
        let request = v1::GetRequest { key: key.clone(), route_mode, ..v1::GetRequest::default() };
        let found = match client.get(request).await.map(|answer| answer.into_inner().outcome) {
            Ok(Some(v1::get_response::Outcome::Result(_))) => Some(0),
            Ok(Some(v1::get_response::Outcome::Redirect(redirect))) => {
                nodes.iter().position(|node| *node == redirect.leader_addr)
            }
            // No leader just now: soon there is one.
            Ok(None) | Err(_) => None,
        };
        match found {
            Some(found) => return Ok(found),
            None if Instant::now() > give_up => return Err("a shard has no leader".to_owned()),
            None => tokio::time::sleep(LOOK_PAUSE).await,
        }
    }
}

async fn connect(node: &str) -> Result<KvClient<Channel>, String> {
    let client = KvClient::connect(format!("http://{node}")).await;
    client.map_err(|error| format!("{node}: {error}"))
}
