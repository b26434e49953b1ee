//! Whole hosts under virtual time: the production worker, log and state machine on a simulated disk, an in-memory
//! base and a network that this file owns. One thread, one seed.

mod beats;
mod connections;
mod events;
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use flotilla_node::host::{
    Answer, Birth, Consistency, Effects, Input, Options, Refusal, ReplicaStatus, SnapshotJob, Token, Wakeup,
};
use flotilla_raft::{Configuration, Index, LogId, Message, ReplicaId, Rpc, SnapshotMeta, Term};
use flotilla_store::memory::{Memory, MemoryView};
use flotilla_store::{Action, Genesis, Operation, Outcome, Record, RequestId, Scope, SlotSpan};
use flotilla_topology::{Epoch, NodeId, ShardId, Slot};
use flotilla_wal::Spent;
use rand_core::Rng;
use rand_pcg::Pcg64;

use events::{Event, Events};
use node::Node;

/// The shard that most tests talk to; it owns all slots.
pub const SHARD: ShardId = ShardId(1);

/// More events than this at one moment: time stands still, because somebody's deadline lies in the past.
const MOMENT_EVENTS_MAX: u64 = 10_000;

/// What the network does to messages.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of 1000 messages, how many are lost.
    pub lost_permille: u32,
    /// Of 1000 messages, how many arrive twice.
    pub doubled_permille: u32,
    /// The longest delay; each message draws its own, so they overtake each other.
    pub delay_us_max: u64,
}

impl Weather {
    pub const FAIR: Self = Self { lost_permille: 0, doubled_permille: 0, delay_us_max: 300 };
    pub const FOUL: Self = Self { lost_permille: 30, doubled_permille: 20, delay_us_max: 20_000 };
}

pub struct Fleet {
    pub now_us: u64,
    pub weather: Weather,
    pub options: Options,
    /// By how much the wall clock of a node is late.
    pub late_ms: BTreeMap<NodeId, u64>,
    /// By how much longer a write of a node's log takes than it should.
    pub slow_log_us: BTreeMap<NodeId, u64>,
    rng: Pcg64,
    nodes: BTreeMap<NodeId, Node>,
    events: Events,
    cuts: BTreeSet<(NodeId, NodeId)>,
    answers: BTreeMap<Token, Answer>,
    /// Snapshot streams that wait for the answer to their `Stage`.
    streams: BTreeMap<Token, (NodeId, u64, SnapshotJob<MemoryView>)>,
    next_token: u64,
    /// How many events came at the present moment.
    in_this_moment: u64,
    /// How many nodes and shards there were at first.
    shape: (u64, u64),
    /// Where the replicas of every shard live, as a map would say.
    placement: BTreeMap<ReplicaId, NodeId>,
    /// Snapshots are offered and never arrive, and nobody hears why.
    pub streams_hang: bool,
    /// How many snapshots became complete at their follower.
    pub snapshots_staged: usize,
    /// Nodes beat each other.
    beats: bool,
    /// How many messages of replicas were sent.
    pub messages_sent: u64,
    /// How many turns workers took.
    pub turns: u64,
    /// Why sleeping replicas awoke.
    pub wakeups: Vec<Wakeup>,
}

impl Fleet {
    /// Nodes `1..=nodes`, each with a replica of each of the shards `1..=shards`.
    pub fn new(seed: u64, nodes: u64, shards: u64, options: Options) -> Self {
        let mut fleet = Self {
            now_us: 1_000_000,
            weather: Weather::FAIR,
            options,
            late_ms: BTreeMap::new(),
            slow_log_us: BTreeMap::new(),
            rng: Pcg64::new(u128::from(seed), 0xF1EE7),
            nodes: BTreeMap::new(),
            events: Events::default(),
            cuts: BTreeSet::new(),
            answers: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_token: 1,
            in_this_moment: 0,
            streams_hang: false,
            snapshots_staged: 0,
            beats: false,
            messages_sent: 0,
            turns: 0,
            wakeups: Vec::new(),
            shape: (nodes, shards),
            placement: (1..=nodes).map(|node| (ReplicaId(node), NodeId(node))).collect(),
        };
        for id in (1..=nodes).map(NodeId) {
            let seed = fleet.rng.next_u64();
            fleet.nodes.insert(id, Node::new(id, seed));
            fleet.start(id);
        }
        fleet
    }

    /// A number below `bound`, from the seed.
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn alive(&self, node: NodeId) -> bool {
        self.nodes[&node].running.is_some()
    }

    /// Starts a node on whatever its disk and its base hold. As a real node does when it knows the map, it then creates
    /// what it should host: the first time, and after a crash that came before the birth was durable.
    pub fn start(&mut self, node: NodeId) {
        let now = self.now(node);
        let (nodes, shards) = self.shape;
        let greatest = self.placement.keys().next_back().copied().unwrap_or_default();
        let is_home = self.placement.values().any(|at| *at == node);
        let all = (1..=shards).map(ShardId);
        let here = all.clone().filter(|_| is_home).collect();
        let spent = Spent { greatest: all.map(|shard| (shard, greatest)).collect(), here };
        self.nodes.get_mut(&node).expect("node").start(now, &self.options, &spent);
        for shard in (1..=shards).map(ShardId) {
            let placement: Vec<_> = self.placement.iter().map(|(id, at)| (*id, *at)).collect();
            if let Some((replica, _)) = placement.iter().rev().find(|(_, at)| *at == node) {
                let birth = birth(shard, shards, nodes, *replica);
                self.input(node, Input::Create { shard, birth });
            }
            self.input(node, Input::Placed { shard, placement });
        }
        self.begin_beats(node);
        self.schedule_wake(node);
    }

    /// A map says that a replica of every shard lives on a node, perhaps a new one.
    pub fn place(&mut self, replica: ReplicaId, node: NodeId) {
        self.placement.insert(replica, node);
        if !self.nodes.contains_key(&node) {
            let seed = self.rng.next_u64();
            self.nodes.insert(node, Node::new(node, seed));
            self.start(node);
        }
        let (nodes, shards) = self.shape;
        let placement: Vec<_> = self.placement.iter().map(|(id, at)| (*id, *at)).collect();
        for shard in (1..=shards).map(ShardId) {
            let birth = birth(shard, shards, nodes, replica);
            self.input(node, Input::Create { shard, birth });
            for other in self.nodes() {
                self.input(other, Input::Placed { shard, placement: placement.clone() });
            }
        }
    }

    /// A newer map does not place this replica any more. The others are told again to live.
    pub fn unplace(&mut self, replica: ReplicaId) {
        self.placement.remove(&replica);
        let (nodes, shards) = self.shape;
        let placement: Vec<_> = self.placement.iter().map(|(id, at)| (*id, *at)).collect();
        for shard in (1..=shards).map(ShardId) {
            for (id, at) in &placement {
                let birth = birth(shard, shards, nodes, *id);
                self.input(*at, Input::Create { shard, birth });
                self.input(*at, Input::Placed { shard, placement: placement.clone() });
            }
        }
    }

    /// A node's base holds something of a shard.
    pub fn base_holds(&self, node: NodeId, shard: ShardId) -> bool {
        self.nodes[&node].base_holds(shard)
    }

    /// Something of a shard rots in the log of a node that does not run.
    pub fn rot(&mut self, node: NodeId, shard: ShardId) {
        self.nodes[&node].rot(shard);
    }

    /// What is out of service on a node.
    pub fn quarantined(&self, node: NodeId) -> Vec<ShardId> {
        let running = self.nodes[&node].running.as_ref().expect("the node runs");
        running.quarantine.all().into_keys().collect()
    }

    /// The power fails: what was not synced is lost in part.
    pub fn crash(&mut self, node: NodeId) {
        let seed = self.rng.next_u64();
        self.nodes.get_mut(&node).expect("node").crash(seed);
        for other in self.nodes() {
            if other != node && self.alive(other) {
                self.input(other, Input::PeerLost { node });
            }
        }
    }

    /// A node's flusher hangs in a write of the base, until [`Fleet::resume`] or a crash.
    pub fn stall(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).expect("node").stall();
    }

    /// Every write of a node's base fails, until [`Fleet::resume`] or a crash.
    pub fn fail_disk(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).expect("node").fail_disk();
    }

    /// A node's flusher goes on with what waits.
    pub fn resume(&mut self, node: NodeId) {
        let waiting = self.nodes.get_mut(&node).expect("node").resume();
        let boot = self.nodes[&node].boot;
        for place in 1..=waiting as u64 {
            self.events.push(self.now_us + 500 * place, Event::JobDone { node, boot });
        }
    }

    /// A node's flusher goes on after a while, by itself.
    pub fn resume_after(&mut self, node: NodeId, time: Duration) {
        let boot = self.nodes[&node].boot;
        self.events.push(self.now_us + time.as_micros() as u64, Event::FlusherResumes { node, boot });
    }

    /// Asks a node's worker something; the answer is found by the token.
    pub fn ask(&mut self, node: NodeId, input: impl FnOnce(Token) -> Input) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        let input = input(token);
        self.input(node, input);
        token
    }

    /// A leader of a later term makes itself heard, without entries.
    pub fn depose(&mut self, shard: ShardId, leader: NodeId) {
        let status = self.status(shard).remove(&leader).expect("the leader runs");
        let next = self.nodes().into_iter().find(|node| *node != leader).expect("another node");
        let message = Message {
            from: ReplicaId(next.0),
            to: status.replica,
            term: Term(status.term.0 + 1),
            rpc: Rpc::Append { previous: LogId::default(), entries: Vec::new(), commit: Index(0) },
        };
        self.input(leader, Input::Peer { shard, message });
    }

    /// The answer to a token, if it is there. Taken once.
    pub fn answer(&mut self, token: Token) -> Option<Answer> {
        self.answers.remove(&token)
    }

    /// Runs until the condition holds; panics with the story so far after `limit` of virtual time.
    pub fn until(&mut self, what: &str, limit: Duration, mut holds: impl FnMut(&mut Self) -> bool) {
        let end = self.now_us + limit.as_micros() as u64;
        while !holds(self) {
            assert!(self.now_us < end, "not within {limit:?} of virtual time: {what}\n{}", self.portrait());
            self.step();
        }
    }

    /// Runs for a while.
    pub fn run(&mut self, time: Duration) {
        let end = self.now_us + time.as_micros() as u64;
        while self.events.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now_us = end;
    }

    /// One event.
    fn step(&mut self) {
        let (at, event) = self.events.pop().expect("a fleet always has something to do");
        self.in_this_moment = if at > self.now_us { 0 } else { self.in_this_moment + 1 };
        assert!(self.in_this_moment < MOMENT_EVENTS_MAX, "somebody spins at {} µs", self.now_us);
        self.now_us = self.now_us.max(at);
        match event {
            Event::Wake { node, boot } => {
                // One that an earlier one replaced is no reason for a turn.
                let now_us = self.now_us;
                if self.if_running(node, boot, |it| it.woken(now_us)) == Some(true) {
                    self.turn(node, boot, None);
                }
            }
            Event::Arrive { node, boot, input } => self.turn(node, boot, Some(*input)),
            Event::LogWritten { node, boot } => {
                let input = self.if_running(node, boot, Node::finish_log_write);
                self.turn(node, boot, input);
                self.start_log_write(node, boot);
            }
            Event::JobDone { node, boot } => {
                let input = self.if_running(node, boot, Node::run_base_job).flatten();
                self.turn(node, boot, input);
            }
            Event::FlusherResumes { node, boot } => {
                if self.is_boot(node, boot) {
                    self.resume(node);
                }
            }
            Event::ReadDone { node, boot, job } => {
                if self.is_boot(node, boot) {
                    match node::run_read(*job) {
                        node::ReadResult::Reply(reply) => {
                            self.answers.insert(reply.token, reply.answer);
                        }
                        node::ReadResult::Input(input) => self.turn(node, boot, Some(*input)),
                    }
                }
            }
            Event::Beat { node, boot } => self.beat(node, boot),
            Event::Beaten { node, boot, from, beat } => self.beaten(node, boot, from, &beat),
            Event::BeatAnswered { node, boot, from, answer } => self.beat_answered(node, boot, from, answer),
            Event::StreamSnapshot { from, boot, job } => self.stream_snapshot(from, boot, *job),
        }
    }

    fn now(&self, node: NodeId) -> flotilla_node::host::Now {
        let late_ms = self.late_ms.get(&node).copied().unwrap_or(0);
        flotilla_node::host::Now {
            time: flotilla_raft::Time(self.now_us),
            wall_ms: 1_700_000_000_000 + self.now_us / 1000 - late_ms,
        }
    }

    fn is_boot(&self, node: NodeId, boot: u64) -> bool {
        self.nodes[&node].running.is_some() && self.nodes[&node].boot == boot
    }

    fn if_running<T>(&mut self, node: NodeId, boot: u64, act: impl FnOnce(&mut Node) -> T) -> Option<T> {
        self.is_boot(node, boot).then(|| act(self.nodes.get_mut(&node).expect("node")))
    }

    /// Gives a node an input now.
    fn input(&mut self, node: NodeId, input: Input) {
        let boot = self.nodes[&node].boot;
        self.events.push(self.now_us, Event::Arrive { node, boot, input: Box::new(input) });
    }

    fn turn(&mut self, id: NodeId, boot: u64, inputs: impl IntoIterator<Item = Input>) {
        if !self.is_boot(id, boot) {
            return;
        }
        let now = self.now(id);
        let mut effects = Effects::default();
        let node = self.nodes.get_mut(&id).expect("node");
        node.worker().turn(now, inputs, &mut effects);
        self.turns += 1;
        self.carry_out(id, boot, effects);
        self.schedule_wake(id);
    }

    fn schedule_wake(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("node");
        let boot = node.boot;
        let Some(deadline) = node.worker().deadline() else { return };
        let at = deadline.0.max(self.now_us);
        if node.wakes_at(at) {
            self.events.push(at, Event::Wake { node: id, boot });
        }
    }

    fn carry_out(&mut self, id: NodeId, boot: u64, effects: Effects<Memory>) {
        assert!(effects.impossible.is_empty(), "nobody lies here: {:?}", effects.impossible);
        self.messages_sent += effects.messages.len() as u64;
        self.wakeups.extend(effects.events.iter().filter_map(|(_, event)| match event {
            flotilla_node::host::Event::Woke { why } => Some(*why),
            _ => None,
        }));
        for (to, shard, message) in effects.messages {
            self.send(id, to, shard, message);
        }
        if let Some((ticket, batch)) = effects.batch {
            self.nodes.get_mut(&id).expect("node").queue_log_write(ticket, batch);
            self.start_log_write(id, boot);
        }
        for reply in effects.replies {
            match self.streams.remove(&reply.token) {
                Some((from, from_boot, job)) => self.staged(from, from_boot, id, job, reply.answer),
                None => {
                    let twice = self.answers.insert(reply.token, reply.answer);
                    assert!(twice.is_none(), "{:?} was answered twice: {twice:?}", reply.token);
                }
            }
        }
        for job in effects.base_jobs {
            let done = self.now_us + 500 + self.draw_delay();
            let at = self.nodes.get_mut(&id).expect("node").queue_base_job(job, done);
            self.events.push(at, Event::JobDone { node: id, boot });
        }
        for job in effects.reads {
            let at = self.now_us + self.draw_delay();
            self.events.push(at, Event::ReadDone { node: id, boot, job: Box::new(job) });
        }
        for job in effects.snapshots {
            let at = self.now_us + self.draw_delay();
            self.events.push(at, Event::StreamSnapshot { from: id, boot, job: Box::new(job) });
        }
    }

    fn draw_delay(&mut self) -> u64 {
        1 + self.rng.next_u64() % self.weather.delay_us_max
    }

    fn send(&mut self, from: NodeId, to: NodeId, shard: ShardId, message: Message) {
        let copies = if self.draw(1000) < u64::from(self.weather.doubled_permille) { 2 } else { 1 };
        for _ in 0..copies {
            let lost = self.draw(1000) < u64::from(self.weather.lost_permille);
            let at = self.now_us + self.draw_delay();
            if lost || self.cuts.contains(&(from, to)) || !self.alive(to) {
                continue;
            }
            let boot = self.nodes[&to].boot;
            let input = Box::new(Input::Peer { shard, message: message.clone() });
            self.events.push(at, Event::Arrive { node: to, boot, input });
        }
    }

    fn start_log_write(&mut self, id: NodeId, boot: u64) {
        let took = 100 + self.draw_delay() + self.slow_log_us.get(&id).copied().unwrap_or_default();
        let now = self.now_us;
        if self.if_running(id, boot, Node::start_log_write) == Some(true) {
            self.events.push(now + took, Event::LogWritten { node: id, boot });
        }
    }

    fn stream_snapshot(&mut self, from: NodeId, boot: u64, job: SnapshotJob<MemoryView>) {
        if !self.is_boot(from, boot) || self.streams_hang {
            return;
        }
        let (shard, to, node, term) = (job.shard, job.to, job.node, job.term);
        let last = node::snapshot_meta(&job).last;
        if !self.alive(node) || self.cuts.contains(&(from, node)) {
            self.input(from, Input::SnapshotSent { shard, to, delivered: None });
            return;
        }
        let token = self.ask(node, |token| Input::Stage { shard, token, to, term, last });
        self.streams.insert(token, (from, boot, job));
    }

    /// The follower answered: stream everything into its base, then tell both sides.
    fn staged(
        &mut self,
        from: NodeId,
        from_boot: u64,
        at: NodeId,
        job: SnapshotJob<MemoryView>,
        answer: Answer,
    ) {
        let (shard, to) = (job.shard, job.to);
        let delivered = match answer {
            Answer::Stage { generation } => {
                let broken = self.draw(1000) < u64::from(self.weather.lost_permille);
                let follower = &self.nodes[&at];
                let staged = || node::stage(&follower.base, &job, generation, broken);
                let meta = follower.takes_snapshots().then(staged).flatten();
                let snapshot = meta.clone().map(|meta| message(&job, meta));
                self.snapshots_staged += usize::from(meta.is_some());
                self.input(at, Input::Staged { shard, generation, snapshot });
                meta.map(|meta| meta.last)
            }
            _ => None,
        };
        if self.is_boot(from, from_boot) {
            self.input(from, Input::SnapshotSent { shard, to, delivered });
        }
    }

    /// What every replica of a shard looks like, by node.
    pub fn status(&mut self, shard: ShardId) -> BTreeMap<NodeId, ReplicaStatus> {
        let mut all = BTreeMap::new();
        for id in self.nodes() {
            let now = self.now(id);
            let node = self.nodes.get_mut(&id).expect("node");
            if node.running.is_none() {
                continue;
            }
            let boot = node.boot;
            let mut effects = Effects::default();
            // Looking is a turn like any other: what is due meanwhile must be carried out too.
            node.worker().turn(now, [Input::Inspect { token: Token(0) }], &mut effects);
            let asked = effects.replies.iter().position(|reply| reply.token == Token(0)).expect("an answer");
            let Answer::Status(statuses) = effects.replies.remove(asked).answer else {
                unreachable!("it was asked")
            };
            all.extend(statuses.into_iter().find(|status| status.shard == shard).map(|status| (id, status)));
            self.carry_out(id, boot, effects);
            self.schedule_wake(id);
        }
        all
    }

    /// The node that leads a shard in the greatest term, if one that runs does.
    pub fn leader(&mut self, shard: ShardId) -> Option<NodeId> {
        let status = self.status(shard);
        status
            .into_iter()
            .filter(|(_, status)| status.leads())
            .max_by_key(|(_, status)| status.term)
            .map(|(id, _)| id)
    }

    /// Waits for a leader.
    pub fn elect(&mut self, shard: ShardId) -> NodeId {
        self.until("a leader", Duration::from_secs(20), |fleet| fleet.leader(shard).is_some());
        self.leader(shard).expect("just seen")
    }

    /// Several writes that arrive in one turn.
    pub fn ask_together(&mut self, node: NodeId, operations: Vec<Operation>) -> Vec<Token> {
        let boot = self.nodes[&node].boot;
        let mut tokens = Vec::new();
        let mut inputs = Vec::new();
        for operation in operations {
            let token = Token(self.next_token);
            self.next_token += 1;
            tokens.push(token);
            inputs.push(Input::Write { shard: SHARD, token, operation });
        }
        self.turn(node, boot, inputs);
        tokens
    }

    /// Writes to [`SHARD`] through whichever node leads, until it is acknowledged, under one request id.
    pub fn put(&mut self, key: &str, value: &str) -> u64 {
        self.put_to(SHARD, key, value)
    }

    /// The same, to the shard that owns the key in a fleet of two shards.
    pub fn put_to_owner(&mut self, key: &str, value: &str) -> u64 {
        self.put_to(owner_of_two(key), key, value)
    }

    fn put_to(&mut self, shard: ShardId, key: &str, value: &str) -> u64 {
        let operation = self.operation(key, value);
        for _ in 0..100 {
            let leader = self.elect(shard);
            let sent = operation.clone();
            let token = self.ask(leader, |token| Input::Write { shard, token, operation: sent });
            let deadline = self.now_us + 2_000_000;
            while !self.answers.contains_key(&token) && self.now_us < deadline {
                self.step();
            }
            match self.answer(token) {
                Some(Answer::Written(_, Outcome::Written { version })) => return version,
                // Who was refused waits a little, as a client does.
                Some(Answer::Refused(_)) => self.run(Duration::from_millis(20)),
                None => {}
                other => panic!("put {key}: {other:?}"),
            }
        }
        panic!("nobody took the write of {key}\n{}", self.portrait());
    }

    /// A put with a request id of its own.
    pub fn operation(&mut self, key: &str, value: &str) -> Operation {
        self.next_token += 1;
        Operation {
            request: Some(RequestId {
                client: u128::from(self.next_token),
                sequence: 1,
                acknowledged: 1,
                deadline_ms: 1_700_000_000_000 + self.now_us / 1000 + 50_000,
            }),
            action: put_action(key, value),
        }
    }

    /// Reads at one node and runs until it answered. A node that dies meanwhile never does.
    fn get_at(&mut self, node: NodeId, shard: ShardId, key: &str) -> Result<Option<Record>, Refusal> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let consistency = Consistency::Linearizable;
        let token = self.ask(node, |token| Input::Get { shard, token, key, consistency });
        self.until("a read is answered", Duration::from_secs(10), |fleet| fleet.answers.contains_key(&token));
        match self.answer(token) {
            Some(Answer::Got(_, record)) => Ok(record),
            Some(Answer::Refused(refusal)) => Err(refusal),
            other => panic!("unexpected answer {other:?}"),
        }
    }

    /// Reads from [`SHARD`] through whichever node leads.
    pub fn get(&mut self, key: &str) -> Option<String> {
        self.get_from(SHARD, key)
    }

    /// The same, from the shard that owns the key in a fleet of two shards.
    pub fn get_from_owner(&mut self, key: &str) -> Option<String> {
        self.get_from(owner_of_two(key), key)
    }

    fn get_from(&mut self, shard: ShardId, key: &str) -> Option<String> {
        for _ in 0..100 {
            let leader = self.elect(shard);
            if let Ok(record) = self.get_at(leader, shard, key) {
                return record.map(|record| String::from_utf8_lossy(&record.value).into_owned());
            }
            self.run(Duration::from_millis(50));
        }
        panic!("nobody answered the read of {key}\n{}", self.portrait());
    }

    /// The state digest of every running replica after everything applied went to its base: they must be equal.
    pub fn converge(&mut self, shard: ShardId) {
        self.until("all replicas applied the same", Duration::from_secs(60), |fleet| {
            let status = fleet.status(shard);
            let mut applied = status.values().map(|status| status.applied);
            let first = applied.next();
            status.values().all(|status| status.commit == status.last)
                && applied.all(|other| Some(other) == first)
                && fleet.leader(shard).is_some()
        });
        let nodes: Vec<NodeId> = self.status(shard).keys().copied().collect();
        let tokens: Vec<Token> =
            nodes.iter().map(|node| self.ask(*node, |token| Input::Flush { shard, token })).collect();
        self.until("all replicas are flushed", Duration::from_secs(60), |fleet| {
            tokens.iter().all(|token| fleet.answers.contains_key(token))
        });
        let stats: Vec<_> = nodes.iter().map(|node| self.nodes[node].stats(shard)).collect();
        for (node, other) in nodes.iter().zip(&stats) {
            assert_eq!(other, &stats[0], "{node} and {} differ on {shard}", nodes[0]);
        }
    }

    /// Every replica in a line: what a failing test prints.
    pub fn portrait(&mut self) -> String {
        let mut lines = vec![format!("at {} µs, cuts {:?}", self.now_us, self.cuts)];
        let shards: BTreeSet<ShardId> = (1..=9).map(ShardId).collect();
        for shard in shards {
            for (node, status) in self.status(shard) {
                lines.push(format!("{node} {status:?}"));
            }
        }
        lines.join("\n")
    }
}

/// A put of a key.
pub fn put_action(key: &str, value: &str) -> Action {
    Action::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ttl_ms: None,
    }
}

fn owner_of_two(key: &str) -> ShardId {
    if Slot::of(key.as_bytes()).number() < 8192 { ShardId(1) } else { ShardId(2) }
}

fn message(job: &SnapshotJob<MemoryView>, meta: SnapshotMeta) -> Message {
    Message { from: job.from, to: job.to, term: job.term, rpc: Rpc::InstallSnapshot { meta } }
}

/// How a replica of a shard comes into the world: the slots are split evenly over the shards.
fn birth(shard: ShardId, shards: u64, nodes: u64, replica: ReplicaId) -> Birth {
    let slot = |number: u64| Slot::new(u16::try_from(number).expect("a slot")).expect("a slot");
    let (first, last) = ((shard.0 - 1) * 16384 / shards, shard.0 * 16384 / shards - 1);
    let voters = (1..=nodes).map(ReplicaId).collect();
    Birth {
        replica,
        placement: (1..=nodes).map(|node| (ReplicaId(node), NodeId(node))).collect(),
        genesis: Genesis {
            scope: Scope::Slots(vec![SlotSpan { first: slot(first), last: slot(last) }]),
            epoch: Epoch(1),
            configuration: Configuration { voters, ..Configuration::default() },
        },
    }
}
