//! Drives operations: asks the machines of [`crate::dispatch`] what to do next, does it, and reports back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use flotilla_proto::limits::MESSAGE_BYTES_MAX;
use flotilla_proto::v1;
use flotilla_raft::Term;
use flotilla_tls::Tls;
use flotilla_topology::{Epoch, NodeId, Route, ShardId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::call::{Call, Reply};
use crate::chart::Chart;
use crate::connections::Connections;
use crate::dispatch::{Effect, Failure, Operation, Patience, Requests, Routes, ShardClock, Step, Target};
use crate::lanes::{Arrival, Lanes};
use crate::{Error, watch, wire_map};

/// How long one operation, one attempt and one connection may take, and which way they go.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) deadline: Duration,
    pub(crate) attempt: Duration,
    pub(crate) connect: Duration,
    pub(crate) through_endpoints: bool,
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) tls: Option<Tls>,
}

/// What an operation under way takes up beside its keys and values: so the room for bytes bounds their number too.
pub(crate) const OPERATION_BYTES: usize = 256;

/// The map is not fetched again sooner, however many redirects speak of a newer one: it may not have reached anyone yet.
const REFRESH_INTERVAL_MS: u64 = 100;

/// What all operations of one client share.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) options: Options,
    pub(crate) connections: Arc<Connections>,
    pub(crate) chart: Chart,
    lanes: Lanes,
    /// In bytes: what may still be under way.
    room: Arc<Semaphore>,
    origin: Instant,
    requests: Mutex<Requests>,
    clock: Mutex<ShardClock>,
    seeds: AtomicU64,
    redirects: AtomicU64,
    refreshing: AtomicBool,
    /// In ms since the origin.
    refresh_not_before: AtomicU64,
    watch: OnceLock<AbortHandle>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.get() {
            watch.abort();
        }
    }
}

impl Crew {
    /// `random`: the client's id, drawn at random; also where its waits get their jitter from.
    pub(crate) fn new(endpoints: Vec<String>, options: Options, random: u128) -> Self {
        let connections = Arc::new(Connections::new(options.connect, options.tls.clone()));
        Self {
            lanes: Lanes::new(Arc::clone(&connections), options.attempt, MESSAGE_BYTES_MAX),
            connections,
            chart: Chart::new(Routes::new(endpoints)),
            room: Arc::new(Semaphore::new(options.in_flight_bytes_max)),
            options,
            origin: Instant::now(),
            requests: Mutex::new(Requests::new(random)),
            clock: Mutex::new(ShardClock::default()),
            seeds: AtomicU64::new(random as u64),
            redirects: AtomicU64::new(0),
            refreshing: AtomicBool::new(false),
            refresh_not_before: AtomicU64::new(0),
            watch: OnceLock::new(),
        }
    }

    /// Follows the map from now on, as long as there is a client.
    pub(crate) fn watch_map(self: &Arc<Self>) {
        if !self.options.through_endpoints {
            let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
            self.watch.get_or_init(|| watch::start(self, seed));
        }
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clock(&self) -> MutexGuard<'_, ShardClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many answers named another leader.
    pub(crate) fn redirects(&self) -> u64 {
        self.redirects.load(Ordering::Relaxed)
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
        let _room = self.room(call.bytes(), &operation).await?;
        let mut way = match operation.target() {
            Target::Slot(slot) => self.chart.way(slot),
            _ => None,
        };
        loop {
            let (to, patience) = match &way {
                Some(way) => sent(operation.first(self.now(), Arc::clone(&way.address)))?,
                None => self.next(&mut operation).await?,
            };
            let way = way.take();
            match self.attempt(call, &to, patience).await {
                Ok(Reply::Answer(answer)) => {
                    let stamp = C::stamp(&answer).map(|stamp| (ShardId(stamp.shard), Term(stamp.term)));
                    // What the way said already is no news.
                    if let Some((shard, term)) = stamp
                        && way.is_none_or(|way| (way.shard, way.term) != (shard, term))
                    {
                        self.chart.change(|routes| operation.answered(shard, term, routes));
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

    /// Waits for room among what is under way, within the operation's deadline.
    async fn room(&self, bytes: usize, operation: &Operation) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if bytes == 0 {
            return Ok(None);
        }
        // What is larger than all the room goes alone.
        let wanted = bytes.saturating_add(OPERATION_BYTES).min(self.options.in_flight_bytes_max);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(wanted) {
            return Ok(Some(room));
        }
        let waited = Arc::clone(&self.room).acquire_many_owned(wanted);
        match timeout_at(self.origin + operation.deadline(), waited).await {
            Ok(Ok(room)) => Ok(Some(room)),
            Ok(Err(_)) | Err(_) => {
                let limit = self.options.in_flight_bytes_max;
                Err(Error::not_executed(format!("{limit} bytes were under way until the deadline")))
            }
        }
    }

    /// Waits until the next attempt is due; says to whom, and how long it may take.
    pub(crate) async fn next(&self, operation: &mut Operation) -> Result<(Arc<str>, Duration), Error> {
        loop {
            let now = self.now();
            match self.chart.read(|routes| operation.next(now, routes)) {
                Step::Wait { until } => sleep_until(self.origin + until).await,
                step => return sent(step),
            }
        }
    }

    pub(crate) fn redirected(self: &Arc<Self>, operation: &mut Operation, redirect: v1::Redirect) {
        self.redirects.fetch_add(1, Ordering::Relaxed);
        match route(redirect) {
            Some(route) => {
                self.chart.change(|routes| operation.redirected(self.now(), &route, routes));
            }
            None => self.failed(operation, &Failure::not_sent("redirected to a slot that does not exist")),
        }
        self.refresh();
    }

    pub(crate) fn failed(&self, operation: &mut Operation, failure: &Failure) {
        let shard = self.chart.read(|routes| routes.shard(operation.target()));
        if let (Some(shard), Some(shard_time_ms)) = (shard, failure.shard_time_ms) {
            self.clock().present(shard, shard_time_ms, wall_ms());
        }
        self.chart.change(|routes| operation.failed(self.now(), failure, routes));
    }

    /// Makes one attempt: on a lane where that goes, else by itself.
    async fn attempt<C: Call>(
        &self,
        call: &C,
        to: &Arc<str>,
        patience: Duration,
    ) -> Result<Reply<C::Answer>, Failure> {
        let Some(piped) = call.operation() else { return self.alone(call, to, patience).await };
        let began = Instant::now();
        let arrival = match self.lanes.join(to, piped, call.bytes(), Some(patience)) {
            Ok(passage) => passage.await,
            Err(arrival) => arrival,
        };
        match arrival {
            Arrival::Answered(outcome) => {
                C::reply(outcome).ok_or_else(|| Failure::lost(format!("{to}: the answer to something else")))
            }
            Arrival::Failed(failure) => Err(failure),
            Arrival::Late(at) => Err(Arrival::late(to, at, Some(patience))),
            Arrival::NoPipeline => self.alone(call, to, patience.saturating_sub(began.elapsed())).await,
        }
    }

    /// Makes one attempt, by itself.
    async fn alone<C: Call>(
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
                    self.lanes.ask_again(to);
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
        self.chart.change(|routes| routes.set_map(map));
        Ok(())
    }

    /// Fetches the map in the background if someone spoke of a newer one.
    pub(crate) fn refresh(self: &Arc<Self>) {
        let now = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        let recent = now < self.refresh_not_before.load(Ordering::Relaxed);
        if recent || !self.chart.read(Routes::map_is_old) || self.refreshing.swap(true, Ordering::AcqRel) {
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

/// Whom to ask and for how long, of a step that is no wait.
fn sent(step: Step) -> Result<(Arc<str>, Duration), Error> {
    match step {
        Step::Send { to, timeout } => Ok((to, timeout)),
        Step::Fail(error) => Err(error),
        Step::Wait { .. } => unreachable!("who waits is told again"),
    }
}

/// Waits, where a [`Backoff`](crate::dispatch::Backoff) said for how long.
pub(crate) async fn pause(wait: Duration) {
    sleep_until(Instant::now() + wait).await;
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
