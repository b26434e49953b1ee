//! Faults of disks: the log's, and the base's.

use flotilla_wal::simulated::Faults as DiskFaults;

use super::{Ending, FaultKind};
use crate::event::Event;
use crate::world::World;

impl World {
    pub(super) fn slow(&mut self, kind: FaultKind) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        let slow_us = self.faults.chance.between(5_000, 700_000);
        let node_of = self.node(node);
        if kind == FaultKind::SlowDisk {
            node_of.slow_us = slow_us;
        } else {
            node_of.slow_reads_us = slow_us;
        }
        self.events.push(until_us, Event::Ends(Ending::Disk(node)));
        true
    }

    pub(super) fn disk_fault(&mut self, kind: FaultKind) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        let soon = self.faults.chance.between(1, 12);
        let disk = self.node(node).disk.clone();
        let call = disk.calls() + soon;
        disk.set_faults(match kind {
            FaultKind::ShortWrites => DiskFaults { short_writes: true, ..DiskFaults::default() },
            FaultKind::SyncError => DiskFaults { sync_error_at_call: Some(call), ..DiskFaults::default() },
            _ => DiskFaults { space_bytes_max: Some(disk.used_bytes()), ..DiskFaults::default() },
        });
        self.events.push(until_us, Event::Ends(Ending::Disk(node)));
        if kind == FaultKind::SyncError {
            // What a failed sync left in the kernel's memory is read by the next life, and gone when the power fails.
            self.ambush(node, 2_000_000);
        }
        true
    }

    /// Part of the log cannot be read: who starts meanwhile must not take that for a torn tail, nor for a log without votes.
    pub(super) fn read_error(&mut self) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        let disk = self.node(node).disk.clone();
        let mut files = disk.names();
        files.retain(|name| disk.content(name).is_some_and(|content| !content.is_empty()));
        let Some(name) = self.faults.chance.pick(&files).cloned() else { return false };
        let length = disk.content(&name).map_or(1, |content| content.len() as u64);
        let byte = self.faults.chance.below(length);
        disk.set_faults(DiskFaults { read_error: Some((name, byte)), ..DiskFaults::default() });
        self.events.push(until_us, Event::Ends(Ending::Disk(node)));
        self.end_process(node);
        self.start_at(self.now_us + 10_000, node);
        true
    }

    /// Flips a bit of a segment that has a successor: all of it had been durable, so that damage to it is rot and no torn
    /// tail. The node may have to stay down for ever, so it counts as lost from here on.
    pub(super) fn rot(&mut self) -> bool {
        let Some(node) = self.victim(u64::MAX) else { return false };
        let disk = self.node(node).disk.clone();
        let mut segments = disk.names();
        segments.retain(|name| disk.content(name).is_some_and(|content| !content.is_empty()));
        segments.sort();
        segments.pop();
        let Some(name) = self.faults.chance.pick(&segments).cloned() else { return false };
        let length = disk.content(&name).map_or(1, |content| content.len() as u64);
        let (byte, bit) = (self.faults.chance.below(length), self.faults.chance.below(8));
        disk.flip(&name, byte, u8::try_from(bit).unwrap_or(0));
        self.trace.line(self.now_us, || format!("rot: {node}, bit {bit} of byte {byte} of {name}"));
        self.rotten.insert(node);
        true
    }

    pub(super) fn base_fault(&mut self, kind: FaultKind) -> bool {
        let until_us = self.fault_until();
        let Some(node) = self.victim(until_us) else { return false };
        if kind == FaultKind::FlusherStall {
            self.node(node).stalled = true;
        } else {
            self.node(node).base.set_failing(true);
        }
        self.events.push(until_us, Event::Ends(Ending::Flusher(node)));
        true
    }
}
