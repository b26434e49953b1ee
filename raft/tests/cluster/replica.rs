//! A replica with its disk and its state machine: what a host is to it, in small.

use std::collections::VecDeque;

use flotilla_raft::{
    Configuration, Entry, HardState, Index, Life, LogId, Options, Payload, Raft, Ready, Recovered, ReplicaId,
    Rpc, SnapshotMeta, Time, Write,
};

/// The state after some entry: every entry applied so far, and the configuration in effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub applied: LogId,
    pub entries: Vec<Entry>,
    pub configuration: Configuration,
    pub configuration_index: Index,
}

impl State {
    pub fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.index(), self.applied.index.next(), "entries are applied in order, each once");
        self.applied = entry.id;
        self.entries.push(entry.clone());
        if let Payload::Configuration(configuration) = &entry.payload {
            self.configuration = configuration.clone();
            self.configuration_index = entry.index();
        }
    }

    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last: self.applied,
            configuration: self.configuration.clone(),
            configuration_index: self.configuration_index,
        }
    }
}

/// What is durable.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub compacted: LogId,
    pub entries: Vec<Entry>,
    /// The base of the state machine.
    pub base: State,
}

impl Disk {
    fn write(&mut self, write: &Write) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index() < first.index());
            self.entries.extend(write.entries.iter().cloned());
        }
    }

    fn install(&mut self, snapshot: State) {
        self.entries.clear();
        self.compacted = snapshot.applied;
        self.base = snapshot;
    }

    pub fn last(&self) -> LogId {
        self.entries.last().map_or(self.compacted, |entry| entry.id)
    }

    pub fn contains(&self, id: LogId) -> bool {
        id.index <= self.compacted.index || self.entries.iter().any(|entry| entry.id == id)
    }

    pub fn recovered(&self) -> Recovered {
        Recovered {
            hard_state: self.hard_state,
            compacted: self.compacted,
            entries: self.entries.clone(),
            applied: self.base.applied,
            configuration: self.base.configuration.clone(),
            configuration_index: self.base.configuration_index,
        }
    }
}

/// What the disk has been asked to do, in order.
#[derive(Clone, Debug)]
pub enum Job {
    Write(Write),
    Install(SnapshotMeta),
}

pub struct Replica {
    pub id: ReplicaId,
    options: Options,
    /// `None` while it is crashed.
    pub raft: Option<Raft>,
    pub disk: Disk,
    pub jobs: VecDeque<Job>,
    pub state: State,
    /// Handed out to be applied.
    pub unapplied: VecDeque<Entry>,
    /// The snapshot that is staged beside the base.
    staged: Option<State>,
}

impl Replica {
    pub fn new(id: ReplicaId, options: Options, seed: u64, now: Time, disk: Disk) -> Self {
        let mut replica = Self {
            id,
            options,
            raft: None,
            disk,
            jobs: VecDeque::new(),
            state: State::default(),
            unapplied: VecDeque::new(),
            staged: None,
        };
        replica.restart(seed, now);
        replica
    }

    pub fn raft(&mut self) -> &mut Raft {
        self.raft.as_mut().unwrap_or_else(|| panic!("{} is down", self.id))
    }

    /// Everything that is not durable is lost; of the writes under way the first `kept` made it.
    pub fn crash(&mut self, kept: usize) {
        for job in self.jobs.drain(..).take(kept) {
            if let Job::Write(write) = job {
                self.disk.write(&write);
            }
        }
        self.jobs.clear();
        self.unapplied.clear();
        self.staged = None;
        self.raft = None;
    }

    pub fn restart(&mut self, seed: u64, now: Time) {
        self.state = self.disk.base.clone();
        let mut raft = Raft::new(self.id, self.options.clone(), seed, now, self.disk.recovered());
        raft.in_life(Life(1));
        self.raft = Some(raft);
    }

    /// Takes what is ready: disk jobs and entries queue up here, the rest is the caller's.
    pub fn take_ready(&mut self) -> Ready {
        let mut ready = self.raft().ready();
        self.jobs.extend(ready.write.clone().map(Job::Write));
        self.jobs.extend(ready.install.clone().map(Job::Install));
        self.unapplied.extend(ready.committed.iter().cloned());
        for message in &mut ready.messages {
            assert_eq!(message.from, self.id);
        }
        ready
    }

    /// The disk does its next job. Returns what it was.
    pub fn persist(&mut self, now: Time) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        match &job {
            Job::Write(write) => {
                self.disk.write(write);
                self.raft().persisted(now, write.ticket);
            }
            Job::Install(meta) => {
                let snapshot = self.staged.take().expect("a snapshot is staged before it is installed");
                assert_eq!(snapshot.meta(), *meta);
                self.unapplied.clear();
                self.state = snapshot.clone();
                self.disk.install(snapshot);
                self.raft().installed(now, meta);
            }
        }
        Some(job)
    }

    /// The disk fails to install the snapshot that is its next job.
    pub fn fail_install(&mut self, now: Time) {
        assert!(matches!(self.jobs.pop_front(), Some(Job::Install(_))), "no install is next");
        self.staged = None;
        self.raft().install_failed(now);
    }

    /// Applies the next entry.
    pub fn apply(&mut self, now: Time) -> Option<Entry> {
        let entry = self.unapplied.pop_front()?;
        self.state.apply(&entry);
        self.raft().applied(now, entry.index());
        Some(entry)
    }

    /// Flushes the state machine into the base, and compacts the log behind it, but for `keep` entries.
    pub fn flush(&mut self, keep: u64) {
        self.disk.base = self.state.clone();
        let to = Index(self.state.applied.index.0.saturating_sub(keep)).max(self.disk.compacted.index);
        if let Some(entry) = self.disk.entries.iter().find(|entry| entry.index() == to) {
            self.disk.compacted = entry.id;
        }
        self.disk.entries.retain(|entry| entry.index() > to);
        self.raft().compact(to);
    }

    /// A snapshot arrived in full: it is staged, and the replica told.
    pub fn stage(&mut self, now: Time, from: ReplicaId, term: flotilla_raft::Term, snapshot: State) {
        let rpc = Rpc::InstallSnapshot { meta: snapshot.meta() };
        let installs = self.jobs.iter().any(|job| matches!(job, Job::Install(_)));
        let raft = self.raft.as_mut().expect("only a live replica stages a snapshot");
        raft.step(now, flotilla_raft::Message { from, to: self.id, term, rpc }).expect("a true message");
        if !installs {
            self.staged = Some(snapshot);
        }
    }
}
