//! `TransferLeader`: another node shall lead a shard.

use std::sync::Arc;
use std::time::Duration;

use flotilla_proto::status;
use flotilla_proto::v1::transfer_leader_response::Outcome;
use flotilla_proto::v1::{self, TransferLeaderRequest, TransferLeaderResponse, TransferLeaderResult};
use flotilla_topology::{ClusterMap, NodeId, ShardId};
use tonic::{Response, Status};

use super::answers::{incomplete, unexpected};
use super::front::{Front, Routed};
use super::{gate, refusals};
use crate::host::Answer;
use crate::runtime::Input;

/// How often the replica is asked whether it knows the new leader.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long a new leader is waited for. A transfer that fails is given up by the old one after an election timeout.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn transfer_leader(
    front: &Arc<Front>,
    request: TransferLeaderRequest,
) -> Result<Response<TransferLeaderResponse>, Status> {
    let map = front.map()?;
    let shard = ShardId(request.shard);
    let to = NodeId(request.to_node);
    let route_mode = gate::route_mode(request.route_mode)?;
    check_heir(&map, shard, to)?;
    let asked = front.runtime.ask(shard, 0, |token| Input::Transfer { shard, token, to: Some(to) }).await;
    let asked = asked.map_err(|_| refusals::ending(Some(shard)))?;
    let outcome = match front.own(shard, asked)? {
        Ok(Answer::Transfer) => Outcome::Result(wait(front, shard, to).await?),
        Ok(answer) => return Err(unexpected(&answer)),
        Err(leader) if route_mode == v1::RouteMode::Redirect => {
            Outcome::Redirect(front.redirect(&map, None, shard, leader))
        }
        Err(leader) => {
            let send = |address: String| async move {
                let request = TransferLeaderRequest { route_mode: v1::RouteMode::Redirect.into(), ..request };
                match front.backends.cluster(&address)?.transfer_leader(request).await?.into_inner().outcome {
                    Some(Outcome::Result(result)) => Ok(Routed::Done(result)),
                    Some(Outcome::Redirect(redirect)) => Ok(Routed::Elsewhere(redirect)),
                    None => Err(incomplete()),
                }
            };
            match front.forward(&map, shard, leader, send).await? {
                Routed::Done(result) => Outcome::Result(result),
                Routed::Elsewhere(redirect) => Outcome::Redirect(redirect),
            }
        }
    };
    Ok(Response::new(TransferLeaderResponse { outcome: Some(outcome) }))
}

/// Whether an operator may want this node to lead.
fn check_heir(map: &ClusterMap, shard: ShardId, to: NodeId) -> Result<(), Status> {
    if !map.shards.contains_key(&shard) {
        return Err(status::invalid("shard", format!("there is no {shard}")));
    }
    if map.replica_on(shard, to).is_none() {
        return Err(status::invalid("to_node", format!("{shard} has no replica on {to}")));
    }
    if map.leaving.contains_key(&to) {
        let text = format!("{to} shall be empty: what it leads moves away (kvctl node undrain {})", to.0);
        return Err(refusals::precondition(Some(shard.0), text));
    }
    Ok(())
}

/// Waits until another leader is known.
async fn wait(front: &Arc<Front>, shard: ShardId, to: NodeId) -> Result<TransferLeaderResult, Status> {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    let waiting = async {
        loop {
            look.tick().await;
            let replicas = match front.runtime.ask(shard, 0, |token| Input::Inspect { token }).await {
                Ok(Answer::Status(replicas)) => replicas,
                // Asked again: the transfer is under way, whoever else keeps the worker busy.
                Ok(Answer::Refused(_)) => continue,
                Ok(answer) => return Err(unexpected(&answer)),
                Err(_) => return Err(refusals::ended(shard)),
            };
            let Some(replica) = replicas.into_iter().find(|replica| replica.shard == shard) else {
                return Err(refusals::not_found(shard, format!("{shard} has left this node")));
            };
            if let Some(leader) =
                replica.leader_node.filter(|leader| *leader != front.node || to == front.node)
            {
                return Ok(TransferLeaderResult { leader_node: leader.0, term: replica.term.0 });
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| {
        Err(status::unknown(Some(shard.0), format!("no new leader of {shard} is known yet")))
    })
}

#[cfg(test)]
mod tests {
    use flotilla_topology::{Change, NodeInfo, plan_initial};
    use tonic::Code;

    use super::*;

    #[test]
    fn who_shall_be_empty_gets_no_leadership() {
        let info = |node: u64| {
            let address = |port: u64| format!("127.0.0.1:{}", port + node);
            NodeInfo { client_addr: address(100), peer_addr: address(200), http_addr: address(300) }
        };
        let nodes = (1..=4).map(|node| (NodeId(node), info(node))).collect();
        let map = plan_initial(1, nodes, 1, 3).unwrap();
        let shard = ShardId(1);
        let [here, elsewhere] = [true, false].map(|wanted| {
            let mut nodes = map.nodes.keys().copied();
            nodes.find(|node| map.replica_on(shard, *node).is_some() == wanted).unwrap()
        });
        let code = |map: &ClusterMap, shard, to| check_heir(map, shard, to).map_err(|status| status.code());
        assert_eq!(code(&map, shard, here), Ok(()));
        assert_eq!(code(&map, shard, elsewhere), Err(Code::InvalidArgument));
        assert_eq!(code(&map, ShardId(9), here), Err(Code::InvalidArgument));
        let drained = map.apply(Change::Drain { node: here }).unwrap();
        assert_eq!(code(&drained, shard, here), Err(Code::FailedPrecondition));
    }
}
