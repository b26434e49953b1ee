//! For a program that stands between other clients and the fleet, as a router does: requests go on as they came, answers
//! come back as they are.
//!
//! Only two things are changed in a request. `route_mode` becomes REDIRECT, so that nobody forwards it twice. And a write
//! without a request id gets one of this client's, because it may be sent several times from here. An id that is there stays:
//! the result is remembered under it, so an attempt that the caller makes through another router is the same write.
//!
//! What it does not do: answer for nodes (their status), or change what a refusal says. [`Unanswered`] keeps the last one,
//! so that its code and its hints can be passed back.

use std::time::Duration;

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_topology::{Route, ShardId, Slot};

use crate::call::Call;
use crate::client::check;
use crate::crew::wall_ms;
use crate::dispatch::{Effect, Failure, Target, passed_on};
use crate::scan::Pages;
use crate::{Client, Error, ScanRange, txn};

/// Why a forwarded request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What may have happened, all attempts considered.
    pub error: Error,
    /// How the last attempt failed; nothing if there was none, or it was answered by a redirect.
    pub last: Option<Failure>,
    /// The shard that was asked, where it is known.
    pub shard: Option<ShardId>,
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self { error, last: None, shard: None }
    }
}

/// Forwards requests, each within a time.
#[derive(Clone, Debug)]
pub struct Forwarder {
    client: Client,
    within: Duration,
}

impl Client {
    /// Forwards other clients' requests, each within this time or the client's own deadline, whichever is shorter.
    #[must_use]
    pub fn forwarder(&self, within: Duration) -> Forwarder {
        Forwarder { client: self.clone(), within: within.min(self.crew.options.deadline) }
    }

    /// How many answers of nodes named another leader, since this client was made.
    #[must_use]
    pub fn redirects(&self) -> u64 {
        self.crew.redirects()
    }

    /// Who leads the shard of a target, as far as is known: the report of the highest (epoch, term). Nothing for a target
    /// without a shard.
    #[must_use]
    pub fn route(&self, target: Target) -> Option<Route> {
        self.crew.chart.read(|routes| {
            let (shard, map) = (routes.shard(target)?, routes.map()?);
            let slot = if let Target::Slot(slot) = target { slot } else { Slot::default() };
            // A report is of some slot of the shard; it holds for all of them.
            let known = routes.route(target);
            Some(Route {
                slot,
                shard,
                epoch: known.map_or(map.epoch, |known| known.epoch.max(map.epoch)),
                term: known.map(|known| known.term).unwrap_or_default(),
                leader: known.and_then(|known| known.leader.clone()),
            })
        })
    }
}

impl Forwarder {
    /// Forwards a read of a key.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn get(&self, mut request: v1::GetRequest) -> Result<v1::GetResult, Unanswered> {
        check(&request.key, 0)?;
        request.route_mode = self.client.crew.route_mode();
        let result = self.run(slot_of(&request.key), Effect::Read, &request).await?;
        if let Some(stamp) = &result.stamp {
            self.client.crew.clock().at_least(ShardId(stamp.shard), stamp.shard_time_ms, wall_ms());
        }
        Ok(result)
    }

    /// Forwards a put.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn put(&self, mut request: v1::PutRequest) -> Result<v1::PutResult, Unanswered> {
        check(&request.key, request.value.len())?;
        let own = request.request.is_none().then(|| self.client.begin_write(Slot::of(&request.key)));
        request.request = passed_on(request.request, own.as_ref().map(|own| own.id));
        request.route_mode = self.client.crew.route_mode();
        self.write(slot_of(&request.key), &request).await
    }

    /// Forwards a deletion.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn delete(&self, mut request: v1::DeleteRequest) -> Result<v1::DeleteResult, Unanswered> {
        check(&request.key, 0)?;
        let own = request.request.is_none().then(|| self.client.begin_write(Slot::of(&request.key)));
        request.request = passed_on(request.request, own.as_ref().map(|own| own.id));
        request.route_mode = self.client.crew.route_mode();
        self.write(slot_of(&request.key), &request).await
    }

    /// Forwards a compare-and-swap.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn compare_and_swap(
        &self,
        mut request: v1::CompareAndSwapRequest,
    ) -> Result<v1::CompareAndSwapResult, Unanswered> {
        check(&request.key, request.value.len())?;
        let own = request.request.is_none().then(|| self.client.begin_write(Slot::of(&request.key)));
        request.request = passed_on(request.request, own.as_ref().map(|own| own.id));
        request.route_mode = self.client.crew.route_mode();
        self.write(slot_of(&request.key), &request).await
    }

    /// Forwards a transaction. What is wrong with it by itself (no key, keys of several slots) is refused here.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn txn(&self, mut request: v1::TxnRequest) -> Result<v1::TxnResult, Unanswered> {
        let slot = txn::check(&request)?;
        let own = request.request.is_none().then(|| self.client.begin_write(slot));
        request.request = passed_on(request.request, own.as_ref().map(|own| own.id));
        request.route_mode = self.client.crew.route_mode();
        self.write(Target::Slot(slot), &request).await
    }

    /// Forwards a scan. Its pages come as the nodes make them: of one shard from its leader, of all shards merged by a node.
    /// Where a stream breaks, the scan goes on behind the last page; the deadline is for each page.
    #[must_use]
    pub fn scan(&self, request: v1::ScanRequest) -> Pages {
        let consistency = request.consistency;
        let shard = request.shard.map(ShardId);
        let range = ScanRange {
            from: request.from,
            to: Some(request.to).filter(|to| !to.is_empty()),
            reverse: request.reverse,
            limit: (request.limit > 0).then_some(request.limit),
        };
        Pages::forward(&self.client.crew, shard, range, consistency)
    }

    /// Forwards a question for the cluster map.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn map(&self, linearizable: bool) -> Result<v1::ClusterMap, Unanswered> {
        let route_mode = self.client.crew.route_mode();
        let request = v1::GetMapRequest { linearizable, route_mode };
        self.run(Target::Shard(ShardId::META), Effect::Read, &request).await
    }

    /// Forwards a transfer of leadership.
    ///
    /// # Errors
    ///
    /// See [`Unanswered`].
    pub async fn transfer_leader(
        &self,
        mut request: v1::TransferLeaderRequest,
    ) -> Result<v1::TransferLeaderResult, Unanswered> {
        request.route_mode = self.client.crew.route_mode();
        self.run(Target::Shard(ShardId(request.shard)), Effect::Write, &request).await
    }

    async fn write<C: Call>(&self, target: Target, request: &C) -> Result<C::Answer, Unanswered> {
        let answer = self.run(target, Effect::Write, request).await?;
        if let Some(stamp) = C::stamp(&answer) {
            self.client.crew.clock().present(ShardId(stamp.shard), stamp.shard_time_ms, wall_ms());
        }
        Ok(answer)
    }

    async fn run<C: Call>(
        &self,
        target: Target,
        effect: Effect,
        request: &C,
    ) -> Result<C::Answer, Unanswered> {
        let crew = &self.client.crew;
        let operation = crew.operation_within(crew.aim(target), effect, self.within);
        let mut last = None;
        let result = crew.run_noting(operation, request, &mut last).await;
        result.map_err(|error| {
            let shard = crew.chart.read(|routes| routes.shard(target));
            Unanswered { error, last, shard }
        })
    }
}

fn slot_of(key: &Bytes) -> Target {
    Target::Slot(Slot::of(key))
}
