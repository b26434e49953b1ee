//! A router between clients and nodes: the SDK's dispatch and retry, for what others ask. Its words for what it cannot answer
//! are the production router's (`router/src/statuses.rs`), and so is the rule that a request goes on under the id with
//! which it came (`flotilla_client::dispatch::passed_on`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flotilla_client::Unanswered;
use flotilla_client::dispatch::{Effect, Failure, Operation, Patience, Routes, Step, Target, passed_on};
use flotilla_raft::Term;
use flotilla_router::statuses::status_of;
use flotilla_topology::ClusterMap;

use super::{Ask, Asker, Question, Said};
use crate::chance::Chance;

/// How long an attempt of a router may take, and all of them; as its flags say, but shorter, since faults are denser here.
const ATTEMPT_MS_MAX: u64 = 800;
const DEADLINE: Duration = Duration::from_secs(3);

/// A router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouterId(pub u64);

/// What a router wants done.
#[derive(Debug)]
pub enum Errand {
    /// Carry this to the node with this address.
    Send(Arc<str>, Box<Question>),
    /// Let it look at this hop at this time.
    WakeAt(u64, u64),
    /// Tell who asked.
    Tell(Box<Question>, Said),
}

/// See the module.
#[derive(Debug)]
pub struct Router {
    id: RouterId,
    map: ClusterMap,
    routes: Routes,
    chance: Chance,
    attempt: Duration,
    hops: BTreeMap<u64, Hop>,
    hops_begun: u64,
    attempts: u64,
    /// Until then nothing happens here: the process is stopped.
    pub paused_until_us: u64,
    /// Until then there is no process.
    pub down_until_us: u64,
}

/// A request on its way through.
#[derive(Debug)]
struct Hop {
    question: Question,
    operation: Operation,
    last: Option<Failure>,
    /// The attempt that has no answer yet, and when it is given up.
    waits: Option<(u64, u64)>,
}

impl Router {
    /// A router that knows the map.
    pub fn new(id: RouterId, map: &ClusterMap, mut chance: Chance) -> Self {
        let attempt = Duration::from_millis(chance.between(50, ATTEMPT_MS_MAX));
        Self {
            id,
            map: map.clone(),
            routes: fresh(map),
            chance,
            attempt,
            hops: BTreeMap::new(),
            hops_begun: 0,
            attempts: 0,
            paused_until_us: 0,
            down_until_us: 0,
        }
    }

    /// The process ends, and with it everything that was on its way. Who asked.
    pub fn end(&mut self) -> Vec<Question> {
        self.routes = fresh(&self.map);
        self.paused_until_us = 0;
        std::mem::take(&mut self.hops).into_values().map(|hop| hop.question).collect()
    }

    /// Somebody asks.
    pub fn asked(&mut self, now_us: u64, question: Question) -> Vec<Errand> {
        let effect = if matches!(question.ask, Ask::Write(_)) { Effect::Write } else { Effect::Read };
        let deadline = Duration::from_micros(now_us) + question.within.min(DEADLINE);
        let patience = Patience { deadline, attempt: self.attempt };
        let target = Target::Slot(question.slot);
        let operation = Operation::new(target, effect, patience, self.chance.number());
        self.hops_begun += 1;
        self.hops.insert(self.hops_begun, Hop { question, operation, last: None, waits: None });
        self.go_on(now_us, self.hops_begun)
    }

    /// Time to look at a hop: its attempt may be over, a wait too.
    pub fn due(&mut self, now_us: u64, number: u64) -> Vec<Errand> {
        let Some(hop) = self.hops.get_mut(&number) else { return Vec::new() };
        match hop.waits {
            Some((_, ends_us)) if now_us < ends_us => Vec::new(),
            Some(_) => {
                let lost = Failure::lost("no answer in time");
                self.failed(now_us, number, lost)
            }
            None => self.go_on(now_us, number),
        }
    }

    /// A node answers an attempt; perhaps of a hop that is over.
    pub fn hear(&mut self, now_us: u64, attempt: u64, said: Said) -> Vec<Errand> {
        let waits = |hop: &Hop| hop.waits.is_some_and(|(waits, _)| waits == attempt);
        let Some(number) = self.hops.iter().find(|(_, hop)| waits(hop)).map(|(number, _)| *number) else {
            return Vec::new();
        };
        match said {
            Said::Answer(heard) => {
                let Some(mut hop) = self.hops.remove(&number) else { return Vec::new() };
                hop.operation.answered(heard.shard, Term(heard.term), &mut self.routes);
                vec![Errand::Tell(Box::new(hop.question), Said::Answer(heard))]
            }
            Said::Redirect(route) => {
                let Some(hop) = self.hops.get_mut(&number) else { return Vec::new() };
                (hop.waits, hop.last) = (None, None);
                hop.operation.redirected(Duration::from_micros(now_us), &route, &mut self.routes);
                self.go_on(now_us, number)
            }
            Said::Failed(failure) => self.failed(now_us, number, failure),
        }
    }

    fn failed(&mut self, now_us: u64, number: u64, failure: Failure) -> Vec<Errand> {
        let Some(hop) = self.hops.get_mut(&number) else { return Vec::new() };
        hop.waits = None;
        hop.operation.failed(Duration::from_micros(now_us), &failure, &mut self.routes);
        hop.last = Some(failure);
        self.go_on(now_us, number)
    }

    /// Asks the SDK what to do next.
    fn go_on(&mut self, now_us: u64, number: u64) -> Vec<Errand> {
        let Some(hop) = self.hops.get_mut(&number) else { return Vec::new() };
        match hop.operation.next(Duration::from_micros(now_us), &self.routes) {
            Step::Send { to, timeout } => {
                self.attempts += 1;
                let ends_us = now_us + u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
                hop.waits = Some((self.attempts, ends_us));
                let question = Question {
                    asker: Asker::Router(self.id),
                    attempt: self.attempts,
                    // Clients here name their writes themselves.
                    request: passed_on(hop.question.request, None),
                    within: timeout,
                    ..hop.question.clone()
                };
                vec![Errand::Send(to, Box::new(question)), Errand::WakeAt(ends_us, number)]
            }
            Step::Wait { until } => {
                let at_us = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
                vec![Errand::WakeAt(at_us.max(now_us + 1), number)]
            }
            Step::Fail(error) => {
                let Some(hop) = self.hops.remove(&number) else { return Vec::new() };
                let shard = self.routes.shard(hop.operation.target());
                let status = status_of(&Unanswered { error, last: hop.last, shard });
                vec![Errand::Tell(Box::new(hop.question), Said::Failed(Failure::from_status(&status)))]
            }
        }
    }
}

fn fresh(map: &ClusterMap) -> Routes {
    let mut routes = Routes::new(map.nodes.values().map(|info| info.client_addr.clone()).collect());
    routes.set_map(map.clone());
    routes
}
