//! Drives operations: asks the machines of [`crate::dispatch`] what to do next, does it, and reports back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use flotilla_proto::v1;
use flotilla_raft::Term;
use flotilla_topology::{Epoch, NodeId, Route, ShardId};
use tokio::time::{Instant, sleep_until, timeout};

use crate::call::{Call, Reply};
use crate::connections::Connections;
use crate::dispatch::{Effect, Failure, Operation, Patience, Requests, Routes, ShardClock, Step, Target};
use crate::{Error, wire_map};

/// How long one operation, one attempt and one connection may take, and which way they go.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) deadline: Duration,
    pub(crate) attempt: Duration,
    pub(crate) connect: Duration,
    pub(crate) through_endpoints: bool,
}

/// The map is not fetched again sooner, however many redirects speak of a newer one: it may not have reached anyone yet.
const REFRESH_INTERVAL_MS: u64 = 100;

/// What all operations of one client share.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) options: Options,
    pub(crate) connections: Connections,
    origin: Instant,
    routes: Mutex<Routes>,
    requests: Mutex<Requests>,
    clock: Mutex<ShardClock>,
    seeds: AtomicU64,
    refreshing: AtomicBool,
    /// In ms since the origin.
    refresh_not_before: AtomicU64,
}

impl Crew {
    /// `random`: the client's id, drawn at random; also where its waits get their jitter from.
    pub(crate) fn new(endpoints: Vec<String>, options: Options, random: u128) -> Self {
        Self {
            connections: Connections::new(options.connect),
            options,
            origin: Instant::now(),
            routes: Mutex::new(Routes::new(endpoints)),
            requests: Mutex::new(Requests::new(random)),
            clock: Mutex::new(ShardClock::default()),
            seeds: AtomicU64::new(random as u64),
            refreshing: AtomicBool::new(false),
            refresh_not_before: AtomicU64::new(0),
        }
    }

    pub(crate) fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, ShardClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where an operation for this target goes: straight, or through an endpoint.
    pub(crate) fn aim(&self, target: Target) -> Target {
        if self.options.through_endpoints { Target::Anyone } else { target }
    }

    /// What to ask for in `route_mode`.
    pub(crate) fn route_mode(&self) -> i32 {
        let through = self.options.through_endpoints;
        (if through { v1::RouteMode::Proxy } else { v1::RouteMode::Redirect }).into()
    }

    /// A new operation that may take as long as the options say.
    pub(crate) fn operation(&self, target: Target, effect: Effect) -> Operation {
        self.operation_within(target, effect, self.options.deadline)
    }

    /// A new operation that may take so long.
    pub(crate) fn operation_within(&self, target: Target, effect: Effect, within: Duration) -> Operation {
        let deadline = self.now() + within;
        let patience = Patience { deadline, attempt: self.options.attempt };
        Operation::new(target, effect, patience, self.seeds.fetch_add(1, Ordering::Relaxed))
    }

    /// Time as the operations count it.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Makes attempts until one is answered or the operation ends.
    pub(crate) async fn run<C: Call>(
        self: &Arc<Self>,
        operation: Operation,
        call: &C,
    ) -> Result<C::Answer, Error> {
        self.run_noting(operation, call, &mut None).await
    }

    /// As `run`; notes how the last attempt failed, if it did.
    pub(crate) async fn run_noting<C: Call>(
        self: &Arc<Self>,
        mut operation: Operation,
        call: &C,
        last: &mut Option<Failure>,
    ) -> Result<C::Answer, Error> {
        loop {
            let (to, patience) = self.next(&mut operation).await?;
            match self.attempt(call, &to, patience).await {
                Ok(Reply::Answer(answer)) => {
                    if let Some(stamp) = C::stamp(&answer) {
                        operation.answered(ShardId(stamp.shard), Term(stamp.term), &mut self.routes());
                    }
                    return Ok(answer);
                }
                Ok(Reply::Redirect(redirect)) => {
                    *last = None;
                    self.redirected(&mut operation, redirect);
                }
                Ok(Reply::Nothing) => {
                    let failure = last.insert(Failure::lost(format!("{to}: empty answer")));
                    self.failed(&mut operation, failure);
                }
                Err(failure) => self.failed(&mut operation, last.insert(failure)),
            }
        }
    }

    /// Waits until the next attempt is due; says to whom, and how long it may take.
    pub(crate) async fn next(&self, operation: &mut Operation) -> Result<(String, Duration), Error> {
        loop {
            let step = operation.next(self.now(), &self.routes());
            match step {
                Step::Send { to, timeout } => return Ok((to, timeout)),
                Step::Wait { until } => sleep_until(self.origin + until).await,
                Step::Fail(error) => return Err(error),
            }
        }
    }

    pub(crate) fn redirected(self: &Arc<Self>, operation: &mut Operation, redirect: v1::Redirect) {
        match route(redirect) {
            Some(route) => operation.redirected(self.now(), &route, &mut self.routes()),
            None => self.failed(operation, &Failure::not_sent("redirected to a slot that does not exist")),
        }
        self.refresh();
    }

    pub(crate) fn failed(&self, operation: &mut Operation, failure: &Failure) {
        let shard = self.routes().shard(operation.target());
        if let (Some(shard), Some(shard_time_ms)) = (shard, failure.shard_time_ms) {
            self.clock().present(shard, shard_time_ms, wall_ms());
        }
        operation.failed(self.now(), failure, &mut self.routes());
    }

    async fn attempt<C: Call>(
        &self,
        call: &C,
        to: &str,
        patience: Duration,
    ) -> Result<Reply<C::Answer>, Failure> {
        let began = Instant::now();
        let connection = match timeout(patience, self.connections.get(to)).await {
            Ok(made) => made.map_err(Failure::not_sent)?,
            Err(_) => return Err(Failure::not_sent(format!("{to}: no connection in time"))),
        };
        let left = patience.saturating_sub(began.elapsed());
        match timeout(left, call.send(connection.channel.clone(), left)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(status)) => {
                if flotilla_proto::status::detail(&status).is_none() {
                    self.connections.forget(to, &connection).await;
                }
                Err(Failure::from_status(&status))
            }
            Err(_) => Err(Failure::lost(format!("{to}: no answer within {} ms", left.as_millis()))),
        }
    }

    /// Fetches the map.
    pub(crate) async fn fetch_map(self: &Arc<Self>) -> Result<(), Error> {
        let request = v1::GetMapRequest { linearizable: false, route_mode: self.route_mode() };
        let operation = self.operation(self.aim(Target::Shard(ShardId::META)), Effect::Read);
        let map = self.run(operation, &request).await?;
        let map = wire_map::decode(map).map_err(|error| Error::not_executed(error.to_string()))?;
        self.routes().set_map(map);
        Ok(())
    }

    /// Fetches the map in the background if someone spoke of a newer one.
    pub(crate) fn refresh(self: &Arc<Self>) {
        let now = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        let recent = now < self.refresh_not_before.load(Ordering::Relaxed);
        if recent || !self.routes().map_is_old() || self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.refresh_not_before.store(now.saturating_add(REFRESH_INTERVAL_MS), Ordering::Relaxed);
        let crew = Arc::clone(self);
        tokio::spawn(async move {
            // A failure needs no answer: the next redirect that speaks of a newer map comes here again.
            let _ = crew.fetch_map().await;
            crew.refreshing.store(false, Ordering::Release);
        });
    }
}

/// Our wall clock, in ms since the Unix epoch.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn route(redirect: v1::Redirect) -> Option<Route> {
    let slot = wire_map::slot(redirect.slot)?;
    let known = !redirect.leader_addr.is_empty();
    Some(Route {
        slot,
        shard: ShardId(redirect.shard),
        epoch: Epoch(redirect.epoch),
        term: Term(redirect.term),
        leader: known.then_some((NodeId(redirect.leader_node), redirect.leader_addr)),
    })
}
