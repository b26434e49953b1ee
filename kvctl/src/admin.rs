//! Questions to the `Cluster` service: the map from any endpoint, the rest from the nodes that the map names.
//!
//! Why not through the SDK: it routes by key to leaders, while an operator asks *this* node what it sees.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use flotilla_proto::limits::MESSAGE_BYTES_MAX;
use flotilla_proto::v1 as wire;
use flotilla_tls::{Tls, Whom, connect};
use flotilla_topology::{NodeId, ShardId};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{timeout, timeout_at};
use tonic::transport::{Channel, Endpoint as TonicEndpoint};
use tonic::{Code, Response, Status};
use wire::cluster_client::ClusterClient;

use crate::cli::Common;
use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::failure::{Effect, Failure, one_line};
use crate::view::Fleet;

/// A dead host must not use up the time in which the next endpoint could answer.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(1);

/// How the reason of who did not answer in time begins.
pub const LATE: &str = "no answer within";

/// Who has not answered for so long may hang: the next is asked as well.
const SLOW: Duration = Duration::from_millis(500);

/// How many redirects are followed before giving up: a fleet that elects just now may know better each time.
const REDIRECTS_MAX: usize = 3;

/// Who asks, and how long it waits.
#[derive(Clone, Debug)]
pub struct Admin {
    endpoints: Vec<Endpoint>,
    timeout: Duration,
    credentials: Credentials,
}

impl Admin {
    /// Asks the endpoints of the command line.
    #[must_use]
    pub fn new(common: &Common) -> Self {
        Self {
            endpoints: common.endpoint.clone(),
            timeout: common.timeout.duration(),
            credentials: Credentials::new(&common.tls),
        }
    }

    /// With what connections are encrypted; nothing: they are not.
    ///
    /// # Errors
    /// The files are no use.
    pub fn tls(&self) -> Result<Option<&Tls>, Failure> {
        self.credentials.get()
    }

    /// The newest map that the first endpoint knows that answers.
    ///
    /// # Errors
    /// None answers.
    pub async fn map(&self) -> Result<wire::ClusterMap, Failure> {
        self.living().await.map(|(_, map)| map)
    }

    /// The first endpoint that answers, and the newest map that it knows.
    ///
    /// # Errors
    /// None answers.
    pub async fn living(&self) -> Result<(&Endpoint, wire::ClusterMap), Failure> {
        // Before anybody is asked: a wrong flag is no unreachable fleet.
        self.tls()?;
        let asked = self.endpoints.iter().map(|endpoint| async move {
            let map = self.ask(endpoint.as_str(), get_map).await.map_err(|status| (endpoint, status))?;
            Ok((endpoint, map))
        });
        first_answer(asked).await.map_err(|reasons| nobody(&reasons))
    }

    /// The whole fleet: the map, and what each of its nodes says within the timeout.
    ///
    /// # Errors
    /// No endpoint has a map.
    pub async fn fleet(&self) -> Result<Fleet, Failure> {
        let map = self.map().await?;
        let asked = map.nodes.iter().map(|node| async {
            let answer = self.ask(&node.client_addr, |mut client| async move {
                client.status(wire::StatusRequest {}).await.map(Response::into_inner)
            });
            let answer = answer.await.map_err(|status| one_line(status.message())).and_then(|status| {
                let other = format!("node {} answers there", status.node);
                if status.node == node.node { Ok(status) } else { Err(other) }
            });
            (NodeId(node.node), answer)
        });
        let answers: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
        Ok(Fleet::of(&map, answers))
    }

    /// What one node says of its replica of a shard, after it has flushed it.
    ///
    /// # Errors
    /// The reason, on one line.
    pub async fn shard_status(&self, node_addr: &str, shard: ShardId) -> Result<wire::ReplicaStatus, String> {
        let request = wire::ShardStatusRequest { shard: shard.0, flush: true };
        let answer = self.ask(node_addr, |mut client| async move { client.shard_status(request).await });
        let answer = answer.await.map_err(|status| one_line(status.message()))?;
        answer.into_inner().replica.ok_or_else(|| "it sent no replica".to_string())
    }

    /// Hands a shard's leadership to a node, and answers with the node that leads then and its term.
    ///
    /// # Errors
    /// Refused, or unknown whether it happened.
    pub async fn transfer_leader(
        &self,
        shard: ShardId,
        to: NodeId,
        leader_addr: &str,
    ) -> Result<(NodeId, u64), Failure> {
        let mut address = leader_addr.to_string();
        for _ in 0..=REDIRECTS_MAX {
            let route_mode = wire::RouteMode::Redirect.into();
            let request = wire::TransferLeaderRequest { shard: shard.0, to_node: to.0, route_mode };
            let answer =
                self.ask(&address, |mut client| async move { client.transfer_leader(request).await });
            let answer =
                answer.await.map_err(|status| Failure::of_status(&address, Effect::Write, &status))?;
            match answer.into_inner().outcome {
                Some(wire::transfer_leader_response::Outcome::Result(result)) => {
                    return Ok((NodeId(result.leader_node), result.term));
                }
                Some(wire::transfer_leader_response::Outcome::Redirect(to)) if !to.leader_addr.is_empty() => {
                    address = to.leader_addr;
                }
                _ => break,
            }
        }
        Err(Failure::Refused(format!("{address}: shard {} has no leader just now; ask again", shard.0)))
    }

    /// Has a move begin, or only checked.
    ///
    /// # Errors
    /// Refused, or unknown whether it has begun.
    pub async fn start_move(
        &self,
        shard: ShardId,
        from: NodeId,
        to: NodeId,
        dry_run: bool,
    ) -> Result<wire::StartMoveResult, Failure> {
        use wire::start_move_response::Outcome;
        let effect = if dry_run { Effect::Read } else { Effect::Write };
        let request = wire::StartMoveRequest {
            shard: shard.0,
            from_node: from.0,
            to_node: to.0,
            dry_run,
            route_mode: wire::RouteMode::Proxy.into(),
        };
        let ask = async |mut client: ClusterClient<Channel>| client.start_move(request).await;
        match self.ask_any(effect, ask).await?.outcome {
            Some(Outcome::Result(result)) => Ok(result),
            _ => Err(Failure::Refused("the meta shard has no leader just now; ask again".to_string())),
        }
    }

    /// The moves that are under way.
    ///
    /// # Errors
    /// Nobody answers for the meta shard.
    pub async fn moves(&self) -> Result<Vec<wire::Move>, Failure> {
        Ok(self.listed_moves().await?.moves)
    }

    /// The same, and the nodes that should become empty and do not.
    ///
    /// # Errors
    /// Nobody answers for the meta shard.
    pub async fn listed_moves(&self) -> Result<wire::ListMovesResult, Failure> {
        use wire::list_moves_response::Outcome;
        let request = wire::ListMovesRequest { route_mode: wire::RouteMode::Proxy.into() };
        let ask = async |mut client: ClusterClient<Channel>| client.list_moves(request).await;
        match self.ask_any(Effect::Read, ask).await?.outcome {
            Some(Outcome::Result(result)) => Ok(result),
            _ => Err(Failure::Refused("the meta shard has no leader just now; ask again".to_string())),
        }
    }

    /// Has a move undone.
    ///
    /// # Errors
    /// Refused, or unknown whether it will be.
    pub async fn cancel_move(&self, id: u64) -> Result<(), Failure> {
        let request = wire::CancelMoveRequest { r#move: id, route_mode: wire::RouteMode::Proxy.into() };
        let ask = async |mut client: ClusterClient<Channel>| client.cancel_move(request).await;
        self.ask_any(Effect::Write, ask).await.map(drop)
    }

    /// Has a node emptied, let stay, or removed; or only checks whether it could be.
    ///
    /// # Errors
    /// Refused, or unknown whether it is recorded.
    pub async fn change_node(
        &self,
        node: u64,
        change: wire::NodeChange,
        dry_run: bool,
    ) -> Result<wire::ChangeNodeResult, Failure> {
        use wire::change_node_response::Outcome;
        let effect = if dry_run { Effect::Read } else { Effect::Write };
        let route_mode = wire::RouteMode::Proxy.into();
        let request = wire::ChangeNodeRequest { node, change: change.into(), dry_run, route_mode };
        let ask = async |mut client: ClusterClient<Channel>| client.change_node(request).await;
        match self.ask_any(effect, ask).await?.outcome {
            Some(Outcome::Result(result)) => Ok(result),
            _ => Err(Failure::Refused("the meta shard has no leader just now; ask again".to_string())),
        }
    }

    /// What would spread replicas and leaders evenly.
    ///
    /// # Errors
    /// Nobody answers for the meta shard.
    pub async fn plan_evening(&self) -> Result<wire::PlanEveningResult, Failure> {
        use wire::plan_evening_response::Outcome;
        let request = wire::PlanEveningRequest { route_mode: wire::RouteMode::Proxy.into() };
        let ask = async |mut client: ClusterClient<Channel>| client.plan_evening(request).await;
        match self.ask_any(Effect::Read, ask).await?.outcome {
            Some(Outcome::Result(result)) => Ok(result),
            _ => Err(Failure::Refused("the meta shard has no leader just now; ask again".to_string())),
        }
    }

    /// The map as it stands in the meta shard.
    ///
    /// # Errors
    /// Nobody answers for the meta shard.
    pub async fn stored_map(&self) -> Result<wire::ClusterMap, Failure> {
        let request = wire::GetMapRequest { linearizable: true, route_mode: wire::RouteMode::Proxy.into() };
        let ask = async |mut client: ClusterClient<Channel>| client.get_map(request).await;
        match self.ask_any(Effect::Read, ask).await?.outcome {
            Some(wire::get_map_response::Outcome::Result(map)) => Ok(map),
            _ => Err(Failure::Refused("the meta shard has no leader just now; ask again".to_string())),
        }
    }

    /// A question that any node answers, or has answered where the meta shard is led: those with a replica of it first. The next is asked
    /// where the one before could not; of what does something, only where that surely did nothing.
    async fn ask_any<T>(
        &self,
        effect: Effect,
        ask: impl AsyncFn(ClusterClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let map = self.map().await?;
        let hosts = map.shards.iter().filter(|it| it.shard == ShardId::META.0).flat_map(|it| &it.replicas);
        let hosts: Vec<u64> = hosts.map(|it| it.node).collect();
        let (first, then): (Vec<_>, Vec<_>) = map.nodes.iter().partition(|it| hosts.contains(&it.node));
        let asked = first.into_iter().chain(then).map(|node| async {
            let answer = self.ask(&node.client_addr, |client| ask(client)).await;
            match answer {
                Ok(answer) => Ok(Ok(answer.into_inner())),
                Err(status) => {
                    let failure = Failure::of_status(&node.client_addr, effect, &status);
                    let harmless = effect == Effect::Read || flotilla_proto::status::definite(&status);
                    if status.code() == Code::Unavailable && harmless {
                        Err(failure)
                    } else {
                        Ok(Err(failure))
                    }
                }
            }
        });
        let answer = match effect {
            Effect::Read => first_answer(asked).await,
            Effect::Write => one_by_one(asked).await,
        };
        answer.unwrap_or_else(|reasons| {
            let none = || Failure::Refused("the cluster map names no node".to_string());
            Err(match reasons.into_iter().last().unwrap_or_else(none) {
                Failure::Refused(text) if text.contains(LATE) => {
                    Failure::Refused(format!("{text}; has the meta shard a leader? (kvctl status)"))
                }
                other => other,
            })
        })
    }

    /// One question to one address, within the timeout.
    async fn ask<T, F>(
        &self,
        address: &str,
        ask: impl FnOnce(ClusterClient<Channel>) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let late = || Status::unavailable(format!("{LATE} {} ms", self.timeout.as_millis()));
        let endpoint = TonicEndpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::invalid_argument(error.to_string()))?
            .connect_timeout(self.timeout.min(CONNECT_TIMEOUT_MAX));
        let tls = self.tls().map_err(|failure| Status::invalid_argument(failure.to_string()))?;
        let channel = match timeout_at(deadline, connect(endpoint, tls, Whom::Server)).await {
            Err(_) => return Err(late()),
            Ok(Err(error)) => return Err(unreachable(&error)),
            Ok(Ok(channel)) => channel,
        };
        let client = ClusterClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = timeout_at(deadline, ask(client)).await.unwrap_or_else(|_| Err(late()));
        match answer {
            Err(status) if tls.is_none() && flotilla_proto::status::detail(&status).is_none() => {
                Err(if flotilla_tls::wants_tls(address).await { encrypted() } else { status })
            }
            answer => answer,
        }
    }
}

/// Asks one after the other, the next also when one takes its time: the first answer counts. The error is all the reasons why there
/// is none, in the order of the questions.
async fn first_answer<T, E>(
    asked: impl Iterator<Item = impl Future<Output = Result<T, E>>>,
) -> Result<T, Vec<E>> {
    let mut asked = asked.enumerate();
    let (mut under_way, mut reasons) = (FuturesUnordered::new(), BTreeMap::new());
    loop {
        let is_last = match asked.next() {
            Some((place, ask)) => {
                under_way.push(async move { (place, ask.await) });
                false
            }
            None => true,
        };
        let answer = if is_last {
            under_way.next().await
        } else {
            match timeout(SLOW, under_way.next()).await {
                Ok(answer) => answer,
                Err(_) => continue,
            }
        };
        match answer {
            Some((_, Ok(answer))) => return Ok(answer),
            Some((place, Err(reason))) => drop(reasons.insert(place, reason)),
            None => return Err(reasons.into_values().collect()),
        }
    }
}

/// Asks one after the other, the next when one could not.
async fn one_by_one<T, E>(
    asked: impl Iterator<Item = impl Future<Output = Result<T, E>>>,
) -> Result<T, Vec<E>> {
    let mut reasons = Vec::new();
    for ask in asked {
        match ask.await {
            Ok(answer) => return Ok(answer),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons)
}

/// The newest map that a node or router knows, also when the meta shard is down.
async fn get_map(mut client: ClusterClient<Channel>) -> Result<wire::ClusterMap, Status> {
    let request = wire::GetMapRequest { linearizable: false, route_mode: wire::RouteMode::Proxy.into() };
    match client.get_map(request).await?.into_inner().outcome {
        Some(wire::get_map_response::Outcome::Result(map)) => Ok(map),
        _ => Err(Status::internal("it sent no map")),
    }
}

/// Who waits for TLS has understood nothing, so nothing was executed.
fn encrypted() -> Status {
    let hint = "it does not speak HTTP/2 in clear: does it want --tls-cert, --tls-key and --tls-ca?";
    flotilla_proto::status::unavailable(None, 0, hint)
}

/// No connection: nothing was asked, so nothing was executed.
fn unreachable(error: &(dyn Error + 'static)) -> Status {
    flotilla_proto::status::unavailable(None, 0, root_cause(error))
}

/// The innermost reason: "transport error" helps nobody, "Connection refused" does.
#[must_use]
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = one_line(&cause.to_string());
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_lowercase(),
        None => text,
    }
}

/// No endpoint answered: all reasons on one line, and a hint.
fn nobody(reasons: &[(&Endpoint, Status)]) -> Failure {
    let said =
        |(endpoint, status): &(&Endpoint, Status)| format!("{endpoint}: {}", one_line(status.message()));
    let list = reasons.iter().map(said).collect::<Vec<_>>().join("; ");
    if reasons.iter().any(|(_, status)| status.code() == Code::Internal) {
        return Failure::Internal(list);
    }
    Failure::Refused(format!(
        "no fleet answers: {list} (start one with `kvctl dev`, or name one with --endpoint)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn the_innermost_reason_is_named() {
        #[derive(Debug, thiserror::Error)]
        #[error("transport error")]
        struct Outer(#[source] io::Error);
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(root_cause(&Outer(refused)), "connection refused");
        assert_eq!(root_cause(&Outer(io::Error::other("odd\nthings"))), "odd things");
    }

    #[tokio::test]
    async fn who_hangs_does_not_hold_up_the_others() {
        let ask = |answer: Option<Result<u8, u8>>| async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        };
        let asked = [None, Some(Err(1)), None, Some(Ok(3)), Some(Ok(4))].map(ask);
        assert_eq!(first_answer(asked.into_iter()).await, Ok(3));
        let gate = tokio::sync::Notify::new();
        let (gate, late) = (&gate, [true, false].into_iter());
        let asked = late.map(|is_late| async move {
            if is_late {
                gate.notified().await
            } else {
                gate.notify_one()
            }
            Err::<u8, bool>(is_late)
        });
        assert_eq!(first_answer(asked).await, Err(vec![true, false]), "in the order of the questions");
        assert_eq!(first_answer(std::iter::empty::<std::future::Ready<Result<u8, u8>>>()).await, Err(vec![]));
    }

    #[tokio::test]
    async fn when_nobody_answers_each_endpoint_is_named_with_a_hint() {
        // A port that was free a moment ago: nobody listens.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint: Endpoint = free.to_string().parse().unwrap();
        let admin = Admin {
            endpoints: vec![endpoint.clone(), endpoint],
            timeout: Duration::from_secs(2),
            credentials: Credentials::default(),
        };
        let failure = admin.map().await.unwrap_err();
        let expected = format!(
            "no fleet answers: {free}: connection refused; {free}: connection refused \
             (start one with `kvctl dev`, or name one with --endpoint)"
        );
        assert_eq!(failure, Failure::Refused(expected));
    }
}
