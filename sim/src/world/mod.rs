//! A world: nodes, clients, a network between them, faults, judges. One thread, one seed, virtual time.
//!
//! ```text
//!   events (by time) ─► step ─┬─ at a node: Worker::turn ─► effects ─► network, log, flusher, readers, clients
//!                             ├─ at a client: dispatch ─► questions
//!                             └─ a fault begins or ends
//!                      after every turn: the judges
//! ```
//!
//! Rooms: `steps` (what happens at a node), `beats` (what nodes promise each other), `lives` (start, kill, power), `talk` (clients and the network), `streams`
//! (snapshots), `maps` (what nodes know of the fleet), `moves` (the controller), `fleet` (nodes that join and leave), `evening` (rebalances), `settle` (the end: faults stop, everything must be well).

mod beats;
mod evening;
mod fleet;
mod lives;
mod maps;
mod moves;
mod settle;
mod steps;
mod streams;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flotilla_history::History;
use flotilla_node::host::{Input, Token};
use flotilla_raft::Term;
use flotilla_topology::{ClusterMap, NodeId, NodeInfo, ShardId, plan_initial};
use flotilla_wal::Batch;

use crate::chance::Chance;
use crate::clients::{Client, ClientId, Question, Router, RouterId, Workload};
use crate::clock::Clock;
use crate::coverage::Coverage;
use crate::event::{AtNode, Event, Events};
use crate::faults::{FaultKind, Faults};
use crate::judges::Judges;
use crate::network::Network;
use crate::node::Node;
use crate::rounds::{MapQuestion, Order};
use crate::scenario::{DRIFT_PPM_MAX, Scenario};
use crate::script::Script;
use crate::trace::Trace;

pub use fleet::FleetStep;

/// How often it is looked whether enough was answered.
const RUN_ON_US: u64 = 2_000_000;

/// Who waits for an answer.
#[derive(Debug)]
pub enum Waiter {
    /// Nobody.
    Nobody,
    /// A client, at this node.
    Client(NodeId, Box<Question>),
    /// A snapshot stream that was offered to this node.
    Stream(NodeId, u64),
    /// Who reads or writes the map in the meta shard, at this node.
    Map(NodeId, MapQuestion),
    /// The controller that ordered this of this node.
    Order(NodeId, Box<Order>),
}

/// See the module.
pub struct World {
    /// What kind of world it is.
    pub scenario: Scenario,
    /// The time, in microseconds since it began.
    pub now_us: u64,
    pub(crate) events: Events,
    pub(crate) network: Network,
    pub(crate) faults: Faults,
    /// Who says whether promises were broken.
    pub judges: Judges,
    /// What it has seen.
    pub coverage: Coverage,
    /// What happened.
    pub trace: Trace,
    /// What clients saw.
    pub history: History,
    /// The newest cluster map that any node knows.
    pub(crate) map: Arc<ClusterMap>,
    /// The first one.
    genesis: Arc<ClusterMap>,
    /// What is written down, and where a crash is planned, for stories about one move.
    pub script: Option<Box<Script>>,
    /// Where it has not been found yet, or what it took has not been replaced: the life in which it rotted.
    pub(crate) sick: BTreeMap<NodeId, u64>,
    nodes: BTreeMap<NodeId, Node>,
    clients: BTreeMap<ClientId, Client>,
    pub(crate) routers: BTreeMap<RouterId, Router>,
    /// Whether clients begin new operations.
    loading: bool,
    waiters: BTreeMap<Token, Waiter>,
    next_token: u64,
    streams: BTreeMap<u64, streams::Stream>,
    next_stream: u64,
    /// What each node was writing into its log when it ended.
    in_flight: BTreeMap<NodeId, Vec<Batch>>,
    /// Who led which shard after the last turn.
    leading: BTreeSet<(NodeId, ShardId)>,
    /// When a worker was last woken, and how often at that moment.
    woken: (u64, u64),
    /// Who stands still, until when, and what it led.
    paused_leading: BTreeMap<NodeId, (u64, Vec<(ShardId, Term)>)>,
    chance: Chance,
    /// Where the chance of those who ask for moves comes from.
    pub(crate) operators: Chance,
    /// How the fleet grows and shrinks.
    pub(crate) fleet: fleet::Changes,
    next_round: u64,
    /// No controller begins a round any more.
    moves_rest: bool,
}

impl World {
    /// The world of a scenario, before anything happens.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let seed = scenario.seed;
        let map = Arc::new(first_map(&scenario));
        let minority = scenario.replicas.saturating_sub(1) / 2;
        let faults = Faults::new(Chance::new(seed, "faults"), scenario.aim, minority, scenario.ruthless);
        let mut world = Self {
            now_us: 0,
            events: Events::default(),
            network: Network::new(scenario.weather, Chance::new(seed, "network")),
            faults,
            judges: Judges::new(&map),
            coverage: Coverage::default(),
            trace: Trace::default(),
            history: History::new(),
            genesis: Arc::clone(&map),
            map,
            script: None,
            sick: BTreeMap::new(),
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            routers: BTreeMap::new(),
            loading: true,
            waiters: BTreeMap::new(),
            next_token: 1,
            streams: BTreeMap::new(),
            next_stream: 1,
            in_flight: BTreeMap::new(),
            leading: BTreeSet::new(),
            paused_leading: BTreeMap::new(),
            woken: (0, 0),
            chance: Chance::new(seed, "world"),
            operators: Chance::new(seed, "operators"),
            fleet: fleet::Changes::default(),
            next_round: 0,
            moves_rest: false,
            scenario,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let seed = self.scenario.seed;
        let mut chance = Chance::new(seed, "nodes");
        let drifts = self.scenario.faults.contains(&FaultKind::Drift);
        if drifts {
            self.faults.count(FaultKind::Drift);
        }
        for id in self.map.clone().nodes.keys() {
            let drift_ppm = if drifts { drift_ppm(&mut chance) } else { 0 };
            let clock = Clock { offset_us: 0, drift_ppm, wall_ahead_ms: 0 };
            self.nodes.insert(*id, Node::new(*id, chance.number(), clock, Arc::clone(&self.genesis)));
            self.start(*id);
        }
        self.start_routers();
        let routers: Vec<String> = self.routers.keys().map(|id| talk::router_address(*id)).collect();
        let (crowds, groups, habits) = (self.scenario.crowds, self.scenario.groups, self.scenario.habits);
        for id in (1..=self.scenario.clients * crowds).map(ClientId) {
            let of = |part| Chance::new(seed ^ id.0 << 32, part);
            let workload = Workload::new((id.0 % crowds, crowds), groups, habits, id.0, of("workload"));
            let behind = if chance.permille(500) { routers.clone() } else { Vec::new() };
            let client = Client::new(id, &self.map, behind, (workload, habits), of("client"));
            self.clients.insert(id, client);
            self.events.push(200_000 + id.0 * 1000, Event::ClientDue(id));
        }
        self.plan_faults(1_000_000, self.lasts_us());
        self.plan_moves(1_000_000, self.lasts_us());
    }

    /// Draws the faults between two moments.
    fn plan_faults(&mut self, from_us: u64, until_us: u64) {
        let every_us = u64::try_from(self.scenario.fault_every.as_micros()).unwrap_or(u64::MAX);
        let mut at_us = from_us;
        while at_us < until_us && !self.scenario.faults.is_empty() {
            if let Some(kind) = self.draw_fault() {
                self.events.push(at_us, Event::Fault(kind));
            }
            at_us += self.faults.chance.between(every_us / 4, every_us * 2);
        }
    }

    fn lasts_us(&self) -> u64 {
        u64::try_from(self.scenario.lasts.as_micros()).unwrap_or(u64::MAX)
    }

    /// Rot is rare: what it takes is gone for ever, and with it the room for other faults, unless it can be replaced.
    fn draw_fault(&mut self) -> Option<FaultKind> {
        let kinds: Vec<FaultKind> =
            self.scenario.faults.iter().copied().filter(|kind| !kind.is_of_moves()).collect();
        let kind = *self.faults.chance.pick(&kinds)?;
        let permille = if self.scenario.moves { 250 } else { 60 };
        let rare = kind == FaultKind::Rot && !self.faults.chance.permille(permille);
        if rare { None } else { Some(kind) }
    }

    /// Runs to the end: load and faults, then peace. Throws at the first broken promise.
    pub fn run(&mut self) {
        self.run_until(self.lasts_us());
        self.run_on();
        self.settle();
    }

    /// The same goes on until enough was answered, unless nothing will be any more.
    fn run_on(&mut self) {
        let end_us = self.lasts_us().saturating_mul(4);
        while self.now_us < end_us
            && self.history.outcomes().0 < self.scenario.operations_min
            && self.quorums_live()
        {
            let until_us = self.now_us + RUN_ON_US;
            self.plan_faults(self.now_us, until_us);
            self.plan_moves(self.now_us, until_us);
            self.run_until(until_us);
        }
    }

    pub(crate) fn run_until(&mut self, end_us: u64) {
        while let Some((at_us, event)) = self.events.pop_until(end_us) {
            self.now_us = self.now_us.max(at_us);
            self.step(event);
        }
        self.now_us = self.now_us.max(end_us);
    }

    /// The faults that happened, by kind.
    #[must_use]
    pub fn faults_made(&self) -> BTreeMap<FaultKind, u64> {
        self.faults.made.clone()
    }

    /// All nodes, running or not.
    pub(crate) fn node_ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The nodes that run.
    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.nodes.values().filter(|node| node.running.is_some()).map(|node| node.id).collect()
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| unreachable!("there is no {id}"))
    }

    /// Whether faults are over.
    pub(crate) const fn is_peace(&self) -> bool {
        !self.loading
    }

    /// Until when a fault that begins now lasts.
    pub(crate) fn fault_until(&mut self) -> u64 {
        let long = self.faults.chance.permille(250);
        self.now_us + self.faults.chance.between(20_000, if long { 5_000_000 } else { 1_000_000 })
    }

    /// Chooses a running node to suffer.
    pub(crate) fn victim(&mut self, until_us: u64) -> Option<NodeId> {
        self.note_healed();
        let running = self.running();
        let shards: Vec<ShardId> = self.map.shards.keys().copied().collect();
        let shard = self.faults.struck(&shards);
        let leader = shard.and_then(|shard| self.leader(shard));
        self.faults.victim(&running, leader, self.now_us, until_us)
    }

    /// Asks a node something, now.
    pub(crate) fn ask(&mut self, node: NodeId, waiter: Waiter, input: impl FnOnce(Token) -> Input) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiters.insert(token, waiter);
        self.input(node, input(token), self.now_us);
    }

    /// Gives a node an input at some time.
    fn input(&mut self, id: NodeId, input: Input, at_us: u64) {
        let node = self.node(id);
        let boot = node.boot;
        let Some(running) = &node.running else { return };
        let worker = steps::shard_of(&input).map_or(0, |shard| running.worker_of(shard));
        self.events.push(at_us, Event::AtNode(id, boot, AtNode::Input(worker, Box::new(input))));
    }

    /// Gives every worker of a node an input at some time.
    fn input_to_all(&mut self, id: NodeId, input: impl Fn() -> Input, at_us: u64) {
        let node = self.node(id);
        let boot = node.boot;
        let workers = node.running.as_ref().map_or(0, |running| running.inboxes.len());
        for worker in 0..workers {
            self.events.push(at_us, Event::AtNode(id, boot, AtNode::Input(worker, Box::new(input()))));
        }
    }

    /// An input has reached a worker. Its turn comes when the worker has time; what arrives meanwhile shares it.
    fn arrive(&mut self, id: NodeId, worker: usize, input: Input) {
        let busy_us = self.chance.below(self.scenario.busy_us_max);
        let (now_us, node) = (self.now_us, self.node(id));
        let boot = node.boot;
        let inbox = &mut node.up().inboxes[worker];
        inbox.push(input);
        if inbox.len() > 1 {
            return;
        }
        if busy_us == 0 {
            self.turn(id, worker);
        } else {
            self.events.push(now_us + busy_us, Event::AtNode(id, boot, AtNode::Turn(worker)));
        }
    }
}

/// Half of all clocks are as wrong as they may be, too fast or too slow.
fn drift_ppm(chance: &mut Chance) -> i64 {
    let most = i64::from(DRIFT_PPM_MAX);
    match chance.below(4) {
        0 => most,
        1 => -most,
        _ => i64::try_from(chance.below(2 * u64::from(DRIFT_PPM_MAX))).unwrap_or(0) - most,
    }
}

/// Where a node is found.
fn info_of(node: NodeId) -> NodeInfo {
    let address = |kind: &str| format!("{kind}.{node}.sim:1");
    NodeInfo { client_addr: address("client"), peer_addr: address("peer"), http_addr: String::new() }
}

/// The node whose address for clients this is.
fn node_at(client_addr: &str) -> Option<NodeId> {
    let node = client_addr.strip_prefix("client.n")?.strip_suffix(".sim:1")?;
    node.parse().ok().map(NodeId)
}

/// The map of a fleet that was just founded.
fn first_map(scenario: &Scenario) -> ClusterMap {
    let nodes = (1..=scenario.nodes).map(|node| (NodeId(node), info_of(NodeId(node)))).collect();
    plan_initial(u128::from(scenario.seed) + 1, nodes, scenario.shards, scenario.replicas)
        .unwrap_or_else(|error| panic!("this shape cannot be: {error}"))
}
