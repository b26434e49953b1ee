//! The cluster map in the words of the wire, and who watches it.

use std::future::Future;
use std::sync::Arc;

use flotilla_proto::v1;
use flotilla_topology::{ClusterMap, Epoch, Leaving, Membership, NodeId, ShardId, SlotRange};
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

/// The newest map if it is newer than `known`, then every newer one, until `ending` ends.
pub fn watch(
    maps: watch::Receiver<Option<Arc<ClusterMap>>>,
    known: u64,
    ending: impl Future<Output = ()> + Send,
) -> impl Stream<Item = Result<v1::WatchMapResponse, Status>> + Send {
    let newer = move |map: Option<Arc<ClusterMap>>| async move {
        let map = map.filter(|map| map.epoch > Epoch(known))?;
        Some(Ok(v1::WatchMapResponse { map: Some(encode(&map)) }))
    };
    WatchStream::new(maps).filter_map(newer).take_until(ending)
}

/// The map in the words of the wire.
#[must_use]
pub fn encode(map: &ClusterMap) -> v1::ClusterMap {
    let nodes = map.nodes.iter().map(|(node, info)| v1::Node {
        node: node.0,
        client_addr: info.client_addr.clone(),
        peer_addr: info.peer_addr.clone(),
        http_addr: info.http_addr.clone(),
        leaving: leaving(map, *node).into(),
    });
    v1::ClusterMap {
        cluster: Some(map.cluster.into()),
        epoch: map.epoch.0,
        nodes: nodes.collect(),
        shards: map.shards.keys().map(|shard| encode_shard(map, *shard)).collect(),
    }
}

fn leaving(map: &ClusterMap, node: NodeId) -> v1::Leaving {
    match map.leaving.get(&node) {
        None => v1::Leaving::Stays,
        Some(Leaving::Drained) => v1::Leaving::Drained,
        Some(Leaving::Removed) => v1::Leaving::Removed,
    }
}

fn encode_shard(map: &ClusterMap, shard: ShardId) -> v1::Shard {
    let replicas = map.shards.get(&shard).into_iter().flat_map(|info| &info.replicas);
    let replica = replicas.map(|(replica, placement)| v1::Replica {
        replica: replica.0,
        node: placement.node.0,
        membership: match placement.membership {
            Membership::Voter => v1::Membership::Voter.into(),
            Membership::Learner => v1::Membership::Learner.into(),
            Membership::Expected => v1::Membership::Expected.into(),
        },
    });
    v1::Shard { shard: shard.0, replicas: replica.collect(), slots: slots(map, shard) }
}

/// The slots of a shard, in order.
#[must_use]
pub fn slots(map: &ClusterMap, shard: ShardId) -> Vec<v1::SlotRange> {
    let slots = map.slots_of(shard);
    let range = |range: &SlotRange| v1::SlotRange {
        first: u32::from(range.first().number()),
        last: u32::from(range.last().number()),
    };
    slots.ranges().iter().map(range).collect()
}
