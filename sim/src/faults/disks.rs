//! Faults of disks: the log's, and the base's.

use flotilla_wal::FrameKind;
use flotilla_wal::inspect::{self, Place};
use flotilla_wal::simulated::{Faults as DiskFaults, SimulatedDisk};

use flotilla_topology::{NodeId, ShardId};

use super::{Ending, FaultKind};
use crate::event::Event;
use crate::world::World;

/// What of the first block of a segment is its header (`docs/formats/log.md`).
const HEADER_BYTES: u64 = 84;
/// What of a frame stands before the list of shards that it names, and what each of these takes.
const FRAME_HEAD_BYTES: u64 = 72;
const NAME_BYTES: u64 = 8;

/// What of a frame is to rot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Its records: whom it names can be read.
    Records,
    /// Its head: nobody can say whom it named.
    Head,
}

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

    /// Flips a bit of a header or frame that surely had been durable, so that damage to it is rot and no torn tail. Whom it
    /// concerns is out of service there from the next start on, which mostly comes at once; the node suffers until that is replaced.
    pub(super) fn rot(&mut self) -> bool {
        let Some(node) = self.victim(u64::MAX) else { return false };
        let disk = self.node(node).disk.clone();
        let Some(extent) = self.faults.chance.pick(&durable(&disk)).cloned() else { return false };
        let (byte, bit) = (self.faults.chance.below(extent.bytes), self.faults.chance.below(8));
        self.flip(node, &extent, byte, bit);
        if self.faults.chance.permille(700) {
            self.end_process(node);
            self.start_at(self.now_us + 10_000, node);
        }
        true
    }

    /// The last frame of such shards rots on a node, which is started again.
    pub(crate) fn rot_frame(&mut self, node: NodeId, hit: Hit, is_meant: impl Fn(&[ShardId]) -> bool) {
        let mut extents = durable(&self.node(node).disk.clone());
        extents.retain(|extent| is_meant(&extent.shards));
        let extent = extents.pop().unwrap_or_else(|| panic!("{node} never wrote such a frame"));
        let byte = if hit == Hit::Records { extent.bytes - 1 } else { 0 };
        self.flip(node, &extent, byte, 0);
        self.end_process(node);
        self.start_at(self.now_us + 10_000, node);
    }

    fn flip(&mut self, node: NodeId, extent: &Extent, byte: u64, bit: u64) {
        let (segment, at) = (extent.segment, extent.from + byte);
        self.node(node).disk.flip(&segment_name(segment), at, u8::try_from(bit).unwrap_or(0));
        self.trace.line(self.now_us, || format!("rot: {node}, bit {bit} of byte {at} of segment {segment}"));
        self.judges.rot.rotted(node, extent.whose(byte));
        let life = self.node(node).boot;
        self.sick.insert(node, life);
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

fn segment_name(number: u64) -> String {
    format!("segment-{number:020}.log")
}

/// A piece of a segment.
#[derive(Clone, Debug)]
struct Extent {
    segment: u64,
    /// Where it begins.
    from: u64,
    bytes: u64,
    /// The shards that it names: none, if it is the segment's header.
    shards: Vec<ShardId>,
}

impl Extent {
    /// Whose records are lost with this byte; nothing: nobody can read whose they were.
    fn whose(&self, byte: u64) -> Option<&[ShardId]> {
        let records = FRAME_HEAD_BYTES + NAME_BYTES * self.shards.len() as u64;
        (!self.shards.is_empty() && byte >= records).then_some(&self.shards)
    }
}

/// The headers of all segments, and the frames that something after them states to have been durable.
fn durable(disk: &SimulatedDisk) -> Vec<Extent> {
    let segments = inspect::segments(disk).unwrap_or_default();
    let mut extents = Vec::new();
    for number in &segments {
        let Ok(segment) = inspect::segment(disk, *number) else { continue };
        extents.push(Extent { segment: *number, from: 0, bytes: HEADER_BYTES, shards: Vec::new() });
        let frames = segment.places.iter().filter_map(|place| match place {
            Place::Frame { offset, bytes, kind: FrameKind::Records, shards, .. } => {
                let (segment, from, bytes) = (*number, *offset, *bytes);
                Some(Extent { segment, from, bytes, shards: shards.clone() })
            }
            _ => None,
        });
        let frames: Vec<Extent> = frames.collect();
        let covered = frames.len().saturating_sub(usize::from(segments.last() == Some(number)));
        extents.extend(frames.into_iter().take(covered));
    }
    extents
}
