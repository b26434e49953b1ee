//! One client: the SDK's dispatch and retry (`flotilla_client::dispatch`), driven by events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flotilla_client::Error;
use flotilla_client::dispatch::{
    Effect, Failure, Operation, Patience, Requests, Routes, ShardClock, Step, Target, Ticket,
};
use flotilla_history::{Answer, Call, History, Moment, OperationId, Outcome, Shard};
use flotilla_proto::v1::RequestId;
use flotilla_raft::Term;
use flotilla_store::{Limits, ScanRange};
use flotilla_topology::{ClusterMap, Slot};

use super::translate;
use super::{Ask, Asker, ClientId, Habits, HeardAnswer, Question, Said, Workload};
use crate::chance::Chance;
use crate::clock::WALL_BEGINS_MS;
use crate::coverage::Coverage;

/// How long an operation may take altogether. The SDK's default is longer; faults are denser here.
const DEADLINE: Duration = Duration::from_millis(2500);
/// How long a request id is good for beyond the deadline, as in the SDK.
const GRACE_MS: u64 = 2000;

/// What a client wants done.
#[derive(Debug)]
pub enum Deed {
    /// Carry this to the node with this address.
    Send(Arc<str>, Box<Question>),
    /// Let it act at this time.
    WakeAt(u64),
}

/// See the module.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    routes: Routes,
    requests: Requests,
    clock: ShardClock,
    /// What it asks.
    pub workload: Workload,
    habits: Habits,
    /// How long one attempt may take.
    attempt: Duration,
    map: ClusterMap,
    /// The routers between it and the fleet; none: it finds its way itself.
    routers: Vec<String>,
    chance: Chance,
    wall_ahead_ms: i64,
    under_way: Option<UnderWay>,
    attempts: u64,
    /// When it begins its next operation.
    pub next_us: u64,
    /// How many operations it began.
    pub begun: u64,
}

#[derive(Debug)]
struct UnderWay {
    operation: Operation,
    call: Call,
    slot: Slot,
    request: Option<RequestId>,
    ask: Ask,
    ticket: Option<Ticket>,
    recorded: OperationId,
    /// The attempt that has no answer yet, and when it is given up.
    waits: Option<(u64, u64)>,
    attempts: u64,
}

impl Client {
    /// A client that knows the map, or only these routers.
    pub fn new(
        id: ClientId,
        map: &ClusterMap,
        routers: Vec<String>,
        (workload, habits): (Workload, Habits),
        chance: Chance,
    ) -> Self {
        let mut client = Self {
            id,
            routes: Routes::new(Vec::new()),
            requests: Requests::new(1),
            clock: ShardClock::default(),
            workload,
            habits,
            attempt: Duration::ZERO,
            map: map.clone(),
            routers,
            chance,
            wall_ahead_ms: 0,
            under_way: None,
            attempts: 0,
            next_us: 0,
            begun: 0,
        };
        client.be_born();
        client
    }

    /// A process like the one before, which knows nothing of it.
    fn be_born(&mut self) {
        self.lose_the_way();
        self.requests = Requests::new(u128::from(self.chance.number()) << 64 | u128::from(self.id.0));
        self.clock = ShardClock::default();
        self.wall_ahead_ms = i64::try_from(self.chance.below(400)).unwrap_or(0) - 200;
        let most = self.habits.attempt_ms_max;
        self.attempt = Duration::from_millis(self.chance.between(most / 2, most));
    }

    /// Forgets who leads.
    fn lose_the_way(&mut self) {
        if self.routers.is_empty() {
            let endpoints = self.map.nodes.values().map(|info| info.client_addr.clone()).collect();
            self.routes = Routes::new(endpoints);
            self.routes.set_map(self.map.clone());
        } else {
            self.routes = Routes::new(self.routers.clone());
        }
    }

    /// Whether nothing is under way.
    pub const fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Begins an operation.
    pub fn begin(
        &mut self,
        now_us: u64,
        call: Call,
        history: &mut History,
        coverage: &mut Coverage,
    ) -> Vec<Deed> {
        self.begun += 1;
        if self.chance.permille(self.habits.lost_permille) {
            self.lose_the_way();
        }
        let slot = slot_of(&call);
        let shard = self.map.shard_of(slot);
        let target = if self.routers.is_empty() { Target::Slot(slot) } else { Target::Anyone };
        let patience = Patience { deadline: at(now_us) + DEADLINE, attempt: self.attempt };
        let (effect, ask, request, ticket) = match translate::action(&call) {
            None => (Effect::Read, read(&call), None, None),
            Some(action) => {
                let ticket = self.requests.begin();
                let good_for = u64::try_from(DEADLINE.as_millis()).unwrap_or(0) + GRACE_MS;
                let deadline_ms = self.clock.estimate(shard, self.wall_ms(now_us)) + good_for;
                let request = Some(self.requests.id(&ticket, deadline_ms));
                (Effect::Write, Ask::Write(action), request, Some(ticket))
            }
        };
        let operation = Operation::new(target, effect, patience, self.chance.number());
        let client = flotilla_history::Client(self.id.0);
        let recorded = history.invoke(Moment(now_us), client, Shard(shard.0), call.clone());
        self.under_way = Some(UnderWay {
            operation,
            call,
            slot,
            request,
            ask,
            ticket,
            recorded,
            waits: None,
            attempts: 0,
        });
        self.go_on(now_us, history, coverage)
    }

    /// Its time has come: an attempt may be over, a wait too.
    pub fn due(&mut self, now_us: u64, history: &mut History, coverage: &mut Coverage) -> Vec<Deed> {
        let Some(under_way) = &mut self.under_way else { return Vec::new() };
        match under_way.waits {
            Some((_, ends_us)) if now_us < ends_us => Vec::new(),
            Some(_) => {
                coverage.count("attempts given up");
                under_way.waits = None;
                let failure = Failure::lost("no answer in time");
                under_way.operation.failed(at(now_us), &failure, &mut self.routes);
                self.go_on(now_us, history, coverage)
            }
            None => self.go_on(now_us, history, coverage),
        }
    }

    /// Something came back. What belongs to an attempt that was given up is not for us any more.
    pub fn hear(
        &mut self,
        now_us: u64,
        attempt: u64,
        said: Said,
        history: &mut History,
        coverage: &mut Coverage,
    ) -> Vec<Deed> {
        let wall_ms = self.wall_ms(now_us);
        let Some(under_way) = &mut self.under_way else { return Vec::new() };
        if under_way.waits.is_none_or(|(waits, _)| waits != attempt) {
            return Vec::new();
        }
        under_way.waits = None;
        match said {
            Said::Answer(heard) => return self.answered(now_us, *heard, history, coverage),
            Said::Redirect(route) => {
                coverage.count("client answers redirected");
                under_way.operation.redirected(at(now_us), &route, &mut self.routes);
            }
            Said::Failed(failure) => {
                if let Some(time_ms) = failure.shard_time_ms {
                    self.clock.present(self.map.shard_of(under_way.slot), time_ms, wall_ms);
                }
                under_way.operation.failed(at(now_us), &failure, &mut self.routes);
            }
        }
        self.go_on(now_us, history, coverage)
    }

    fn answered(
        &mut self,
        now_us: u64,
        heard: HeardAnswer,
        history: &mut History,
        coverage: &mut Coverage,
    ) -> Vec<Deed> {
        let wall_ms = self.wall_ms(now_us);
        let Some(mut under_way) = self.under_way.take() else { return Vec::new() };
        under_way.operation.answered(heard.shard, Term(heard.term), &mut self.routes);
        if under_way.ticket.is_some() {
            self.clock.present(heard.shard, heard.time_ms, wall_ms);
            coverage.add("retried writes answered", u64::from(under_way.attempts > 1));
        } else {
            self.clock.at_least(heard.shard, heard.time_ms, wall_ms);
        }
        if let (Some(key), Some(version)) = (key_of(&under_way.call), version_of(&heard.done.answer)) {
            self.workload.saw(key, version);
        }
        coverage.count("operations answered");
        self.end(now_us, under_way, Outcome::Done(heard.done), history)
    }

    /// Asks the SDK what to do next.
    fn go_on(&mut self, now_us: u64, history: &mut History, coverage: &mut Coverage) -> Vec<Deed> {
        let Some(mut under_way) = self.under_way.take() else { return Vec::new() };
        let error = match under_way.operation.next(at(now_us), &self.routes) {
            Step::Send { to, timeout } => {
                self.attempts += 1;
                under_way.attempts += 1;
                let ends_us = now_us + micros(timeout);
                let (attempt, ask) = (self.attempts, under_way.ask.clone());
                let (slot, request, within) = (under_way.slot, under_way.request, timeout);
                let question =
                    Question { asker: Asker::Client(self.id), attempt, slot, request, within, ask };
                under_way.waits = Some((attempt, ends_us));
                self.under_way = Some(under_way);
                return vec![Deed::Send(to, Box::new(question)), Deed::WakeAt(ends_us)];
            }
            Step::Wait { until } => {
                self.under_way = Some(under_way);
                return vec![Deed::WakeAt(micros(until).max(now_us + 1))];
            }
            Step::Fail(error) => error,
        };
        let outcome = match error {
            Error::NotExecuted { .. } => Outcome::NotExecuted,
            Error::Unknown { .. } => Outcome::Unknown,
            Error::Invalid { .. } => panic!("the fleet calls {:?} invalid: {error}", under_way.call),
        };
        let unknown = outcome == Outcome::Unknown;
        coverage.count(if unknown { "operations unknown" } else { "operations not executed" });
        self.end(now_us, under_way, outcome, history)
    }

    /// It is over: after a while the next one begins.
    fn end(
        &mut self,
        now_us: u64,
        under_way: UnderWay,
        outcome: Outcome,
        history: &mut History,
    ) -> Vec<Deed> {
        if let Some(ticket) = &under_way.ticket {
            self.requests.end(ticket);
        }
        history.complete(under_way.recorded, Moment(now_us), outcome);
        if self.chance.permille(self.habits.reborn_permille) {
            self.be_born();
        }
        self.next_us = now_us + self.chance.between(1_000, self.habits.rest_us_max);
        vec![Deed::WakeAt(self.next_us)]
    }

    fn wall_ms(&self, now_us: u64) -> u64 {
        (WALL_BEGINS_MS + now_us / 1000).saturating_add_signed(self.wall_ahead_ms)
    }
}

fn read(call: &Call) -> Ask {
    match call.clone() {
        Call::Scan { from, to } => {
            let limits = Limits { records_max: 100, bytes_max: 1 << 20, examined_max: 1000 };
            Ask::Scan(ScanRange { from, to, reverse: false }, limits)
        }
        Call::Get { key } => Ask::Get(key),
        other => unreachable!("{other} is a write"),
    }
}

fn key_of(call: &Call) -> Option<&Bytes> {
    match call {
        Call::Get { key }
        | Call::Put { key, .. }
        | Call::Delete { key }
        | Call::CompareAndSwap { key, .. } => Some(key),
        Call::Txn(txn) => txn.compares.first().map(|compare| &compare.key),
        Call::Scan { from, .. } => Some(from),
    }
}

fn slot_of(call: &Call) -> Slot {
    key_of(call).map_or_else(Slot::default, |key| Slot::of(key))
}

fn version_of(answer: &Answer) -> Option<flotilla_history::Version> {
    match answer {
        Answer::Got(Some(seen)) | Answer::Conflict(Some(seen)) => seen.version,
        Answer::Written(version) => *version,
        _ => None,
    }
}

const fn at(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
