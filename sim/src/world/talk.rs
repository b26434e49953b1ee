//! Clients and nodes talk: questions, answers, and connections that break.

use flotilla_client::dispatch::Failure;
use flotilla_node::host::{Answer, Consistency, Input, Refusal, Reply};
use flotilla_topology::NodeId;

use super::{Waiter, World};
use crate::clients::{Ask, ClientId, Deed, Question, Said, said, shard_of};
use crate::event::Event;

impl World {
    /// A client's time has come.
    pub(super) fn client_due(&mut self, id: ClientId) {
        let (now_us, loading, operations_max) = (self.now_us, self.loading, self.scenario.operations_max);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let deeds = if client.is_idle() {
            if !loading || now_us < client.next_us || client.begun >= operations_max {
                return;
            }
            let call = client.workload.draw();
            client.begin(now_us, call, &mut self.history, &mut self.coverage)
        } else {
            client.due(now_us, &mut self.history, &mut self.coverage)
        };
        self.carry_out_deeds(id, deeds);
    }

    /// Something reaches a client.
    pub(super) fn hear(&mut self, id: ClientId, attempt: u64, heard: Said) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let deeds = client.hear(self.now_us, attempt, heard, &mut self.history, &mut self.coverage);
        self.carry_out_deeds(id, deeds);
    }

    pub(super) fn carry_out_deeds(&mut self, id: ClientId, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::WakeAt(at_us) => self.events.push(at_us, Event::ClientDue(id)),
                Deed::Send(to, question) => {
                    let node = self.map.nodes.iter().find(|(_, info)| *info.client_addr == *to);
                    let Some((node, _)) = node else { continue };
                    let node = *node;
                    for delay_us in self.network.weathered() {
                        self.events.push(self.now_us + delay_us, Event::Asked(node, (*question).clone()));
                    }
                }
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
        self.ask(id, Waiter::Client(id, Box::new(question)), |token| match asked {
            Ask::Write(operation) => Input::Write { shard, token, operation },
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
        // One that waited at an earlier life of the node was mourned with it.
        match self.waiters.remove(&reply.token) {
            None | Some(Waiter::Nobody) => {}
            Some(Waiter::Stream(_, stream)) => self.offered(stream, reply.answer),
            Some(Waiter::Client(_, question)) => {
                let told = said(&self.map, id, &question, reply.answer);
                self.tell(&question, told);
            }
        }
    }

    /// Something is on its way to a client.
    pub(super) fn tell(&mut self, question: &Question, told: Said) {
        for delay_us in self.network.weathered() {
            let event = Event::Answered(question.client, question.attempt, told.clone());
            self.events.push(self.now_us + delay_us, event);
        }
    }
}
