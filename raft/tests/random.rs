//! Whole clusters under seeded chaos: messages are lost, delayed, doubled and overtaken, replicas crash with
//! writes half done, links break, logs are compacted. A judge who sees everything checks what Raft promises
//! at every step; at the end the chaos stops, and a leader must emerge and everybody catch up.
//!
//! `RAFT_SEEDS=first..last cargo test -p flotilla-raft --test random` runs others; a failing seed replays
//! exactly.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod cluster;
#[path = "random/members.rs"]
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use flotilla_raft::{
    Configuration, Index, LogId, Message, Options, ProgressKind, ReadId, ReplicaId, RoleKind, Term, Time,
};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use cluster::judge::Judge;
use cluster::replica::{Disk, Job, Replica, State};

const SEEDS: std::ops::Range<u64> = 0..250;
const CHAOS_STEPS: usize = 2500;
const PEACE: Duration = Duration::from_secs(5);

#[test]
fn clusters_under_chaos() {
    let seeds = match std::env::var("RAFT_SEEDS") {
        Ok(range) => {
            let (first, last) = range.split_once("..").expect("RAFT_SEEDS=first..last");
            first.parse().unwrap()..last.parse().unwrap()
        }
        Err(_) => SEEDS,
    };
    let mut total = Summary::default();
    for seed in seeds {
        println!("seed {seed}");
        let summary = World::new(seed).run();
        total.committed += summary.committed;
        total.terms += summary.terms;
        total.reads += summary.reads;
        total.installs += summary.installs;
        total.changes += summary.changes;
        total.purged += summary.purged;
    }
    println!("{total:?}");
    // Chaos in which nothing happens proves nothing.
    let counts = [total.committed, total.terms, total.reads, total.installs, total.changes, total.purged];
    assert!(counts.iter().all(|count| *count > 0), "{total:?}");
}

#[derive(Debug, Default)]
struct Summary {
    committed: usize,
    terms: usize,
    reads: usize,
    installs: usize,
    changes: usize,
    purged: usize,
}

/// How often what goes wrong, in this seed: chances per thousand. Some never do (swarm testing).
struct Faults {
    lose: u64,
    repeat: u64,
    crash: u64,
    cut: u64,
    compact: u64,
    transfer: u64,
    /// The members change.
    change: u64,
    unreachable: u64,
    stream_fails: u64,
    /// Messages take up to so many microseconds.
    delay_micros: u64,
    /// A disk finishes a job in so many of a thousand steps.
    disk_pace: u64,
    apply_pace: u64,
}

/// A snapshot on its way.
struct Stream {
    at: Time,
    from: ReplicaId,
    to: ReplicaId,
    term: Term,
    snapshot: State,
}

struct World {
    random: Pcg64,
    now: Time,
    faults: Faults,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// With the time of arrival.
    messages: Vec<(Time, Message)>,
    streams: Vec<Stream>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    judge: Judge,
    next_read: u64,
    next_data: u64,
    installs: usize,
    /// Removed, with their disks.
    purged: BTreeSet<ReplicaId>,
    genesis: Configuration,
    options: Options,
}

fn draw(random: &mut Pcg64, below: u64) -> u64 {
    random.next_u64() % below
}

/// One of the shapes that a configuration can have.
fn draw_configuration(random: &mut Pcg64) -> Configuration {
    let set = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect();
    let (voters, outgoing, learners): (&[u64], &[u64], &[u64]) = match draw(random, 8) {
        0 => (&[1, 2, 3, 4, 5], &[], &[]),
        1 => (&[1, 2, 3], &[], &[4]),
        2 => (&[1, 2, 4], &[1, 2, 3], &[]),
        3 => (&[1, 2], &[], &[]),
        4 => (&[1], &[], &[2]),
        _ => (&[1, 2, 3], &[], &[]),
    };
    Configuration { voters: set(voters), outgoing: set(outgoing), learners: set(learners) }
}

fn draw_options(random: &mut Pcg64) -> Options {
    let mut one_of = |choices: [u64; 3]| choices[draw(random, 3) as usize];
    Options {
        inflight_count_max: one_of([1, 3, 128]) as usize,
        inflight_bytes_max: one_of([50, 300, 1 << 20]),
        append_bytes_max: one_of([1, 100, 1 << 20]),
        uncommitted_bytes_max: one_of([500, 5000, 1 << 20]),
        ..Options::default()
    }
}

fn draw_faults(random: &mut Pcg64) -> Faults {
    // Some disks take hundreds of milliseconds: writes of several terms are under way at once.
    let slow_disks = draw(random, 5) == 0;
    let mut sometimes = |chance: u64| if draw(random, 2) == 0 { 0 } else { 1 + draw(random, chance) };
    Faults {
        lose: sometimes(200),
        repeat: sometimes(100),
        crash: sometimes(6),
        cut: sometimes(10),
        compact: sometimes(20),
        transfer: sometimes(10),
        change: sometimes(60),
        unreachable: sometimes(10),
        stream_fails: sometimes(500),
        delay_micros: 500 + sometimes(30_000),
        disk_pace: if slow_disks { 4 + sometimes(40) } else { 1000 - sometimes(900) },
        apply_pace: 1000 - sometimes(900),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Pcg64::seed_from_u64(seed);
        let configuration = draw_configuration(&mut random);
        let options = draw_options(&mut random);
        let faults = draw_faults(&mut random);
        let start = |id: ReplicaId| {
            let base = State { configuration: configuration.clone(), ..State::default() };
            let disk = Disk { base, ..Disk::default() };
            (id, Replica::new(id, options.clone(), seed ^ id.0, Time(0), disk))
        };
        let mut judge = Judge::default();
        judge.on_genesis(&configuration);
        Self {
            replicas: configuration.members().map(start).collect(),
            random,
            now: Time(0),
            faults,
            messages: Vec::new(),
            streams: Vec::new(),
            cut: BTreeSet::new(),
            judge,
            next_read: 0,
            next_data: 0,
            installs: 0,
            purged: BTreeSet::new(),
            genesis: configuration,
            options,
        }
    }

    fn run(mut self) -> Summary {
        for _ in 0..CHAOS_STEPS {
            self.break_something();
            self.use_it();
            self.change_members();
            self.step();
        }
        self.make_peace();
        self.check_liveness();
        Summary {
            committed: self.judge.committed().0 as usize,
            terms: self.judge.terms_led(),
            reads: self.judge.reads_confirmed,
            installs: self.installs,
            changes: self.judge.changes(),
            purged: self.purged.len(),
        }
    }

    fn chance(&mut self, per_thousand: u64) -> bool {
        draw(&mut self.random, 1000) < per_thousand
    }

    fn any_replica(&mut self) -> ReplicaId {
        let at = draw(&mut self.random, self.replicas.len() as u64) as usize;
        *self.replicas.keys().nth(at).unwrap()
    }

    fn alive(&self) -> Vec<ReplicaId> {
        self.replicas.values().filter(|replica| replica.raft.is_some()).map(|replica| replica.id).collect()
    }

    /// A little time passes; what is due happens.
    fn step(&mut self) {
        self.now = self.now + Duration::from_micros(draw(&mut self.random, 2000));
        let now = self.now;
        self.deliver();
        self.deliver_streams();
        for id in self.alive() {
            let raft = self.replicas.get_mut(&id).unwrap().raft();
            if raft.deadline().is_some_and(|deadline| deadline <= now) {
                raft.tick(now);
            }
            self.work(id);
            self.drain(id);
        }
    }

    /// The disk and the state machine of a replica go on, or not.
    fn work(&mut self, id: ReplicaId) {
        let now = self.now;
        if self.chance(self.faults.disk_pace) {
            let fails = self.chance(self.faults.stream_fails / 4);
            let replica = self.replicas.get_mut(&id).unwrap();
            match replica.jobs.front() {
                Some(Job::Install(_)) if fails => replica.fail_install(now),
                Some(Job::Install(_)) => {
                    replica.persist(now);
                    self.installs += 1;
                }
                _ => drop(replica.persist(now)),
            }
            self.judge.check_disk(&self.replicas[&id]);
        }
        while self.chance(self.faults.apply_pace) {
            let replica = self.replicas.get_mut(&id).unwrap();
            if replica.apply(now).is_none() {
                break;
            }
        }
    }

    /// Takes and judges what is ready, and sends the messages.
    fn drain(&mut self, id: ReplicaId) {
        let replica = self.replicas.get_mut(&id).unwrap();
        if !replica.raft().has_ready() {
            let left = replica.take_ready();
            assert!(left.is_empty(), "has_ready() of {id} hid {left:?}");
            return;
        }
        let ready = replica.take_ready();
        self.judge.on_ready(id, &ready, &self.replicas);
        for message in ready.messages {
            self.send(message);
        }
        for to in ready.snapshots {
            let at = self.now + Duration::from_millis(draw(&mut self.random, 50));
            let replica = self.replicas.get_mut(&id).unwrap();
            let (snapshot, term) = (replica.disk.base.clone(), replica.raft().term());
            self.streams.push(Stream { at, from: id, to, term, snapshot });
        }
    }

    fn send(&mut self, message: Message) {
        let copies = if self.chance(self.faults.repeat) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.chance(self.faults.lose) {
                let at = self.now + Duration::from_micros(draw(&mut self.random, self.faults.delay_micros));
                self.messages.push((at, message.clone()));
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (mut due, later) =
            std::mem::take(&mut self.messages).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.messages = later;
        due.sort_by_key(|(at, _)| *at);
        for (_, message) in due {
            let cut = self.cut.contains(&(message.from, message.to));
            let to = message.to;
            if let Some(raft) = self.replicas.get_mut(&to).unwrap().raft.as_mut().filter(|_| !cut) {
                raft.step(now, message).expect("no replica says what is impossible");
                // Sometimes several messages share a `Ready`.
                if self.chance(700) {
                    self.drain(to);
                }
            }
        }
    }

    fn deliver_streams(&mut self) {
        let now = self.now;
        for stream in std::mem::take(&mut self.streams) {
            if stream.at > now {
                self.streams.push(stream);
                continue;
            }
            let Stream { from, to, term, snapshot, .. } = stream;
            let last = snapshot.applied;
            let down = self.replicas[&to].raft.is_none() || self.replicas[&from].raft.is_none();
            let fails = down || self.cut.contains(&(from, to)) || self.chance(self.faults.stream_fails);
            if !fails {
                self.drain(to);
                self.replicas.get_mut(&to).unwrap().stage(now, from, term, snapshot);
                self.drain(to);
            }
            if let Some(raft) = self.replicas.get_mut(&from).unwrap().raft.as_mut() {
                raft.snapshot_done(now, to, (!fails).then_some(last));
            }
        }
    }

    fn break_something(&mut self) {
        let id = self.any_replica();
        let seed = self.random.next_u64();
        let now = self.now;
        let is_down = self.replicas[&id].raft.is_none();
        if is_down && !self.purged.contains(&id) && self.chance(30) {
            self.replicas.get_mut(&id).unwrap().restart(seed, now);
        } else if !is_down && self.chance(self.faults.crash) {
            let waiting = self.replicas[&id].jobs.len() as u64;
            let kept = draw(&mut self.random, waiting + 1) as usize;
            self.replicas.get_mut(&id).unwrap().crash(kept);
            self.judge.check_disk(&self.replicas[&id]);
        }
        if self.chance(self.faults.cut) {
            self.break_links(id);
        } else if self.chance(self.faults.cut) {
            self.cut.clear();
        }
        if let Some(raft) = self.replicas.get_mut(&id).unwrap().raft.as_mut()
            && draw(&mut self.random, 1000) < self.faults.unreachable
        {
            let other = ReplicaId(1 + seed % 5);
            if seed & 8 == 0 { raft.unreachable(other) } else { raft.silent(now, other) }
        }
    }

    /// One link, one way or both; or all links of one replica, preferably a leader that does not know yet.
    fn break_links(&mut self, id: ReplicaId) {
        if self.chance(500) {
            let other = self.any_replica();
            self.cut.insert((id, other));
            if self.chance(500) {
                self.cut.insert((other, id));
            }
            return;
        }
        let lonely = self.leader().unwrap_or(id);
        for other in self.replicas.keys() {
            self.cut.extend([(lonely, *other), (*other, lonely)]);
        }
    }

    /// Clients propose and read; operators compact and transfer.
    fn use_it(&mut self) {
        let now = self.now;
        for id in self.alive() {
            let (proposes, reads) = (self.chance(200), self.chance(100));
            let (compacts, transfers) = (self.chance(self.faults.compact), self.chance(self.faults.transfer));
            let keep = draw(&mut self.random, 5);
            let to = self.any_replica();
            let replica = self.replicas.get_mut(&id).unwrap();
            if proposes {
                self.next_data += 1;
                let data = format!("{}-{}", id.0, self.next_data);
                drop(replica.raft().propose(now, Bytes::from(data)));
            }
            if reads && replica.raft().read(now, ReadId(self.next_read)).is_ok() {
                self.judge.on_read(ReadId(self.next_read));
                self.next_read += 1;
            }
            let installs = replica.jobs.iter().any(|job| matches!(job, Job::Install(_)));
            if compacts && !installs {
                replica.flush(keep);
            }
            if transfers {
                drop(replica.raft().transfer(now, to));
            }
        }
    }

    fn make_peace(&mut self) {
        self.cut.clear();
        self.faults = Faults {
            lose: 0,
            repeat: 0,
            crash: 0,
            cut: 0,
            compact: 0,
            transfer: 0,
            change: 0,
            unreachable: 0,
            stream_fails: 0,
            delay_micros: 1000,
            disk_pace: 900,
            apply_pace: 900,
        };
        let now = self.now;
        for (id, replica) in &mut self.replicas {
            if replica.raft.is_none() && !self.purged.contains(id) {
                replica.restart(id.0, now);
            }
        }
    }

    fn leader(&self) -> Option<ReplicaId> {
        let statuses =
            self.replicas.values().filter_map(|replica| replica.raft.as_ref()).map(|raft| raft.status());
        let leaders = statuses.filter(|status| status.role == RoleKind::Leader);
        leaders.max_by_key(|status| status.term).map(|status| status.id)
    }

    /// In peace everything ends well, without another proposal to help: one leader, equal logs, all applied,
    /// all reads answered.
    fn check_liveness(&mut self) {
        let end = self.now + PEACE;
        while self.now < end && !self.is_settled() {
            self.step();
        }
        assert!(self.is_settled(), "after {PEACE:?} of peace: {}", self.describe());
        let leader = self.leader().unwrap();
        let (now, read) = (self.now, ReadId(self.next_read));
        let raft = self.replicas.get_mut(&leader).unwrap().raft();
        let proposed = raft.propose(now, Bytes::from_static(b"peace")).unwrap();
        raft.read(now, read).unwrap();
        self.judge.on_read(read);
        let confirmed = self.judge.reads_confirmed;
        let end = self.now + Duration::from_secs(1);
        while self.now < end && !(self.is_settled() && self.judge.reads_confirmed > confirmed) {
            self.step();
        }
        assert!(
            self.is_settled() && self.judge.committed() >= proposed.index,
            "the last word: {}",
            self.describe()
        );
        assert!(
            self.judge.reads_confirmed > confirmed,
            "the last read was not answered: {}",
            self.describe()
        );
    }

    fn is_settled(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let status = self.replicas[&leader].raft.as_ref().unwrap().status();
        let (last, applied): (LogId, Index) = (status.last, status.applied);
        let flows = status.progress.iter().all(|(_, progress)| {
            progress.state == ProgressKind::Replicate
                && progress.matched == last.index
                && progress.recent_active
        });
        // Who was removed may believe what it likes.
        let states_agree = status.configuration.members().all(|id| {
            let replica = &self.replicas[&id];
            let Some(status) = replica.raft.as_ref().map(flotilla_raft::Raft::status) else { return false };
            status.applied == last.index
                && status.last == last
                && replica.state == self.replicas[&leader].state
        });
        flows && applied == last.index && states_agree && status.transfer.is_none()
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for raft in self.replicas.values().filter_map(|replica| replica.raft.as_ref()) {
            let status = raft.status();
            let (configuration, since) = (&status.configuration, status.configuration_index);
            text += &format!(
                "\n{} {:?} {configuration} since {since}",
                cluster::notation::status(&status),
                cluster::notation::progress(&status)
            );
        }
        text
    }
}
