//! The power fails while the last frame is on its way: any of its sectors may be there, and any not.
//!
//! What lies beneath it matters: zeros in a file that was just made, whole frames of an earlier life in a recycled one.

use crate::model::{DIRECTORY, Model, batch, birth, entry, hard, id, small};
use flotilla_wal::simulated::{Fate, Faults, SECTOR_BYTES, SimulatedDisk};

use flotilla_wal::{Batch, Disk, File, Log, Options, Record, Step};

/// Six blocks for frames.
fn options() -> Options {
    Options { segment_bytes: 32768, ..small() }
}

/// Sectors of the last frame that hold more than padding, of sixteen.
const FILLED: u64 = 10;

fn large(index: u64, byte: char) -> Record {
    Record::Entries(vec![entry(index, 1, &String::from(byte).repeat(4700))])
}

/// A log whose last frame is written and not synced. It spans sixteen sectors.
struct Unsynced {
    disk: SimulatedDisk,
    before: Model,
    after: Model,
    /// What lies in the file where the last frame is to stand.
    beneath: Vec<u8>,
}

fn write(log: &mut Log<SimulatedDisk>, model: &mut Model, next: &Batch) {
    log.append(std::slice::from_ref(next)).unwrap();
    model.apply(next);
}

/// Lives through `lives` fillings of segments, then leaves the last frame unsynced.
fn unsynced(lives: u64) -> Unsynced {
    let disk = SimulatedDisk::new(9);
    let (mut log, _) = Log::open(disk.clone(), options(), DIRECTORY).unwrap();
    let mut model = Model::default();
    write(&mut log, &mut model, &batch([(1, birth(1)), (1, hard(1, 1, 0)), (2, birth(2))]));
    for index in 1..=lives {
        write(&mut log, &mut model, &batch([(1, large(index, 'o'))]));
        write(&mut log, &mut model, &batch([(1, Record::Compact(id(index, 1)))]));
        while log.collect().unwrap() != Step::Idle {}
    }
    let before = model.clone();
    let last = batch([(1, large(lives + 1, 'n'))]);
    let was = disk.fork(1);
    disk.set_faults(Faults { crash_at_call: Some(disk.calls() + 2), ..Faults::default() });
    assert!(log.append(std::slice::from_ref(&last)).is_err(), "its sync is the second call");
    let mut after = before.clone();
    after.apply(&last);
    // The one file that differs from what it was.
    let changed = disk.names().into_iter().find(|name| disk.content(name) != was.content(name)).unwrap();
    let (new, old) = (disk.content(&changed).unwrap(), was.content(&changed).unwrap());
    let at = new.iter().zip(&old).position(|(new, old)| new != old).unwrap() / 4096 * 4096;
    Unsynced { disk, before, after, beneath: old[at..at + 16 * SECTOR_BYTES as usize].to_vec() }
}

impl Unsynced {
    /// Keeps the sectors of this set, leaves `fate` of the others, and looks.
    fn judge(&self, kept: u64, fate: Fate) {
        let disk = self.disk.fork(kept);
        disk.crash_with(&mut |nth| if kept >> nth & 1 == 1 { Fate::Kept } else { fate }, None);
        let (_, recovered) =
            Log::open(disk, options(), DIRECTORY).unwrap_or_else(|error| panic!("{kept:016b}: {error}"));
        let filled = (1 << FILLED) - 1;
        let whole = kept & filled == filled;
        let expected = if whole { &self.after } else { &self.before };
        // Of a torn sector everything may be there that is needed.
        let fits = expected.is(&recovered) || fate == Fate::Torn && self.after.is(&recovered);
        assert!(fits, "{kept:016b}, the rest {fate:?}: {recovered:?}");
        if kept & 1 == 1 && !self.after.is(&recovered) {
            assert!(recovered.torn.is_some(), "{kept:016b}: the head is there, so the cut is told");
        }
    }
}

#[test]
fn every_subset_of_the_sectors_of_the_last_frame_is_all_or_nothing() {
    let fresh = unsynced(0);
    assert_eq!(fresh.disk.unsynced_sectors(), 16, "two blocks, padding included");
    assert!(fresh.beneath.iter().all(|byte| *byte == 0));
    for subset in 0..1_u64 << FILLED {
        for (padding, fate) in [(0, Fate::Dropped), (0x3f, Fate::Dropped), (0x15, Fate::Garbled)] {
            fresh.judge(subset | padding << FILLED, fate);
        }
    }
}

#[test]
fn every_subset_of_the_sectors_over_frames_of_an_earlier_life_is_all_or_nothing() {
    let recycled = unsynced(7);
    assert_eq!(recycled.disk.unsynced_sectors(), 16);
    let stale = recycled.beneath.chunks(SECTOR_BYTES as usize).filter(|it| it.iter().any(|byte| *byte != 0));
    assert!(stale.count() as u64 >= FILLED, "an earlier frame lies beneath");
    assert!(recycled.beneath.starts_with(b"flFR"), "at the very place of the last one");
    for kept in 0..1 << 16 {
        recycled.judge(kept, Fate::Dropped);
    }
    for subset in 0..1_u64 << FILLED {
        for fate in [Fate::Garbled, Fate::Torn] {
            recycled.judge(subset, fate);
        }
    }
}

#[test]
fn what_was_written_into_a_file_that_is_gone_does_not_count_as_unsynced() {
    let disk = SimulatedDisk::new(1);
    let mut file = disk.create("kept").expect("a file");
    assert_eq!(file.write_at(&[1; 600], 0).expect("room"), 600);
    assert_eq!(disk.unsynced_sectors(), 2);
    disk.rename("kept", "renamed").expect("it is there");
    assert_eq!(disk.unsynced_sectors(), 2);
    disk.remove("renamed").expect("it is there");
    assert_eq!(disk.unsynced_sectors(), 0);
}
