//! The power fails, the disk is full, a sync fails: at every single call.
//!
//! Whatever happens, what was acknowledged is there, and what was in flight is there as a whole or not at all.

use crate::model::{Model, Story, batch, birth, entry, hard, open};
use flotilla_raft::ReplicaId;
use flotilla_topology::ShardId;
use flotilla_wal::simulated::{Fate, Faults, SimulatedDisk};
use flotilla_wal::{AppendError, Batch, CollectError, Log, OpenError, Record, Recovered, Step};

/// What is promised, and what may have been written besides.
#[derive(Clone)]
struct Run {
    acknowledged: Model,
    in_flight: Option<Model>,
}

impl Run {
    fn judge(&self, recovered: &Recovered, context: &str) {
        let fits =
            self.acknowledged.is(recovered) || self.in_flight.as_ref().is_some_and(|it| it.is(recovered));
        assert!(fits, "{context}: acknowledged {:#?}\nrecovered {recovered:#?}", self.acknowledged);
    }
}

/// Opens, appends, marks and collects, until something fails. `true`: everything was done.
fn drive(disk: &SimulatedDisk, story: &mut Story, steps: u64, run: &mut Run) -> bool {
    let mut log = match open(disk) {
        Ok((log, recovered)) => {
            run.judge(&recovered, "at the start");
            run.acknowledged = model_of(&recovered);
            run.in_flight = None;
            story.model = run.acknowledged.clone();
            log
        }
        Err(OpenError::Disk { .. } | OpenError::NoSpace(_)) => return false,
        Err(other) => panic!("{other}"),
    };
    for step in 0..steps {
        let next = story.next();
        let mut after = run.acknowledged.clone();
        after.apply(&next);
        run.in_flight = Some(after.clone());
        let mut written = log.append(std::slice::from_ref(&next));
        if let Err(AppendError::NoSpace(_)) = written {
            // Nothing was written: the same call may simply be repeated.
            written = log.append(std::slice::from_ref(&next));
        }
        if written.is_err() {
            assert!(matches!(log.append(&[next]), Err(AppendError::Poisoned)));
            return false;
        }
        (run.acknowledged, run.in_flight) = (after.clone(), None);
        story.model = after;
        if step % 3 == 2 && log.idle().is_err() {
            return false;
        }
        for _ in 0..4 {
            match log.collect() {
                Ok(Step::Idle) => break,
                Ok(_) | Err(CollectError::Append(AppendError::NoSpace(_))) => {}
                Err(CollectError::Rot { .. }) => panic!("no rot was made"),
                Err(_) => return false,
            }
        }
    }
    true
}

fn model_of(recovered: &Recovered) -> Model {
    Model { shards: recovered.shards.clone(), tombstones: recovered.tombstones.clone() }
}

const STEPS: u64 = 40;
const SHARDS: u64 = 5;

fn fresh() -> (Story, Run) {
    (Story::new(11, SHARDS, 900), Run { acknowledged: Model::default(), in_flight: None })
}

/// How many changing calls the whole story makes.
fn calls() -> u64 {
    let disk = SimulatedDisk::new(0);
    let (mut story, mut run) = fresh();
    assert!(drive(&disk, &mut story, STEPS, &mut run));
    assert!(run.acknowledged.shards.len() > 2);
    disk.calls()
}

#[test]
fn a_crash_at_any_call_loses_nothing_acknowledged() {
    for call in 1..=calls() {
        for seed in 0..4 {
            let disk = SimulatedDisk::new(call * 1000 + seed);
            let (mut story, mut run) = fresh();
            disk.set_faults(Faults { crash_at_call: Some(call), ..Faults::default() });
            assert!(!drive(&disk, &mut story, STEPS, &mut run));
            disk.crash();
            let context = format!("crash at call {call}, seed {seed}");
            let (_, recovered) = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
            run.judge(&recovered, &context);
            // And life goes on.
            disk.crash();
            assert!(drive(&disk, &mut story, 6, &mut run), "{context}");
        }
    }
}

#[test]
fn a_crash_at_any_call_of_recovery_changes_nothing() {
    for call in (1..=calls()).step_by(3) {
        let base = SimulatedDisk::new(call);
        let (mut story, mut run) = fresh();
        base.set_faults(Faults { crash_at_call: Some(call), ..Faults::default() });
        drive(&base, &mut story, STEPS, &mut run);
        base.crash();
        // What the first recovery says must stand, whatever interrupts it.
        let mut first: Option<Model> = None;
        for nth in 1.. {
            let disk = base.fork(call * 100 + nth);
            disk.set_faults(Faults { crash_at_call: Some(disk.calls() + nth), ..Faults::default() });
            let done = open(&disk);
            let interrupted = done.is_err();
            if let Ok((_, recovered)) = &done {
                run.judge(recovered, "the undisturbed recovery");
            }
            disk.crash();
            let (_, recovered) = open(&disk).unwrap_or_else(|error| panic!("call {call}, {nth}: {error}"));
            run.judge(&recovered, &format!("crash at call {call}, then at call {nth} of recovery"));
            let first = first.get_or_insert_with(|| model_of(&recovered));
            assert!(first.is(&recovered), "call {call}, {nth}: a second recovery says otherwise");
            if !interrupted {
                break;
            }
        }
    }
}

#[test]
fn a_process_that_dies_loses_nothing_that_it_wrote_out() {
    for call in 1..=calls() {
        let disk = SimulatedDisk::new(call);
        let (mut story, mut run) = fresh();
        disk.set_faults(Faults { crash_at_call: Some(call), ..Faults::default() });
        drive(&disk, &mut story, STEPS, &mut run);
        disk.crash_with(&mut |_| Fate::Kept, Some(true));
        let (log, recovered) = open(&disk).unwrap();
        run.judge(&recovered, &format!("killed at call {call}"));
        // What was shown once must survive a power cut: others may have acted on it.
        drop(log);
        disk.crash();
        let (_, again) = open(&disk).unwrap();
        assert!(model_of(&recovered).is(&again), "call {call}: shown, then lost");
    }
}

#[test]
fn a_full_disk_at_any_call_is_reported_and_loses_nothing() {
    let mut reported = 0;
    for call in 1..=calls() {
        let disk = SimulatedDisk::new(call);
        let (mut story, mut run) = fresh();
        disk.set_faults(Faults { no_space_at_call: Some(call), ..Faults::default() });
        let whole = drive(&disk, &mut story, STEPS, &mut run);
        reported += u64::from(whole);
        disk.crash();
        let (_, recovered) = open(&disk).unwrap_or_else(|error| panic!("full at call {call}: {error}"));
        run.judge(&recovered, &format!("full at call {call}"));
    }
    assert!(reported > 10, "a segment that cannot be prepared does not stop the log ({reported})");
}

#[test]
fn without_room_for_a_segment_nothing_is_written_and_the_log_goes_on_later() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    disk.set_faults(Faults { space_bytes_max: Some(20_000), ..Faults::default() });
    let mut story = Story::new(5, 2, 50);
    let mut refused = None;
    for _ in 0..10 {
        let next = story.next();
        if next.is_empty() {
            continue;
        }
        let calls = disk.calls();
        match log.append(std::slice::from_ref(&next)) {
            Ok(()) => story.model.apply(&next),
            Err(AppendError::NoSpace(_)) => {
                assert!(disk.calls() - calls <= 4, "create, write, write, remove");
                refused = Some(next);
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    let refused = refused.expect("two frames fill a segment");
    assert!(matches!(log.append(std::slice::from_ref(&refused)), Err(AppendError::NoSpace(_))));
    let (_, recovered) = {
        let copy = disk.fork(2);
        copy.set_faults(Faults::default());
        open(&copy).unwrap()
    };
    assert!(story.model.is(&recovered));
    disk.set_faults(Faults::default());
    log.append(std::slice::from_ref(&refused)).unwrap();
    story.model.apply(&refused);
    assert!(story.model.is(&open(&disk).unwrap().1));
}

#[test]
fn a_failed_sync_poisons_the_log_and_what_a_restart_shows_stays() {
    let mut poisoned = 0;
    for call in 1..=calls() {
        let disk = SimulatedDisk::new(call);
        let (mut story, mut run) = fresh();
        disk.set_faults(Faults { sync_error_at_call: Some(call), ..Faults::default() });
        if drive(&disk, &mut story, STEPS, &mut run) {
            continue;
        }
        poisoned += 1;
        // The process starts again; the page cache still shows what the disk never got.
        let (log, shown) = open(&disk).unwrap_or_else(|error| panic!("sync {call}: {error}"));
        run.judge(&shown, &format!("sync error at call {call}"));
        drop(log);
        disk.crash();
        let (_, again) = open(&disk).unwrap_or_else(|error| panic!("sync {call}, power cut: {error}"));
        assert!(model_of(&shown).is(&again), "call {call}: shown after the failed sync, then lost");
    }
    assert!(poisoned > STEPS, "every append has a sync that can fail");
}

#[test]
fn a_failed_sync_of_a_file_that_is_only_being_prepared_poisons_too() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[batch([(1, birth(1))])]).unwrap();
    log.append(&[batch([(1, hard(1, 1, 0))])]).unwrap();
    // The segment is full and no spare was made: create, write, sync.
    disk.set_faults(Faults { sync_error_at_call: Some(disk.calls() + 3), ..Faults::default() });
    let next = batch([(1, hard(2, 1, 0))]);
    assert!(matches!(log.append(std::slice::from_ref(&next)), Err(AppendError::Disk { action: "sync", .. })));
    assert!(matches!(log.append(&[next]), Err(AppendError::Poisoned)));
}

#[test]
fn short_writes_are_completed() {
    let disk = SimulatedDisk::new(3);
    let (mut story, mut run) = fresh();
    disk.set_faults(Faults { short_writes: true, ..Faults::default() });
    assert!(drive(&disk, &mut story, STEPS, &mut run));
    disk.crash();
    run.judge(&open(&disk).unwrap().1, "short writes");
}

#[test]
fn a_read_error_is_no_torn_tail() {
    let disk = SimulatedDisk::new(3);
    let (mut log, _) = open(&disk).unwrap();
    log.append(&[batch([(1, birth(1))])]).unwrap();
    let name = "segment-00000000000000000001.log";
    for byte in [0, 4096, 5000, 8192] {
        disk.set_faults(Faults { read_error: Some((name.to_owned(), byte)), ..Faults::default() });
        let error = open(&disk).unwrap_err();
        assert_eq!(error.to_string(), format!("{name}: cannot read"));
    }
}

/// The trap: the old segment is closed without a sync, while the batch syncs only the new one.
#[test]
fn a_rotation_leaves_nothing_unsynced_behind() {
    let disk = SimulatedDisk::new(2);
    let (mut log, _) = open(&disk).unwrap();
    let mut story = Story::new(8, 3, 2000);
    for _ in 0..60 {
        let next = story.next();
        log.append(std::slice::from_ref(&next)).unwrap();
        story.model.apply(&next);
        let copy = disk.fork(1);
        copy.crash_with(&mut |_| Fate::Garbled, Some(false));
        assert!(story.model.is(&open(&copy).unwrap().1));
    }
}

#[test]
fn a_log_can_be_dropped_and_opened_without_a_crash_in_between() {
    let disk = SimulatedDisk::new(2);
    let mut story = Story::new(8, 3, 500);
    for _ in 0..40 {
        let (mut log, recovered): (Log<_>, _) = open(&disk).unwrap();
        assert!(story.model.is(&recovered));
        let next: Batch = story.next();
        log.append(std::slice::from_ref(&next)).unwrap();
        story.model.apply(&next);
    }
}

/// The first frame of a new segment made everything before it dead, the old segment was collected, and the power failed before
/// anything followed: the frame is carried, and the segment before it is no longer there to be sealed. (Found by whole hosts
/// that move replicas, with seed 704: the node would never have started again.)
#[test]
fn a_lone_frame_that_outlived_its_predecessor_is_carried_without_it() {
    let mut alone = 0;
    for filler in 1..=12 {
        let disk = SimulatedDisk::new(filler);
        let (mut log, _) = open(&disk).unwrap();
        log.append(&[batch([(1, birth(7)), (1, hard(2, 7, 0))])]).unwrap();
        for index in 1..=filler {
            log.append(&[batch([(1, Record::Entries(vec![entry(index, 2, "filler")]))])]).unwrap();
        }
        log.append(&[batch([(1, Record::Tombstone { replica: ReplicaId(7) })])]).unwrap();
        while log.collect().unwrap() != Step::Idle {}
        alone += usize::from(log.stats().segments == 1);
        drop(log);
        disk.crash();
        // Twice: what the first opening made must be good, too.
        for attempt in 1..=2 {
            let (_, recovered) =
                open(&disk).unwrap_or_else(|error| panic!("{filler} fillers, attempt {attempt}: {error}"));
            assert!(recovered.shards.is_empty(), "{filler} fillers: {recovered:?}");
            assert_eq!(recovered.tombstones.get(&ShardId(1)), Some(&ReplicaId(7)), "{filler} fillers");
            disk.crash();
        }
    }
    assert!(alone > 0, "no tombstone stood alone in its segment: the story tells nothing");
}
