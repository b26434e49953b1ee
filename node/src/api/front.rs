//! What all services of a node share, and the way of a request to the shard that it is for.
//!
//! ```text
//!   key ─► slot ─► shard (by the newest map here)
//!     ├─ our replica leads (or a stale read): answered here
//!     └─ another leads: REDIRECT says who · PROXY forwards once, in REDIRECT mode, so that nobody forwards it again
//! ```
//!
//! A forwarded request that meets a Redirect was surely not executed, so the leader that it names may be tried. A
//! connection that breaks with the request on its way ends the matter: nobody knows what became of it.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flotilla_proto::v1::{self, pipeline_operation, pipeline_result};
use flotilla_raft::Term;
use flotilla_tls::Tls;
use flotilla_topology::{ClusterMap, NodeId, ShardId, Slot};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::answers::incomplete;
use super::backends::{Backends, never_connected, passed_on};
use super::refusals;
use crate::config::Limits;
use crate::host::{Answer, Refusal, Token};
use crate::metrics::{Op, OpCounters, OpTable, Outcome};
use crate::runtime::{Input, NewestMap, Runtime};

/// How many nodes a request is forwarded to at most, one after the other, while each says that it is not the leader.
const FORWARDS_MAX: usize = 4;

/// What all services of a node share.
#[derive(Debug)]
pub struct Front {
    pub(super) node: NodeId,
    pub(super) runtime: Arc<Runtime>,
    pub(super) limits: Limits,
    pub(super) backends: Backends,
    map: watch::Receiver<NewestMap>,
    /// Who led the shards that have no replica here, as far as requests told.
    leaders: Mutex<HashMap<ShardId, (Term, NodeId)>>,
    ending: watch::Sender<bool>,
}

/// A request for one key (or for keys of one slot), parsed: it is within all limits.
pub(super) trait Verb: Clone + Send + Sync {
    /// As it stands on the wire.
    type Request;
    /// What it results in.
    type Result: Send;
    /// The result, or who leads instead, as it stands on the wire.
    type Response;

    /// How it is counted.
    const OP: Op;

    /// Bytes become types here, once.
    fn parse(limits: &Limits, asked: Self::Request) -> Result<Self, Status>;

    /// The key.
    fn key(&self) -> &Bytes;

    /// How much room it takes in an inbox, in bytes.
    fn bytes(&self) -> usize;

    /// What to do if another node leads.
    fn route_mode(&self) -> v1::RouteMode;

    /// Whether only the leader can serve it.
    fn needs_leader(&self) -> bool {
        true
    }

    /// What our worker is asked. Who may have to forward the request keeps a clone of it.
    fn input(self, shard: ShardId, token: Token) -> Input;

    /// What our worker's answer means.
    fn result(answer: Answer) -> Result<Self::Result, Status>;

    /// As what a result is counted.
    fn outcome(result: &Self::Result) -> Outcome;

    /// What the client is told.
    fn response(routed: Routed<Self::Result>) -> Self::Response;

    /// The same for another node, in REDIRECT mode.
    fn operation(&self) -> pipeline_operation::Operation;

    /// What another node answered. Nothing: that is no answer to this, or from a node of a later version.
    fn routed(outcome: pipeline_result::Outcome) -> Option<Routed<Self::Result>>;
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Routed<R> {
    /// It was served.
    Done(R),
    /// Another node shall be asked.
    Elsewhere(v1::Redirect),
}

/// Who leads a shard, as far as this node knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leader {
    pub(super) term: Term,
    pub(super) node: Option<NodeId>,
    /// Whether a replica of the shard lives here.
    pub(super) hosted: bool,
    /// Whether it was asked to serve this very request, and said so.
    pub(super) asked: bool,
}

impl Front {
    /// The front of a node.
    #[must_use]
    pub fn new(
        node: NodeId,
        runtime: Arc<Runtime>,
        limits: Limits,
        map: watch::Receiver<NewestMap>,
        message_bytes_max: usize,
        tls: Option<Tls>,
    ) -> Self {
        Self {
            node,
            runtime,
            limits,
            backends: Backends::new(message_bytes_max, tls),
            map,
            leaders: Mutex::default(),
            ending: watch::Sender::new(false),
        }
    }

    /// From now on new requests are refused.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Ends when new requests are refused: streams without an end of their own end then.
    pub(super) fn ending(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ending = self.ending.subscribe();
        async move {
            // An error says that the front itself is gone, which is as good.
            drop(ending.wait_for(|ending| *ending).await);
        }
    }

    /// The newest map, while the node serves.
    pub(super) fn map(&self) -> Result<Arc<ClusterMap>, Status> {
        if *self.ending.borrow() {
            return Err(refusals::ending(None));
        }
        self.map.borrow().clone().ok_or_else(refusals::no_map)
    }

    /// The newest map, whether or not the node serves.
    pub(super) fn newest_map(&self) -> NewestMap {
        self.map.borrow().clone()
    }

    /// Hears of newer maps.
    pub(super) fn maps(&self) -> watch::Receiver<NewestMap> {
        self.map.clone()
    }

    /// Serves a unary call for one key.
    pub(super) async fn unary<V: Verb>(
        &self,
        asked: Request<V::Request>,
    ) -> Result<Response<V::Response>, Status> {
        let verb = V::parse(&self.limits, asked.into_inner());
        let verb = verb.inspect_err(|_| self.ops().unplaced().count(V::OP, Outcome::Invalid))?;
        Ok(Response::new(V::response(self.serve(verb).await?)))
    }

    /// Serves a request for one key, here or by another node.
    async fn serve<V: Verb>(&self, verb: V) -> Result<Routed<V::Result>, Status> {
        let map = self.map().inspect_err(|_| self.ops().unplaced().count(V::OP, Outcome::Refused))?;
        let slot = Slot::of(verb.key());
        let shard = map.shard_of(slot);
        match verb.route_mode() {
            v1::RouteMode::Redirect => Ok(match self.ask(shard, verb).await? {
                Ok(result) => Routed::Done(result),
                Err(leader) => {
                    self.counters(shard, leader).count(V::OP, Outcome::Redirected);
                    Routed::Elsewhere(self.redirect(&map, Some(slot), shard, leader))
                }
            }),
            v1::RouteMode::Proxy => {
                let leader = match self.led_elsewhere(shard, &verb) {
                    Some(leader) => leader,
                    None => match self.ask(shard, verb.clone()).await? {
                        Ok(result) => return Ok(Routed::Done(result)),
                        Err(leader) => leader,
                    },
                };
                self.pass_on(&map, shard, leader, &verb, None).await
            }
        }
    }

    /// Who leads, where that is another node for all that is known here: then no worker need be woken to say so.
    pub(super) fn led_elsewhere<V: Verb>(&self, shard: ShardId, verb: &V) -> Option<Leader> {
        if !verb.needs_leader() {
            return None;
        }
        let leader = match self.runtime.leader(shard) {
            Some((term, node)) => Leader { term, node, hosted: true, asked: false },
            None => Leader { asked: false, ..self.remembered(shard) },
        };
        leader.node.is_some_and(|node| node != self.node).then_some(leader)
    }

    /// Has a request for one key served by the node that leads, together with what others ask of that node now. After the
    /// deadline nobody waits for it any more.
    pub(super) async fn pass_on<V: Verb>(
        &self,
        map: &ClusterMap,
        shard: ShardId,
        leader: Leader,
        verb: &V,
        deadline: Option<Instant>,
    ) -> Result<Routed<V::Result>, Status> {
        let send = |address: String| async move {
            let (operation, bytes) = (verb.operation(), verb.bytes());
            let outcome = self.backends.carry(shard, &address, operation, bytes, deadline).await?;
            V::routed(outcome).ok_or_else(incomplete)
        };
        let mut leader = leader;
        let routed = loop {
            match self.search(map, shard, leader, send).await {
                Ok(Some(routed)) => break Ok(routed),
                // We only thought that another leads, and nobody has executed it: perhaps we do by now.
                Ok(None) if !leader.asked => match self.ask(shard, verb.clone()).await? {
                    Ok(result) => return Ok(Routed::Done(result)),
                    Err(told) => leader = told,
                },
                Ok(None) => break Err(refusals::no_leader(shard)),
                Err(failure) => break Err(failure),
            }
        };
        let outcome = routed.as_ref().map_or_else(Outcome::of, |_| Outcome::Forwarded);
        self.counters(shard, leader).count(V::OP, outcome);
        routed
    }

    /// Asks our own replica. The inner error names who leads instead.
    async fn ask<V: Verb>(&self, shard: ShardId, verb: V) -> Result<Result<V::Result, Leader>, Status> {
        let answer = self.runtime.ask(shard, verb.bytes(), |token| verb.input(shard, token)).await;
        match answer {
            Ok(answer) => self.answered::<V>(shard, answer),
            Err(_) => {
                self.ops().of(shard).count(V::OP, Outcome::Unknown);
                Err(refusals::ended(shard))
            }
        }
    }

    /// What our own replica answered, counted. The inner error names who leads instead: it is counted by what is made of it.
    pub(super) fn answered<V: Verb>(
        &self,
        shard: ShardId,
        answer: Answer,
    ) -> Result<Result<V::Result, Leader>, Status> {
        let result = match self.own(shard, answer) {
            Ok(Ok(answer)) => V::result(answer),
            Ok(Err(leader)) => return Ok(Err(leader)),
            Err(failure) => Err(failure),
        };
        let outcome = result.as_ref().map_or_else(Outcome::of, V::outcome);
        self.ops().of(shard).count(V::OP, outcome);
        result.map(Ok)
    }

    /// What became of requests, by shard.
    pub(super) fn ops(&self) -> &OpTable {
        &self.runtime.metrics().ops
    }

    /// The counters for a request that another node shall serve.
    pub(super) fn counters(&self, shard: ShardId, leader: Leader) -> &OpCounters {
        if leader.hosted { self.ops().of(shard) } else { self.ops().unplaced() }
    }

    /// Sorts out the answers that are no result.
    pub(super) fn own(&self, shard: ShardId, answer: Answer) -> Result<Result<Answer, Leader>, Status> {
        match answer {
            Answer::Refused(Refusal::NotHosted { .. }) => Ok(Err(self.remembered(shard))),
            Answer::Refused(Refusal::NotLeader { term, leader, .. }) => {
                Ok(Err(Leader { term, node: leader, hosted: true, asked: true }))
            }
            Answer::Refused(refusal) => Err(refusals::refused(shard, &refusal)),
            Answer::WrongSlot(..) => Err(refusals::wrong_slot(shard)),
            answer => Ok(Ok(answer)),
        }
    }

    /// Tries the leader, and whom it names instead.
    pub(super) async fn forward<R, F>(
        &self,
        map: &ClusterMap,
        shard: ShardId,
        leader: Leader,
        send: impl Fn(String) -> F + Send + Sync,
    ) -> Result<Routed<R>, Status>
    where
        R: Send,
        F: Future<Output = Result<Routed<R>, Status>> + Send,
    {
        self.search(map, shard, leader, send).await?.ok_or_else(|| refusals::no_leader(shard))
    }

    /// The same. Nothing: nobody who was tried leads, and nobody has executed anything.
    async fn search<R, F>(
        &self,
        map: &ClusterMap,
        shard: ShardId,
        leader: Leader,
        send: impl Fn(String) -> F + Send + Sync,
    ) -> Result<Option<Routed<R>>, Status>
    where
        R: Send,
        F: Future<Output = Result<Routed<R>, Status>> + Send,
    {
        let mut tried = BTreeSet::from([self.node]);
        let mut next = leader.node;
        for _ in 0..FORWARDS_MAX {
            let Some(node) = next.filter(|node| !tried.contains(node)).or_else(|| {
                // Without a replica here any of its replicas can say who leads. With one, they know no more than ours.
                if leader.hosted { None } else { untried(map, shard, &tried) }
            }) else {
                break;
            };
            tried.insert(node);
            let address = map
                .nodes
                .get(&node)
                .map(|info| info.client_addr.clone())
                .filter(|address| !address.is_empty());
            let Some(address) = address else {
                next = None;
                continue;
            };
            next = match send(address).await {
                Ok(Routed::Done(result)) => {
                    self.remember(shard, leader.term, node);
                    return Ok(Some(Routed::Done(result)));
                }
                Ok(Routed::Elsewhere(redirect)) => {
                    let named = NodeId(redirect.leader_node);
                    self.remember(shard, Term(redirect.term), named);
                    (redirect.leader_node != 0).then_some(named)
                }
                Err(failure) if never_connected(&failure) && !leader.hosted => None,
                Err(failure) => return Err(passed_on(shard, failure)),
            };
        }
        Ok(None)
    }

    /// Tells a client where to go.
    pub(super) fn redirect(
        &self,
        map: &ClusterMap,
        slot: Option<Slot>,
        shard: ShardId,
        leader: Leader,
    ) -> v1::Redirect {
        // Who has no replica of the shard, and has heard of no leader, names one that has: under term 0, which any
        // real news supersedes.
        let node = leader
            .node
            .or_else(|| if leader.hosted { None } else { untried(map, shard, &BTreeSet::from([self.node])) });
        let info = node.and_then(|node| map.nodes.get(&node));
        v1::Redirect {
            slot: slot.map_or(0, |slot| u32::from(slot.number())),
            shard: shard.0,
            epoch: map.epoch.0,
            term: leader.term.0,
            leader_node: info.and(node).map_or(0, |node| node.0),
            leader_addr: info.map(|info| info.client_addr.to_string()).unwrap_or_default(),
        }
    }

    /// Who led a shard that has no replica here, as far as requests told.
    fn remembered(&self, shard: ShardId) -> Leader {
        let leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        let known = leaders.get(&shard).copied();
        Leader {
            term: known.map(|(term, _)| term).unwrap_or_default(),
            node: known.map(|(_, node)| node),
            hosted: false,
            asked: true,
        }
    }

    fn remember(&self, shard: ShardId, term: Term, node: NodeId) {
        if node.0 == 0 {
            return;
        }
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        let known = leaders.entry(shard).or_insert((term, node));
        if known.0 <= term {
            *known = (term, node);
        }
    }
}

/// A node with a replica of the shard that was not tried yet.
fn untried(map: &ClusterMap, shard: ShardId, tried: &BTreeSet<NodeId>) -> Option<NodeId> {
    map.preference(shard).find(|node| !tried.contains(node))
}
