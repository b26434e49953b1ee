//! `GetMap`: the cluster map, as this node has it or as the meta shard has it.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use flotilla_daemon::maps::encode;
use flotilla_proto::v1::get_map_response::Outcome;
use flotilla_proto::v1::{self, GetMapRequest, GetMapResponse};
use flotilla_topology::{ClusterMap, ShardId};
use tonic::{Response, Status};

use super::answers::{incomplete, unexpected};
use super::front::{Front, Leader, Routed};
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
    let send = |address: String| async move {
        let route_mode = v1::RouteMode::Redirect.into();
        let request = GetMapRequest { linearizable: true, route_mode };
        match front.backends.cluster(&address)?.get_map(request).await?.into_inner().outcome {
            Some(Outcome::Result(map)) => Ok(Routed::Done(map)),
            Some(Outcome::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
            None => Err(incomplete()),
        }
    };
    at_meta(front, route_mode, async |map| Ok(encode(&map)), send).await
}

/// Has something done where the meta shard is led: here, with the map as it stands there, or by the node that leads.
pub(super) async fn at_meta<R, F>(
    front: &Arc<Front>,
    route_mode: v1::RouteMode,
    here: impl AsyncFnOnce(ClusterMap) -> Result<R, Status>,
    send: impl Fn(String) -> F + Send + Sync,
) -> Result<Routed<R>, Status>
where
    R: Send,
    F: Future<Output = Result<Routed<R>, Status>> + Send,
{
    let map = front.map()?;
    let shard = ShardId::META;
    match own(front).await? {
        Ok(stored) => here(stored).await.map(Routed::Done),
        Err(leader) if route_mode == v1::RouteMode::Redirect => {
            Ok(Routed::Elsewhere(front.redirect(&map, None, shard, leader)))
        }
        Err(leader) => front.forward(&map, shard, leader, send).await,
    }
}

/// The map as our own replica of the meta shard has it, or who leads that.
async fn own(front: &Arc<Front>) -> Result<Result<ClusterMap, Leader>, Status> {
    let shard = ShardId::META;
    let key = Bytes::from_static(MAP_KEY);
    let consistency = Consistency::Linearizable;
    let question = |token| Input::Get { shard, token, key, consistency };
    let answer = front.runtime.ask(shard, MAP_KEY.len(), question).await;
    match front.own(shard, answer.map_err(|_| refusals::ended(shard))?)? {
        Ok(Answer::Got(_, Some(record))) => {
            let stored = ClusterMap::decode(&record.value);
            stored.map(Ok).map_err(|error| refusals::precondition(Some(shard.0), error.to_string()))
        }
        Ok(Answer::Got(_, None)) => Err(refusals::no_map()),
        Ok(answer) => Err(unexpected(&answer)),
        Err(leader) => Ok(Err(leader)),
    }
}
