//! Long random histories with crashes in between, against the reference. Each seed is one history.

use crate::model::{DIRECTORY, Model, Story, small};
use flotilla_wal::simulated::{Fate, Faults, SimulatedDisk};
use flotilla_wal::{AppendError, Log, Options, Recovered, Step};

fn is_one_of(recovered: &Recovered, acknowledged: &Model, in_flight: Option<&Model>, context: &str) -> Model {
    let kept = acknowledged.is(recovered) || in_flight.is_some_and(|model| model.is(recovered));
    assert!(kept, "{context}: promised {acknowledged:#?}\nrecovered {recovered:#?}");
    Model { shards: recovered.shards.clone(), tombstones: recovered.tombstones.clone() }
}

/// One life of a process: returns what was in flight when it ended.
fn live(log: &mut Log<SimulatedDisk>, story: &mut Story, frames: u64, collected: &mut u64) -> Option<Model> {
    for _ in 0..frames {
        let next = story.next();
        let mut after = story.model.clone();
        after.apply(&next);
        match log.append(std::slice::from_ref(&next)) {
            Ok(()) => story.model = after,
            Err(AppendError::NoSpace(_)) => {}
            Err(_) => return Some(after),
        }
        if story.below(5) == 0 && log.idle().is_err() {
            return None;
        }
        for _ in 0..story.below(4) {
            match log.collect() {
                Ok(Step::Idle) | Err(_) => break,
                Ok(_) => *collected += 1,
            }
        }
    }
    None
}

fn faults(story: &mut Story, calls: u64) -> Faults {
    let soon = |story: &mut Story| Some(calls + 1 + story.below(400));
    match story.below(6) {
        0 => Faults { sync_error_at_call: soon(story), ..Faults::default() },
        1 => Faults { no_space_at_call: soon(story), ..Faults::default() },
        2 => Faults { short_writes: true, crash_at_call: soon(story), ..Faults::default() },
        _ => Faults { crash_at_call: soon(story), ..Faults::default() },
    }
}

#[test]
fn what_was_acknowledged_is_there_and_nothing_else() {
    let (mut collected, mut cut) = (0, 0);
    for seed in 0..60 {
        let disk = SimulatedDisk::new(seed);
        let mut story = Story::new(seed, 3 + seed % 9, [60, 700, 5000, 20_000][seed as usize % 4]);
        let options = Options { segment_bytes: [16384, 32768, 131_072][seed as usize % 3], ..small() };
        let mut in_flight = None;
        for life in 0..8 {
            let context = format!("seed {seed}, life {life}");
            disk.set_faults(faults(&mut story, disk.calls()));
            if let Ok((mut log, recovered)) = Log::open(disk.clone(), options.clone(), DIRECTORY) {
                story.model = is_one_of(&recovered, &story.model, in_flight.as_ref(), &context);
                cut += u64::from(recovered.torn.is_some());
                in_flight = live(&mut log, &mut story, 60, &mut collected);
            }
            match story.below(4) {
                0 => disk.crash_with(&mut |_| Fate::Kept, Some(true)),
                _ => disk.crash(),
            }
        }
        let (_, recovered) =
            Log::open(disk, options, DIRECTORY).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        is_one_of(&recovered, &story.model, in_flight.as_ref(), &format!("seed {seed}, at the end"));
    }
    assert!(collected > 500 && cut > 5, "the histories are too tame: {collected} steps, {cut} torn tails");
}

#[test]
fn the_log_stays_as_small_as_what_lives_in_it() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = Log::open(disk.clone(), small(), DIRECTORY).unwrap();
    let mut story = Story::new(2, 12, 300);
    let mut most = 0;
    for _ in 0..1500 {
        let next = story.next();
        log.append(std::slice::from_ref(&next)).unwrap();
        story.model.apply(&next);
        for _ in 0..3 {
            log.collect().unwrap();
        }
        let stats = log.stats();
        most = most.max(stats.segments);
    }
    let stats = log.stats();
    assert!(most <= 16, "{most} segments at most, now {stats:?}");
    drop(log);
    assert!(story.model.is(&Log::open(disk, small(), DIRECTORY).unwrap().1));
}
