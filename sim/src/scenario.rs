//! What kind of world a seed stands for: its shape, its limits, its weather, and which faults are on (swarm testing, Groce
//! et al. 2012: worlds in which some faults are *off* find what worlds with all of them hide).

use std::time::Duration;

use flotilla_node::host::Options;
use serde::Deserialize;

use crate::chance::Chance;
use crate::clients::Habits;
use crate::faults::FaultKind;
use crate::network::Weather;
use crate::profile::{Aim, Profile};

/// Where clocks drift, each is by at most so many millionths too fast or too slow: far more than real ones, so that what depends on
/// it is found out.
pub const DRIFT_PPM_MAX: u32 = 250_000;

/// Of 1000 worlds, in how many replicas move, if there is room.
const MOVES_PERMILLE: u64 = 350;

/// Of 1000 worlds in which replicas move, in how many nodes may join and leave, too.
const FLEET_PERMILLE: u64 = 600;

/// A world of the usual length goes on until so many operations were answered.
const OPERATIONS_MIN: usize = 1000;

/// What users may fix of all worlds; what is left open follows from each seed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// How many nodes there are; 3 or 5 if open.
    pub nodes: Option<u64>,
    /// How many data shards there are; 1 to 4 if open.
    pub shards: Option<u64>,
    /// How many replicas each shard has; 3, or 5 of 5 nodes, if open.
    pub replicas: Option<usize>,
    /// How many clients share their keys; 4 to 8 if open.
    pub clients: Option<u64>,
    /// How many crowds of clients there are, each with keys of its own; 1 to 3 if open.
    pub crowds: Option<u64>,
    /// What the worlds are about; the seed decides if open.
    pub profile: Option<Profile>,
    /// How long the faults last, in seconds of virtual time; if open 30, and longer until 1000 operations were answered.
    pub seconds: Option<u64>,
    /// Which faults are on, by name; about half of all if open. Replicas move only if `move` is one of them.
    pub faults: Option<Vec<FaultKind>>,
    /// Whether replicas move; if open, the seed decides. There must be more nodes than replicas.
    pub moves: Option<bool>,
}

impl Topology {
    /// Checks that such a fleet can be.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let (nodes, replicas) = (self.nodes.unwrap_or(5), self.replicas.unwrap_or(1));
        let within = [
            ("nodes", nodes, 1, 9),
            ("shards", self.shards.unwrap_or(1), 1, 64),
            ("replicas", replicas as u64, 1, nodes),
            // The search for a linearization takes no more at once for one key.
            ("clients", self.clients.unwrap_or(1), 1, 8),
            ("crowds", self.crowds.unwrap_or(1), 1, 8),
            ("seconds", self.seconds.unwrap_or(1), 1, 3600),
        ];
        match within.into_iter().find(|(_, value, low, high)| value < low || value > high) {
            Some((field, value, low, high)) => Err(format!("{field} is {value}: it must be {low} to {high}")),
            None => Ok(()),
        }
    }
}

/// A world that can be run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many nodes there are at the beginning.
    pub nodes: u64,
    /// How many more may join later.
    pub joiners: u64,
    /// How many data shards there are, beside the meta shard.
    pub shards: u64,
    /// How many replicas each has.
    pub replicas: usize,
    /// How many workers each node has.
    pub workers: usize,
    /// What it is about.
    pub profile: Profile,
    /// How many clients share their keys.
    pub clients: u64,
    /// How many crowds of clients there are, each with keys of its own.
    pub crowds: u64,
    /// How many groups of keys each crowd uses.
    pub groups: u64,
    /// What clients are like.
    pub habits: Habits,
    /// How many routers there are. Half of the clients go through them, if there are any.
    pub routers: u64,
    /// How long inputs wait for a worker at most: what arrives meanwhile shares its turn.
    pub busy_us_max: u64,
    /// How many operations each client begins at most.
    pub operations_max: u64,
    /// How long the faults last.
    pub lasts: Duration,
    /// They go on, up to four times as long, until so many operations were answered: what hardly got an answer was hardly tried.
    pub operations_min: usize,
    /// The mean time between two faults.
    pub fault_every: Duration,
    /// Which faults are on.
    pub faults: Vec<FaultKind>,
    /// Whom they strike.
    pub aim: Aim,
    /// What the network does all the time.
    pub weather: Weather,
    /// How long nodes promise each other support; nothing: no leases.
    pub support: Duration,
    /// By how many millionths clocks may be wrong, as the nodes are told; none is more.
    pub clock_drift_ppm_max: u32,
    /// CLOCKS ARE WORSE THAN THE NODES ARE TOLD. Then a lease may be believed for too long, so that in such a world, and in no other, the
    /// judges of leases only count, and nobody judges what reads saw. All else holds: votes, terms, promises, writes.
    pub beyond_the_drift: bool,
    /// The limits of the hosts.
    pub options: Options,
    /// The length of the log's segments, in bytes.
    pub segment_bytes: u64,
    /// Some seeds spare no quorum: then availability may end, and nothing else.
    pub ruthless: bool,
    /// Replicas move: the meta shard holds the cluster map, and controllers carry out what operators ask for.
    pub moves: bool,
    /// For how long a node must have been silent before the controller replaces its replicas; nothing: it never does.
    pub repair_after: Option<Duration>,
}

impl Scenario {
    /// The world of a seed.
    #[must_use]
    pub fn draw(seed: u64, topology: &Topology) -> Self {
        let mut chance = Chance::new(seed, "scenario");
        let drawn = Profile::draw(&mut chance);
        let profile = topology.profile.unwrap_or(drawn);
        let nodes = if chance.permille(600) { 3 } else { 5 };
        let nodes = topology.nodes.unwrap_or(nodes);
        let replicas = if nodes >= 5 && chance.permille(400) { 5 } else { 3 };
        let shards = chance.between(1, 4);
        let clients = topology.clients.unwrap_or(chance.between(4, 8));
        let crowds = topology.crowds.unwrap_or(profile.crowds(&mut chance));
        let every_ms = profile.fault_every_ms();
        let support = support(profile, seed);
        let faults = topology.faults.clone().unwrap_or_else(|| profile.faults(&mut chance));
        let beyond_the_drift =
            faults.contains(&FaultKind::Drift) && Chance::new(seed, "beyond the drift").permille(60);
        let replicas =
            topology.replicas.unwrap_or(replicas).min(usize::try_from(nodes).unwrap_or(usize::MAX));
        let scenario = Self {
            seed,
            nodes,
            joiners: 0,
            profile,
            shards: topology.shards.unwrap_or(shards),
            replicas,
            workers: chance.between(1, 2) as usize,
            clients,
            crowds,
            groups: chance.between(12, 40),
            habits: profile.habits(&mut chance, clients),
            routers: chance.below(3),
            busy_us_max: [0, 50, 500, 3000][chance.below(4) as usize],
            operations_max: u64::MAX,
            lasts: Duration::from_secs(topology.seconds.unwrap_or(30)),
            operations_min: if topology.seconds.is_some() { 0 } else { OPERATIONS_MIN },
            fault_every: Duration::from_millis(chance.between(*every_ms.start(), *every_ms.end())),
            faults,
            aim: profile.aim(&mut chance),
            weather: weather(&mut chance),
            support,
            clock_drift_ppm_max: if beyond_the_drift { DRIFT_PPM_MAX / 100 } else { DRIFT_PPM_MAX },
            beyond_the_drift,
            options: options(idle_after(support, seed), &mut chance),
            segment_bytes: [16 << 10, 32 << 10, 64 << 10][chance.below(3) as usize],
            ruthless: chance.permille(200),
            moves: false,
            repair_after: None,
        };
        scenario.moving(topology)
    }

    /// A fleet with one shard of three replicas in which nothing goes wrong by itself, for a story that says what does.
    #[must_use]
    pub fn calm(nodes: u64) -> Self {
        let topology = Topology {
            nodes: Some(nodes),
            shards: Some(1),
            replicas: Some(3),
            clients: Some(2),
            crowds: Some(1),
            seconds: Some(1),
            faults: Some(Vec::new()),
            moves: Some(false),
            ..Topology::default()
        };
        let mut scenario = Self::draw(1, &topology);
        scenario.weather = Weather::FAIR;
        (scenario.workers, scenario.routers, scenario.busy_us_max) = (1, 0, 0);
        scenario
    }

    /// In some worlds replicas move. From a chance of its own, so that all the others stay what they were.
    fn moving(mut self, topology: &Topology) -> Self {
        let mut chance = Chance::new(self.seed, "moves");
        let drawn = chance.permille(MOVES_PERMILLE) && topology.faults.is_none();
        let asked = self.faults.contains(&FaultKind::Move);
        if topology.nodes.is_none() && topology.replicas.is_none() && topology.moves.unwrap_or(drawn) {
            // A node must be free to take a replica.
            self.nodes = self.nodes.max(4 + u64::from(chance.permille(300)));
            self.replicas = self.replicas.min(3);
        }
        let has_room = self.nodes > self.replicas as u64;
        // A controller reads the map by leases, and where these are worth nothing it may decide on an old one.
        self.moves = topology.moves.unwrap_or(drawn || asked) && has_room && !self.beyond_the_drift;
        let kinds = [(FaultKind::Move, 1000), (FaultKind::CancelMove, 600), (FaultKind::Drain, 300)];
        let open = self.moves && topology.faults.is_none();
        for (kind, permille) in kinds {
            if chance.permille(permille) && open {
                self.faults.push(kind);
            }
        }
        let millis = chance.pick(&[0, 0, 1500, 6000]).copied().filter(|millis| *millis > 0 && self.moves);
        self.repair_after = millis.map(Duration::from_millis);
        self.growing(open)
    }

    /// In some of the worlds in which replicas move, the fleet grows and shrinks. From a chance of its own, as above.
    fn growing(mut self, open: bool) -> Self {
        let mut chance = Chance::new(self.seed, "fleet");
        let kinds = [
            (FaultKind::Join, 800),
            (FaultKind::Remove, 700),
            (FaultKind::Lose, 500),
            (FaultKind::Rebalance, 600),
        ];
        let drawn = chance.permille(FLEET_PERMILLE) && open;
        for (kind, permille) in kinds {
            if chance.permille(permille) && drawn {
                self.faults.push(kind);
            }
        }
        let joiners = chance.between(1, 3);
        self.joiners = if self.faults.contains(&FaultKind::Join) { joiners } else { 0 };
        self
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let faults: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
        format!(
            "seed {}: {}, {} nodes, {} shards of {}{}, {} workers, {} × {} clients, support {:?}, {:?}{}{}, faults: {}",
            self.seed,
            self.profile.name(),
            match self.joiners {
                0 => self.nodes.to_string(),
                joiners => format!("{} to {}", self.nodes, self.nodes + joiners),
            },
            self.shards,
            self.replicas,
            match (self.moves, self.repair_after) {
                (false, _) => String::new(),
                (true, None) => " that move".to_owned(),
                (true, Some(after)) => format!(" that move (repair after {after:?})"),
            },
            self.workers,
            self.crowds,
            self.clients,
            self.support,
            self.lasts,
            if self.ruthless { ", ruthless" } else { "" },
            if self.beyond_the_drift {
                ", CLOCKS BEYOND THEIR BOUND: leases and reads not judged"
            } else {
                ""
            },
            if faults.is_empty() { "none".to_owned() } else { faults.join(" ") },
        )
    }
}

/// From a chance of its own, so that worlds without it stay what they were. Where promises are what it is about, they may outlast
/// election timeouts.
fn support(profile: Profile, seed: u64) -> Duration {
    let choices = match profile {
        Profile::Promises => [60, 90, 140, 250, 400, 700],
        Profile::Mixed | Profile::Divergence | Profile::Handover | Profile::Disks => {
            [0, 60, 90, 90, 140, 250]
        }
    };
    Chance::new(seed, "support")
        .pick(&choices)
        .map_or(Duration::ZERO, |millis| Duration::from_millis(*millis))
}

/// How soon quiet groups sleep; in some worlds never. From a chance of its own, as above. Nodes refuse to start where promises outlast
/// the patience with which sleepers are looked after.
fn idle_after(support: Duration, seed: u64) -> Option<Duration> {
    if support > flotilla_raft::Options::default().election_timeout_min {
        return None;
    }
    let choices = [0, 60, 60, 120, 250, 1000];
    let millis = Chance::new(seed, "idle").pick(&choices).copied().filter(|millis| *millis > 0);
    millis.map(Duration::from_millis)
}

/// Limits so small that half a minute flushes, compacts, sends snapshots, rotates the log, and catches up in many steps.
fn options(idle_after: Option<Duration>, chance: &mut Chance) -> Options {
    let small = chance.permille(500);
    let raft = flotilla_raft::Options {
        append_bytes_max: if small { 1 << chance.between(7, 11) } else { 1 << 20 },
        inflight_count_max: if small { chance.between(1, 16) as usize } else { 128 },
        idle_after,
        ..flotilla_raft::Options::default()
    };
    Options {
        raft,
        flush_bytes: 2 << chance.between(10, 14),
        flush_interval: Duration::from_millis(chance.between(200, 3000)),
        log_retain_bytes: 1 << chance.between(10, 15),
        overlay_bytes_max: 4 << chance.between(10, 16),
        ..Options::default()
    }
}

fn weather(chance: &mut Chance) -> Weather {
    let calm = match chance.below(4) {
        0 => Weather::FAIR,
        1 => Weather { delay_us_max: chance.between(1000, 10_000), ..Weather::FAIR },
        _ => Weather {
            lost_permille: chance.below(30),
            doubled_permille: chance.below(30),
            delay_us_max: chance.between(300, 15_000),
            ..Weather::FAIR
        },
    };
    match chance.below(3) {
        0 => {
            Weather { late_permille: chance.between(1, 10), late_us_max: 100_000 << chance.below(7), ..calm }
        }
        _ => calm,
    }
}
