//! What an operator asks of the fleet.

use std::sync::Arc;
use std::time::Duration;

use flotilla_proto::status;
use flotilla_proto::v1;
use flotilla_raft::Term;
use flotilla_topology::{ClusterMap, NodeId, ShardId};
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use crate::call::cluster;
use crate::dispatch::{Effect, Failure, Target, Verdict};
use crate::{Client, Error};

impl Client {
    /// The newest map that this client has seen. For routing and showing only: it lacks what only changes of it need.
    #[must_use]
    pub fn map(&self) -> Arc<ClusterMap> {
        let map = self.crew.chart.read(|routes| routes.map().cloned());
        map.unwrap_or_else(|| unreachable!("a client is only made with a map"))
    }

    /// Fetches the map again.
    ///
    /// # Errors
    ///
    /// Nobody answered within the deadline.
    pub async fn refresh_map(&self) -> Result<Arc<ClusterMap>, Error> {
        self.crew.fetch_map().await?;
        Ok(self.map())
    }

    /// What the node at this client address sees of itself.
    ///
    /// # Errors
    ///
    /// It did not answer: it is asked once, and nobody else can answer for it.
    pub async fn node_status(&self, address: &str) -> Result<v1::StatusResponse, Error> {
        let connection = self.crew.connections.get(address).await.map_err(Error::not_executed)?;
        let mut client = cluster(connection.channel.clone());
        let answer = timeout(self.crew.options.deadline, client.status(v1::StatusRequest {})).await;
        told(address, self.crew.options.deadline, answer)
    }

    /// The replica of a shard on the node at this client address; nothing if it has none. With `flush`, keys, bytes and digest
    /// speak of everything applied there when the question came.
    ///
    /// # Errors
    ///
    /// It did not answer.
    pub async fn shard_status(
        &self,
        address: &str,
        shard: ShardId,
        flush: bool,
    ) -> Result<Option<v1::ReplicaStatus>, Error> {
        let connection = self.crew.connections.get(address).await.map_err(Error::not_executed)?;
        let mut client = cluster(connection.channel.clone());
        let question = client.shard_status(v1::ShardStatusRequest { shard: shard.0, flush });
        match timeout(self.crew.options.deadline, question).await {
            Ok(Err(status)) if status.code() == Code::NotFound && status::definite(&status) => Ok(None),
            answer => Ok(told(address, self.crew.options.deadline, answer)?.replica),
        }
    }

    /// Hands the leadership of a shard to a node. Answers when another leader is known: who it is, and in which term.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(NodeId, Term), Error> {
        let operation = self.crew.operation(self.crew.aim(Target::Shard(shard)), Effect::Write);
        let route_mode = self.crew.route_mode();
        let request = v1::TransferLeaderRequest { shard: shard.0, to_node: to.0, route_mode };
        let result = self.crew.run(operation, &request).await?;
        Ok((NodeId(result.leader_node), Term(result.term)))
    }
}

/// The answer to a question that changes nothing.
fn told<T>(
    address: &str,
    patience: Duration,
    answer: Result<Result<Response<T>, Status>, tokio::time::error::Elapsed>,
) -> Result<T, Error> {
    let failure = match answer {
        Ok(Ok(response)) => return Ok(response.into_inner()),
        Ok(Err(status)) => Failure::from_status(&status),
        Err(_) => Failure::lost(format!("no answer within {} ms", patience.as_millis())),
    };
    let message = format!("{address}: {}", failure.message);
    Err(match failure.verdict {
        Verdict::Invalid { field } => Error::Invalid { field, message },
        _ => Error::not_executed(message),
    })
}
