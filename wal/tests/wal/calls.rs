//! The power fails in the middle of every single call of a rotation, of a collection, of a snapshot's installation, of a
//! replica's removal; and then again in the middle of every call of the recovery. The disk is full, or fails, at every call
//! of the recovery.
//!
//! What a power cut leaves is not left to chance alone: everything, nothing, all bytes but no names, all names but no bytes,
//! garbage, and a few mixtures.

use std::cell::Cell;

use crate::model::{DIRECTORY, Model, batch, birth, entry, hard, id, small};
use flotilla_raft::ReplicaId;
use flotilla_wal::simulated::{Fate, Faults, SimulatedDisk};
use flotilla_wal::{
    AppendError, Batch, CollectError, Log, OpenError, Options, Record, Recovered, Stats, Step,
};

/// What is done to a log.
#[derive(Clone)]
enum Move {
    Append(Batch),
    Idle,
    /// Collects until there is nothing to do.
    Collect,
}

use Move::{Append, Collect, Idle};

/// A log as it is found, and what is then done to it while the power fails.
struct Scene {
    name: &'static str,
    options: Options,
    before: Vec<Move>,
    moves: Vec<Move>,
    /// That an undisturbed run of the moves does what the scene is about: its steps, and the log before and after.
    shows: fn(&[Step], Stats, Stats) -> bool,
}

/// How far a run came.
struct Run {
    disk: SimulatedDisk,
    /// The calls before the moves began.
    from: u64,
    acknowledged: Model,
    in_flight: Option<Model>,
    steps: Vec<Step>,
    stats: [Stats; 2],
    done: bool,
}

impl Run {
    fn judge(&self, recovered: &Recovered, context: &str) {
        let kept = self.acknowledged.is(recovered);
        let kept = kept || self.in_flight.as_ref().is_some_and(|model| model.is(recovered));
        assert!(kept, "{context}: promised {:#?}\nrecovered {recovered:#?}", self.acknowledged);
    }
}

impl Scene {
    fn open(&self, disk: &SimulatedDisk) -> Result<(Log<SimulatedDisk>, Recovered), OpenError> {
        Log::open(disk.clone(), self.options.clone(), DIRECTORY)
    }

    /// Plays the scene until it ends or something fails. `fault` is told how many calls there were before the moves.
    fn play(&self, seed: u64, fault: impl FnOnce(u64) -> Faults) -> Run {
        let disk = SimulatedDisk::new(seed);
        let (mut log, _) = self.open(&disk).unwrap();
        let mut run = Run {
            disk: disk.clone(),
            from: 0,
            acknowledged: Model::default(),
            in_flight: None,
            steps: Vec::new(),
            stats: [Stats::default(); 2],
            done: false,
        };
        assert!(self.before.iter().all(|it| go(&mut log, it, &mut run)), "{}: the scene is set", self.name);
        run.steps.clear();
        run.stats = [log.stats(); 2];
        run.from = disk.calls();
        disk.set_faults(fault(run.from));
        run.done = self.moves.iter().all(|it| go(&mut log, it, &mut run));
        run.stats[1] = log.stats();
        run
    }

    /// How many calls the undisturbed moves make.
    fn calls(&self) -> u64 {
        let run = self.play(0, |_| Faults::default());
        assert!(run.done, "{}", self.name);
        let [before, after] = run.stats;
        assert!(
            (self.shows)(&run.steps, before, after),
            "{}: {:?}\n{before:?}\n{after:?}",
            self.name,
            run.steps
        );
        run.disk.calls() - run.from
    }

    /// The run whose power fails at this call, counted from 1.
    fn crashed_at(&self, call: u64) -> Run {
        let run = self.play(call, |from| Faults { crash_at_call: Some(from + call), ..Faults::default() });
        assert!(!run.done, "{}: call {call} is among the moves", self.name);
        run
    }
}

/// Makes one move. `false`: something failed.
fn go(log: &mut Log<SimulatedDisk>, it: &Move, run: &mut Run) -> bool {
    match it {
        Append(batch) => {
            let mut after = run.acknowledged.clone();
            after.apply(batch);
            run.in_flight = Some(after.clone());
            if log.append(std::slice::from_ref(batch)).is_err() {
                return false;
            }
            (run.acknowledged, run.in_flight) = (after, None);
            true
        }
        Idle => log.idle().is_ok(),
        Collect => loop {
            match log.collect() {
                Ok(Step::Idle) => return true,
                Ok(step) => run.steps.push(step),
                Err(CollectError::Append(AppendError::Disk { .. } | AppendError::Poisoned)) => return false,
                Err(other) => panic!("{other}"),
            }
        },
    }
}

/// What a power cut leaves.
const WAYS: u64 = 9;

fn cut(disk: &SimulatedDisk, way: u64) {
    let odd = Cell::new(0_u64);
    match way {
        0 => disk.crash_with(&mut |_| Fate::Kept, Some(true)),
        1 => disk.crash_with(&mut |_| Fate::Dropped, Some(false)),
        2 => disk.crash_with(&mut |_| Fate::Kept, Some(false)),
        3 => disk.crash_with(&mut |_| Fate::Dropped, Some(true)),
        4 => disk.crash_with(&mut |_| Fate::Garbled, Some(true)),
        5 => disk.crash_with(&mut |_| Fate::Torn, None),
        6 => disk.crash_with(
            &mut |_| {
                odd.set(odd.get() + 1);
                if odd.get() % 2 == 1 { Fate::Kept } else { Fate::Dropped }
            },
            Some(true),
        ),
        _ => disk.crash(),
    }
}

fn model_of(recovered: &Recovered) -> Model {
    Model { shards: recovered.shards.clone(), tombstones: recovered.tombstones.clone() }
}

fn entries(from: u64, until: u64, term: u64, text: &str) -> Record {
    Record::Entries((from..=until).map(|index| entry(index, term, text)).collect())
}

fn one(records: impl IntoIterator<Item = (u64, Record)>) -> Move {
    Append(batch(records))
}

fn tombstone(replica: u64) -> Record {
    Record::Tombstone { replica: ReplicaId(replica) }
}

/// Three shards over two segments: 1 is busy, 2 has a tail, 3 only a vote.
fn fleet() -> Vec<Move> {
    vec![
        one([(1, birth(1)), (1, hard(1, 1, 0)), (2, birth(2)), (2, hard(1, 2, 0)), (3, birth(3))]),
        one([(2, entries(1, 3, 1, "a tail")), (3, hard(4, 4, 0))]),
        one([(1, entries(1, 4, 1, "value"))]),
    ]
}

/// A file that had a life before is the next segment, with stale frames where new ones will stand.
fn recycled() -> Vec<Move> {
    let mut moves = fleet();
    for index in 5..30 {
        moves.push(one([(1, entries(index, index, 1, "value")), (1, Record::Compact(id(index, 1)))]));
        moves.push(Collect);
    }
    moves.push(Idle);
    moves
}

fn released(steps: &[Step]) -> usize {
    steps.iter().filter(|step| matches!(step, Step::Released { .. })).count()
}

fn rewrote(steps: &[Step]) -> usize {
    steps.iter().filter(|step| matches!(step, Step::Rewrote { bytes } if *bytes > 0)).count()
}

fn rotations() -> Vec<Scene> {
    let scene = |name, before, moves, shows| Scene { name, options: small(), before, moves, shows };
    let more =
        |from: u64| (from..from + 3).map(|index| one([(1, entries(index, index, 1, "more"))])).collect();
    let grown: fn(&[Step], Stats, Stats) -> bool = |_, before, after| after.segments > before.segments;
    vec![
        scene("a rotation that must make its file first", fleet(), more(5), grown),
        scene("a rotation into a spare", [fleet(), vec![Collect]].concat(), more(5), |_, before, after| {
            before.spares == 1 && after.segments > before.segments
        }),
        scene("a rotation into a recycled file", recycled(), more(30), |_, before, after| {
            before.spares > 0 && after.segments > before.segments
        }),
        scene(
            "a rotation for a frame larger than a segment",
            [fleet(), vec![Collect]].concat(),
            vec![one([(1, entries(5, 5, 1, &"v".repeat(20_000)))]), one([(3, hard(5, 5, 0))])],
            grown,
        ),
        scene("a rotation for a mark", fleet(), vec![one([(3, hard(5, 5, 0))]), Idle], |_, _, after| {
            after.segments > 1
        }),
    ]
}

fn collections() -> Vec<Scene> {
    let busy = |from: u64, until: u64| {
        let step = |index| one([(1, entries(index, index, 1, "value")), (1, Record::Compact(id(index, 1)))]);
        (from..until).map(step).collect::<Vec<_>>()
    };
    let scene = |name, spares_max, before, moves, shows| {
        let options = Options { spares_max, ..small() };
        Scene { name, options, before, moves, shows }
    };
    let dead = vec![one([(1, Record::Reset(id(50, 2)))]), one([(2, Record::Reset(id(50, 2)))])];
    vec![
        scene(
            "rewriting what pins the oldest segments",
            2,
            [fleet(), busy(5, 11)].concat(),
            vec![Collect],
            |steps, _, _| rewrote(steps) > 0 && released(steps) > 1,
        ),
        scene(
            "releasing files that become spares",
            2,
            [fleet(), dead.clone(), busy(51, 55)].concat(),
            vec![Collect, one([(1, entries(55, 55, 2, "on"))]), Collect],
            |steps, before, after| released(steps) > 0 && after.spares > before.spares,
        ),
        scene(
            "releasing files that are removed",
            0,
            [fleet(), dead, busy(51, 55)].concat(),
            vec![Collect, one([(1, entries(55, 55, 2, "on"))]), Collect],
            |steps, before, after| released(steps) > 2 && after.segments + after.spares < before.segments,
        ),
        scene("making a spare", 2, fleet()[..1].to_vec(), vec![Collect], |steps, _, after| {
            steps.contains(&Step::Filled) && after.spares == 1
        }),
    ]
}

fn installations() -> Vec<Scene> {
    let scene = |name, before, moves, shows| Scene { name, options: small(), before, moves, shows };
    let always: fn(&[Step], Stats, Stats) -> bool = |_, _, _| true;
    let install = vec![
        one([(2, Record::SnapshotIntent(id(40, 3)))]),
        one([(2, Record::Reset(id(40, 3))), (2, hard(3, 2, 40))]),
        one([(2, entries(41, 42, 3, "after"))]),
        Collect,
    ];
    let removal = vec![one([(2, tombstone(2))]), Collect, one([(2, birth(7)), (2, hard(1, 7, 0))]), Collect];
    vec![
        scene("a snapshot is installed", fleet(), install.clone(), always),
        scene("a snapshot is installed in a log of recycled files", recycled(), install, |steps, _, _| {
            rewrote(steps) > 0
        }),
        scene(
            "an intent that nothing comes of",
            fleet(),
            vec![
                one([(2, Record::SnapshotIntent(id(40, 3)))]),
                one([(2, entries(4, 41, 1, ""))]),
                one([(2, Record::Compact(id(41, 1)))]),
                Collect,
            ],
            always,
        ),
        scene("a replica is removed and another one born", recycled(), removal, |steps, _, _| {
            rewrote(steps) > 0
        }),
    ]
}

/// Cuts the power at each call, in each way, and looks at what is left.
fn crash_everywhere(scenes: &[Scene]) {
    for scene in scenes {
        for call in 1..=scene.calls() {
            let run = scene.crashed_at(call);
            for way in 0..WAYS {
                let context = format!("{}, power cut at call {call}, way {way}", scene.name);
                let disk = run.disk.fork(call * 100 + way);
                cut(&disk, way);
                let (mut log, recovered) =
                    scene.open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                run.judge(&recovered, &context);
                // And life goes on, through the next power cut.
                let mut model = model_of(&recovered);
                let next = batch([(9, birth(9)), (9, hard(1, 1, 0))]);
                log.append(std::slice::from_ref(&next)).unwrap_or_else(|error| panic!("{context}: {error}"));
                model.apply(&next);
                while log.collect().unwrap_or_else(|error| panic!("{context}: {error}")) != Step::Idle {}
                cut(&disk, (way + 1) % WAYS);
                let (_, again) = scene.open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert!(model.is(&again), "{context}: going on, {again:#?}");
            }
        }
    }
}

#[test]
fn a_power_cut_at_any_call_of_a_rotation_loses_nothing() {
    crash_everywhere(&rotations());
}

#[test]
fn a_power_cut_at_any_call_of_a_collection_loses_nothing() {
    crash_everywhere(&collections());
}

#[test]
fn a_power_cut_at_any_call_of_an_installation_or_a_removal_is_before_or_after_it() {
    crash_everywhere(&installations());
}

fn every_scene() -> Vec<Scene> {
    rotations().into_iter().chain(collections()).chain(installations()).collect()
}

/// What each crash point leaves, in the ways that differ most: the disks that recoveries are tried on.
fn wrecks(scene: &Scene, mut each: impl FnMut(&Run, &SimulatedDisk, &str)) {
    for call in 1..=scene.calls() {
        let run = scene.crashed_at(call);
        for way in [0, 1, 6] {
            let disk = run.disk.fork(call * 100 + way);
            cut(&disk, way);
            each(&run, &disk, &format!("{}, power cut at call {call}, way {way}", scene.name));
        }
    }
}

#[test]
fn a_power_cut_at_any_call_of_recovery_changes_nothing_however_often() {
    for scene in every_scene() {
        wrecks(&scene, |run, wreck, context| {
            let (_, first) = scene.open(&wreck.fork(1)).unwrap_or_else(|error| panic!("{context}: {error}"));
            run.judge(&first, context);
            for nth in 1.. {
                let at = |disk: &SimulatedDisk, nth| {
                    disk.set_faults(Faults { crash_at_call: Some(disk.calls() + nth), ..Faults::default() });
                    scene.open(disk).is_err()
                };
                let once = wreck.fork(nth);
                let interrupted = at(&once, nth);
                for way in [0, 1, 3, 7] {
                    let context = format!("{context}, then at call {nth} of recovery, way {way}");
                    let disk = once.fork(nth * 10 + way);
                    cut(&disk, way);
                    // The second recovery is cut off too, somewhere else each time.
                    let twice = disk.fork(way);
                    at(&twice, 1 + (nth * 7 + way) % 12);
                    cut(&twice, way);
                    for disk in [disk, twice].into_iter().take(if way == 0 { 1 } else { 2 }) {
                        let (_, again) =
                            scene.open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                        assert!(model_of(&first).is(&again), "{context}: first {first:#?}\nthen {again:#?}");
                    }
                }
                if !interrupted {
                    break;
                }
            }
        });
    }
}

#[test]
fn a_full_disk_at_any_call_of_recovery_is_said_and_changes_nothing() {
    let mut refused = 0;
    for scene in every_scene() {
        wrecks(&scene, |_, wreck, context| {
            let (_, first) = scene.open(&wreck.fork(1)).unwrap_or_else(|error| panic!("{context}: {error}"));
            for nth in 1.. {
                let disk = wreck.fork(nth);
                disk.set_faults(Faults { no_space_at_call: Some(disk.calls() + nth), ..Faults::default() });
                let (calls, opened) = (disk.calls(), scene.open(&disk));
                let made = disk.calls() - calls;
                refused += u64::from(opened.is_err());
                if let Err(error) = opened {
                    // Overwriting a file that has its length needs no room, so those writes are failures of the disk.
                    let said =
                        matches!(error, OpenError::NoSpace(_) | OpenError::Disk { action: "write", .. });
                    assert!(said, "{context}, no room at call {nth}: {error}");
                }
                disk.set_faults(Faults::default());
                let (_, again) =
                    scene.open(&disk).unwrap_or_else(|error| panic!("{context}, {nth}: {error}"));
                assert!(model_of(&first).is(&again), "{context}, no room at call {nth}");
                if made < nth {
                    break;
                }
            }
        });
    }
    assert!(refused > 1000, "only {refused} recoveries met the full disk");
}

/// However little room there is, in steps of a sector: a write is cut short, and the next one finds none.
#[test]
fn a_disk_with_any_room_too_little_is_said_and_changes_nothing() {
    for scene in every_scene() {
        let last = scene.calls();
        for call in [1, last / 2, last] {
            let wreck = scene.crashed_at(call).disk.fork(call);
            cut(&wreck, 1);
            let (_, first) = scene.open(&wreck.fork(1)).unwrap();
            for room in (0..40_960).step_by(512) {
                let disk = wreck.fork(room);
                let space_bytes_max = Some(disk.used_bytes() + room);
                disk.set_faults(Faults {
                    space_bytes_max,
                    short_writes: room % 1024 == 0,
                    ..Faults::default()
                });
                match scene.open(&disk) {
                    Ok((_, recovered)) => assert!(model_of(&first).is(&recovered), "{}", scene.name),
                    Err(OpenError::NoSpace(_)) => {}
                    Err(other) => panic!("{}, room for {room} bytes: {other}", scene.name),
                }
                disk.set_faults(Faults::default());
                let (_, again) = scene.open(&disk).unwrap();
                assert!(model_of(&first).is(&again), "{}, room for {room} bytes", scene.name);
            }
        }
    }
}

#[test]
fn a_failed_sync_at_any_call_of_recovery_is_said_and_what_is_shown_later_stays() {
    let mut refused = 0;
    for scene in every_scene() {
        wrecks(&scene, |_, wreck, context| {
            let (_, first) = scene.open(&wreck.fork(1)).unwrap_or_else(|error| panic!("{context}: {error}"));
            for nth in 1.. {
                let disk = wreck.fork(nth);
                disk.set_faults(Faults { sync_error_at_call: Some(disk.calls() + nth), ..Faults::default() });
                let (calls, opened) = (disk.calls(), scene.open(&disk));
                let made = disk.calls() - calls;
                if let Err(error) = opened {
                    refused += 1;
                    assert!(
                        matches!(error, OpenError::Disk { action: "sync", .. }),
                        "{context}, {nth}: {error}"
                    );
                    // Started again, it shows what the page cache holds, as durable; a power cut takes nothing of it.
                    disk.set_faults(Faults::default());
                    drop(scene.open(&disk).unwrap_or_else(|error| panic!("{context}, {nth}: {error}")));
                }
                cut(&disk, 1);
                let (_, again) =
                    scene.open(&disk).unwrap_or_else(|error| panic!("{context}, {nth}: {error}"));
                assert!(model_of(&first).is(&again), "{context}, failed sync at call {nth}");
                if made < nth {
                    break;
                }
            }
        });
    }
    assert!(refused > 500, "only {refused} recoveries met the failed sync");
}
