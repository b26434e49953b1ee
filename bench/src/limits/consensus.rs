//! The consensus core alone: three replicas in one thread, whose messages arrive and whose writes are durable at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_raft::{
    Configuration, Entry, Index, Message, Options, Payload, Raft, Recovered, ReplicaId, Time,
};

use super::Limit;
use crate::processes;

const REPLICAS: u64 = 3;
const ENTRY_BYTES: usize = 256;

/// A log is compacted when it is twice as long as this.
const KEPT_ENTRIES: u64 = 4_096;

/// How many entries are proposed before messages leave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Batch {
    /// 1.
    One,
    /// 64.
    Many,
}

/// Proposes for so long.
pub(super) fn measure(batch: Batch, duration: Duration) -> Result<Limit, String> {
    let (limit, size) = match batch {
        Batch::One => ("the raft core, 3 replicas, 1 entry at a time", 1),
        Batch::Many => ("the raft core, 3 replicas, 64 entries at a time", 64),
    };
    let mut group = Group::new();
    group.elect()?;
    let data = Bytes::from(vec![3; ENTRY_BYTES]);
    let (began, cpu) = (Instant::now(), processes::own());
    group.committed = 0;
    while began.elapsed() < duration {
        group.propose(&data, size)?;
    }
    let (took, cpu) = (began.elapsed(), processes::own().saturating_sub(cpu));
    let entries = group.committed as f64;
    Ok(Limit {
        limit,
        operations_per_second: entries / took.as_secs_f64(),
        cpu_us_per_operation: cpu.as_secs_f64() * 1e6 / entries.max(1.0),
        p50_us: None,
        p99_us: None,
    })
}

struct Group {
    replicas: Vec<Raft>,
    origin: Instant,
    messages: VecDeque<Message>,
    /// Entries of data that the leader has handed out as committed.
    committed: u64,
}

impl Group {
    fn new() -> Self {
        let configuration = Configuration::of_voters((1..=REPLICAS).map(ReplicaId));
        let raft = |id| {
            let recovered = Recovered::fresh(configuration.clone());
            Raft::new(ReplicaId(id), Options::default(), id, Time(0), recovered)
        };
        let replicas = (1..=REPLICAS).map(raft).collect();
        Self { replicas, origin: Instant::now(), messages: VecDeque::new(), committed: 0 }
    }

    fn now(&self) -> Time {
        Time(0) + self.origin.elapsed()
    }

    /// Makes the first one the leader.
    fn elect(&mut self) -> Result<(), String> {
        let now = self.now();
        self.replicas[0].campaign(now);
        self.settle()?;
        if self.replicas[0].is_leader() { Ok(()) } else { Err("the core elected nobody".to_owned()) }
    }

    /// Until all of these entries are committed at the leader.
    fn propose(&mut self, data: &Bytes, entries: u64) -> Result<(), String> {
        let (now, before) = (self.now(), self.committed);
        for replica in &mut self.replicas {
            replica.tick(now);
        }
        for _ in 0..entries {
            self.replicas[0].propose(now, data.clone()).map_err(|error| error.to_string())?;
        }
        self.settle()?;
        let done = self.committed - before;
        if done == entries { Ok(()) } else { Err(format!("{done} of {entries} entries were committed")) }
    }

    /// Does everything that is to be done, until nothing is.
    fn settle(&mut self) -> Result<(), String> {
        let now = self.now();
        loop {
            for at in 0..self.replicas.len() {
                self.turn(at, now);
            }
            if self.messages.is_empty() {
                return Ok(());
            }
            for message in std::mem::take(&mut self.messages) {
                let to = self.replicas.get_mut(message.to.0.saturating_sub(1) as usize);
                let to = to.ok_or_else(|| format!("a message to {}", message.to))?;
                to.step(now, message).map_err(|error| error.to_string())?;
            }
        }
    }

    /// One replica's turn: messages leave, the write is durable, what is committed is applied.
    fn turn(&mut self, at: usize, now: Time) {
        let replica = &mut self.replicas[at];
        while replica.has_ready() {
            let ready = replica.ready();
            if ready.is_empty() {
                break;
            }
            self.messages.extend(ready.messages);
            if let Some(write) = ready.write {
                replica.persisted(now, write.ticket);
            }
            if let Some(last) = ready.committed.last().map(Entry::index) {
                let data = |entry: &&Entry| matches!(entry.payload, Payload::Data(_));
                if at == 0 {
                    self.committed += ready.committed.iter().filter(data).count() as u64;
                }
                replica.applied(now, last);
                compact(replica, last);
            }
        }
    }
}

fn compact(replica: &mut Raft, applied: Index) {
    if applied.0 > replica.compacted().index.0 + 2 * KEPT_ENTRIES {
        replica.compact(Index(applied.0 - KEPT_ENTRIES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proposal_is_committed_and_logs_stay_short() {
        let mut group = Group::new();
        group.elect().unwrap();
        let data = Bytes::from_static(b"entry");
        for _ in 0..400 {
            group.propose(&data, 64).unwrap();
        }
        assert_eq!(group.committed, 400 * 64);
        for replica in &group.replicas {
            let kept = replica.commit().0 - replica.compacted().index.0;
            assert!(kept <= 2 * KEPT_ENTRIES + 64, "{kept} entries are kept");
        }
    }
}
