//! `GetMap` and `WatchMap`: the cluster map, as this node has it or as the meta shard has it.

use std::sync::Arc;

use bytes::Bytes;
use flotilla_proto::v1::get_map_response::Outcome;
use flotilla_proto::v1::{self, GetMapRequest, GetMapResponse, WatchMapResponse};
use flotilla_topology::{ClusterMap, Epoch, Membership, ShardId};
use futures_util::{Stream, StreamExt};
use tokio_stream::wrappers::WatchStream;
use tonic::{Response, Status};

use super::answers::{incomplete, unexpected};
use super::front::{Front, Routed};
use super::{gate, refusals};
use crate::host::{Answer, Consistency};
use crate::runtime::{Input, MAP_KEY};

pub(super) async fn get_map(
    front: &Arc<Front>,
    request: GetMapRequest,
) -> Result<Response<GetMapResponse>, Status> {
    let route_mode = gate::route_mode(request.route_mode)?;
    let outcome = if request.linearizable {
        match stored(front, route_mode).await? {
            Routed::Done(map) => Outcome::Result(map),
            Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
        }
    } else {
        Outcome::Result(encode(&*front.map()?))
    };
    Ok(Response::new(GetMapResponse { outcome: Some(outcome) }))
}

/// The map as the meta shard has it now.
async fn stored(front: &Arc<Front>, route_mode: v1::RouteMode) -> Result<Routed<v1::ClusterMap>, Status> {
    let map = front.map()?;
    let shard = ShardId::META;
    let key = Bytes::from_static(MAP_KEY);
    let consistency = Consistency::Linearizable;
    let question = |token| Input::Get { shard, token, key, consistency };
    let answer = front.runtime.ask(shard, MAP_KEY.len(), question).await;
    let leader = match front.own(shard, answer.map_err(|_| refusals::ended(shard))?)? {
        Ok(Answer::Got(_, Some(record))) => {
            let stored = ClusterMap::decode(&record.value);
            let stored = stored.map_err(|error| refusals::precondition(Some(shard.0), error.to_string()))?;
            return Ok(Routed::Done(encode(&stored)));
        }
        Ok(Answer::Got(_, None)) => return Err(refusals::no_map()),
        Ok(answer) => return Err(unexpected(&answer)),
        Err(leader) => leader,
    };
    if route_mode == v1::RouteMode::Redirect {
        return Ok(Routed::Elsewhere(front.redirect(&map, None, shard, leader)));
    }
    let send = |address: String| async move {
        let route_mode = v1::RouteMode::Redirect.into();
        let request = GetMapRequest { linearizable: true, route_mode };
        match front.backends.cluster(&address)?.get_map(request).await?.into_inner().outcome {
            Some(Outcome::Result(map)) => Ok(Routed::Done(map)),
            Some(Outcome::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
            None => Err(incomplete()),
        }
    };
    front.forward(&map, shard, leader, send).await
}

/// The newest map if it is newer than `known`, then every newer one.
pub(super) fn watch_map(
    front: &Arc<Front>,
    known: u64,
) -> impl Stream<Item = Result<WatchMapResponse, Status>> + Send + use<> {
    let newer = move |map: Option<Arc<ClusterMap>>| async move {
        let map = map.filter(|map| map.epoch > Epoch(known))?;
        Some(Ok(WatchMapResponse { map: Some(encode(&map)) }))
    };
    let ending = front.ending();
    WatchStream::new(front.maps()).filter_map(newer).take_until(ending)
}

/// The map in the words of the wire.
pub(super) fn encode(map: &ClusterMap) -> v1::ClusterMap {
    let nodes = map.nodes.iter().map(|(node, info)| v1::Node {
        node: node.0,
        client_addr: info.client_addr.clone(),
        peer_addr: info.peer_addr.clone(),
        http_addr: info.http_addr.clone(),
    });
    v1::ClusterMap {
        cluster: Some(map.cluster.into()),
        epoch: map.epoch.0,
        nodes: nodes.collect(),
        shards: map.shards.keys().map(|shard| encode_shard(map, *shard)).collect(),
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
        },
    });
    v1::Shard { shard: shard.0, replicas: replica.collect(), slots: slots(map, shard) }
}

/// The slots of a shard, in order.
pub(super) fn slots(map: &ClusterMap, shard: ShardId) -> Vec<v1::SlotRange> {
    let slots = map.slots_of(shard);
    let range = |range: &flotilla_topology::SlotRange| v1::SlotRange {
        first: u32::from(range.first().number()),
        last: u32::from(range.last().number()),
    };
    slots.ranges().iter().map(range).collect()
}
