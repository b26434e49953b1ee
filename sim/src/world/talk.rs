//! Clients and nodes talk: questions, answers, and connections that break.

use flotilla_client::dispatch::Failure;
use flotilla_node::api::request_id;
use flotilla_node::host::{Answer, Consistency, Input, Refusal, Reply, Token};
use flotilla_store::Operation;
use flotilla_topology::NodeId;

use super::{Waiter, World, node_at};
use crate::chance::Chance;
use crate::clients::{Ask, Asker, ClientId, Deed, Errand, Question, Router, RouterId, Said, said, shard_of};
use crate::event::Event;

/// Where a router listens.
pub(super) fn router_address(id: RouterId) -> String {
    format!("client.r{}.sim:1", id.0)
}

impl World {
    /// The routers of a world.
    pub(super) fn start_routers(&mut self) {
        for id in (1..=self.scenario.routers).map(RouterId) {
            let chance = Chance::new(self.scenario.seed ^ id.0 << 40, "router");
            self.routers.insert(id, Router::new(id, &self.map, chance));
        }
    }

    /// A client's time has come.
    pub(super) fn client_due(&mut self, id: ClientId) {
        let (now_us, loading, operations_max) = (self.now_us, self.loading, self.scenario.operations_max);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let deeds = if client.is_idle() {
            if !loading || now_us < client.next_us || client.begun >= operations_max {
                return;
            }
            let Some(call) = client.workload.draw() else { return };
            client.begin(now_us, call, &mut self.history, &mut self.coverage)
        } else {
            client.due(now_us, &mut self.history, &mut self.coverage)
        };
        self.carry_out_deeds(id, deeds);
    }

    /// Something reaches who asked.
    pub(super) fn hear(&mut self, asker: Asker, attempt: u64, heard: Said) {
        let id = match asker {
            Asker::Client(id) => id,
            Asker::Router(id) => {
                self.at_router(id, Event::Answered(asker, attempt, heard));
                return;
            }
        };
        let Some(client) = self.clients.get_mut(&id) else { return };
        let deeds = client.hear(self.now_us, attempt, heard, &mut self.history, &mut self.coverage);
        self.carry_out_deeds(id, deeds);
    }

    pub(super) fn carry_out_deeds(&mut self, id: ClientId, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::WakeAt(at_us) => self.events.push(at_us, Event::ClientDue(id)),
                Deed::Send(to, question) => self.carry_question(&to, &question),
            }
        }
    }

    /// A question is on its way to the node or router of this address.
    fn carry_question(&mut self, to: &str, question: &Question) {
        if let Some(request) = &question.request {
            self.judges.requests.sent(request);
        }
        let router = self.routers.keys().find(|router| router_address(**router) == to).copied();
        let node = node_at(to).filter(|node| self.nodes.contains_key(node));
        if !self.reaches(question.asker, router, node) {
            return;
        }
        for delay_us in self.network.weathered() {
            let question = question.clone();
            let event = match (router, node) {
                (Some(router), _) => Event::Routed(router, question),
                (None, Some(node)) => Event::Asked(node, question),
                (None, None) => continue,
            };
            self.events.push(self.now_us + delay_us, event);
        }
    }

    /// Whether what a client or router sends arrives there: who is stranded reaches only its side.
    fn reaches(&self, asker: Asker, router: Option<RouterId>, node: Option<NodeId>) -> bool {
        let with = |asker| self.network.stranded_with(asker, self.now_us);
        match (router, node) {
            (Some(router), _) => with(asker) == with(Asker::Router(router)),
            (None, Some(node)) => with(asker).is_none_or(|with| with.contains(&node)),
            (None, None) => false,
        }
    }

    /// All clients and routers.
    pub(crate) fn askers(&self) -> Vec<Asker> {
        let clients = self.clients.keys().copied().map(Asker::Client);
        clients.chain(self.routers.keys().copied().map(Asker::Router)).collect()
    }

    /// Something happens at a router, unless it stands still or is not there.
    pub(super) fn at_router(&mut self, id: RouterId, event: Event) {
        let now_us = self.now_us;
        let Some(router) = self.routers.get_mut(&id) else { return };
        if router.paused_until_us > now_us {
            let later_us = router.paused_until_us;
            self.events.push(later_us, event);
            return;
        }
        if router.down_until_us > now_us {
            if let Event::Routed(_, question) = event {
                self.tell(&question, Said::Failed(Failure::not_sent("connection refused")));
            }
            return;
        }
        let errands = match event {
            Event::Routed(_, question) => {
                self.coverage.count("requests through a router");
                router.asked(now_us, question)
            }
            Event::Answered(_, attempt, said) => router.hear(now_us, attempt, said),
            Event::RouterDue(_, hop) => router.due(now_us, hop),
            other => unreachable!("{other:?} is not for a router"),
        };
        for errand in errands {
            match errand {
                Errand::WakeAt(at_us, hop) => self.events.push(at_us, Event::RouterDue(id, hop)),
                Errand::Send(to, question) => self.carry_question(&to, &question),
                Errand::Tell(question, said) => self.tell(&question, said),
            }
        }
    }

    /// The process of a router ends until a moment. Who waits there notices, or not.
    pub(crate) fn end_router(&mut self, id: RouterId, until_us: u64) {
        let Some(router) = self.routers.get_mut(&id) else { return };
        router.down_until_us = until_us;
        for question in router.end() {
            if self.chance.permille(700) {
                self.tell(&question, Said::Failed(Failure::lost("the connection broke")));
            }
        }
    }

    /// A question reaches a node.
    pub(super) fn asked(&mut self, id: NodeId, question: Question) {
        let now_us = self.now_us;
        let node = self.node(id);
        if node.running.is_none() {
            // Nobody listens there: nothing was sent.
            self.tell(&question, Said::Failed(Failure::not_sent("connection refused")));
            return;
        }
        if node.paused_until_us > now_us {
            let later_us = node.paused_until_us;
            self.events.push(later_us, Event::Asked(id, question));
            return;
        }
        let shard = shard_of(&self.map, &question);
        let consistency = Consistency::Linearizable;
        let asked = question.ask.clone();
        // Where clocks are worse than the nodes are told, nobody vouches for what a read by lease sees.
        let is_read = matches!(asked, Ask::Get(_) | Ask::Scan(..));
        if is_read && !self.scenario.beyond_the_drift {
            let committed = self.judges.replicas.committed(shard);
            self.judges.reads.asked(Token(self.next_token), shard, committed);
        }
        let request = question
            .request
            .map(|id| request_id(id).unwrap_or_else(|error| panic!("the SDK's own id is wrong: {error}")));
        self.ask(id, Waiter::Client(id, Box::new(question)), |token| match asked {
            Ask::Write(action) => Input::Write { shard, token, operation: Operation { request, action } },
            Ask::Get(key) => Input::Get { shard, token, key, consistency },
            Ask::Stale(key) => Input::Get { shard, token, key, consistency: Consistency::Stale },
            Ask::Scan(range, limits) => Input::Scan { shard, token, range, limits, consistency },
        });
    }

    /// A node answers.
    pub(super) fn reply(&mut self, id: NodeId, reply: Reply) {
        match &reply.answer {
            Answer::Refused(Refusal::Overloaded { .. }) => self.coverage.count("writes refused: overload"),
            Answer::Refused(Refusal::ReadLost { .. }) => self.coverage.count("reads refused"),
            Answer::Refused(Refusal::Unknown { .. }) => self.coverage.count("proposals of lost leaderships"),
            _ => {}
        }
        self.judges.reads.forget(reply.token);
        // One that waited at an earlier life of the node was mourned with it.
        match self.waiters.remove(&reply.token) {
            None | Some(Waiter::Nobody) => {}
            Some(Waiter::Stream(_, stream)) => self.offered(stream, reply.answer),
            Some(Waiter::Map(_, why)) => self.map_answered(id, why, reply.answer),
            Some(Waiter::Order(_, order)) => self.order_answered(id, &order, &reply.answer),
            Some(Waiter::Client(_, question)) => {
                let map = std::sync::Arc::clone(&self.node(id).map);
                let told = said(&map, id, &question, reply.answer);
                self.tell(&question, told);
            }
        }
    }

    /// Something is on its way to a client.
    pub(super) fn tell(&mut self, question: &Question, told: Said) {
        for delay_us in self.network.weathered() {
            let event = Event::Answered(question.asker, question.attempt, told.clone());
            self.events.push(self.now_us + delay_us, event);
        }
    }
}
