//! Files that are gone, doubled, or renamed: by an operator's hand, by a restored backup, by a file system.
//!
//! A segment's name is part of what is promised. Whatever is done to the names, opening either gives exactly what was
//! promised or fails and names the file, and a refused directory is left as it was found.

use std::collections::BTreeMap;

use crate::model::{DIRECTORY, Model, Story, batch, birth, hard, open, small};
use flotilla_wal::simulated::SimulatedDisk;
use flotilla_wal::{Log, OpenError, Options};

fn segment(number: u64) -> String {
    format!("segment-{number:020}.log")
}

fn spare(number: u64) -> String {
    format!("spare-{number:020}.log")
}

fn unfinished(number: u64) -> String {
    format!("unfinished-{number:020}.log")
}

/// The number of the sample's spare.
const SPARE: u64 = 30;

/// A log of at least four segments, all of them needed, and one spare.
struct Sample {
    disk: SimulatedDisk,
    model: Model,
    segments: Vec<u64>,
}

fn sample() -> Sample {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let mut model = Model::default();
    for shard in 1..6 {
        let next = batch([(shard, birth(1)), (shard, hard(shard, 1, 0))]);
        log.append(std::slice::from_ref(&next)).unwrap();
        model.apply(&next);
        log.idle().unwrap();
    }
    let segments: Vec<u64> = (1..100).filter(|number| disk.content(&segment(*number)).is_some()).collect();
    assert!(segments.len() >= 4, "{segments:?}");
    // A file that had a life before: all of the first segment but its name.
    disk.put(&spare(SPARE), disk.content(&segment(segments[0])).unwrap());
    Sample { disk: disk.clone(), model, segments }
}

/// The whole directory.
fn files(disk: &SimulatedDisk) -> BTreeMap<String, Vec<u8>> {
    disk.names().into_iter().map(|name| (name.clone(), disk.content(&name).unwrap())).collect()
}

impl Sample {
    /// Opens a changed copy; a refusal leaves it as it was.
    #[track_caller]
    fn judge(&self, disk: &SimulatedDisk, context: &str) -> Option<OpenError> {
        let before = files(disk);
        match open(disk) {
            Ok((_, recovered)) => {
                assert!(self.model.is(&recovered), "{context}: silently {recovered:#?}");
                None
            }
            Err(error) => {
                assert_eq!(files(disk), before, "{context}: refused ({error}), and changed");
                Some(error)
            }
        }
    }

    /// Names that no file bears: below, between, above, at the end of all numbers.
    fn free_numbers(&self) -> Vec<u64> {
        let last = self.segments[self.segments.len() - 1];
        vec![0, last + 1, 1 << 40, u64::MAX - 1, u64::MAX]
    }
}

#[test]
fn any_segments_that_are_missing_are_noticed() {
    let sample = sample();
    for missing in 1_u64..1 << sample.segments.len() {
        let disk = sample.disk.fork(1);
        let gone = sample.segments.iter().enumerate().filter(|(place, _)| missing >> place & 1 == 1);
        let gone: Vec<u64> = gone.map(|(_, number)| *number).collect();
        for number in &gone {
            disk.take(&segment(*number)).unwrap();
        }
        if gone.len() == sample.segments.len() {
            // Nothing is left that could say so: the node remembers that there was a log.
            let options = Options { must_exist: true, ..small() };
            assert!(matches!(Log::open(disk, options, DIRECTORY), Err(OpenError::Lost)));
            continue;
        }
        match sample.judge(&disk, &format!("{gone:?} are gone")) {
            Some(OpenError::Missing { segment }) => assert!(gone.contains(&segment), "{segment} of {gone:?}"),
            other => panic!("{gone:?} are gone: {other:?}"),
        }
    }
}

#[test]
fn any_copy_of_a_segment_under_another_name_is_noticed() {
    let sample = sample();
    for number in &sample.segments {
        let content = sample.disk.content(&segment(*number)).unwrap();
        let others = sample.segments.iter().filter(|other| *other != number).copied();
        for other in others.chain(sample.free_numbers()) {
            let disk = sample.disk.fork(1);
            disk.put(&segment(other), content.clone());
            match sample.judge(&disk, &format!("segment {number} copied to {other}")) {
                Some(OpenError::Renamed { name, found }) => {
                    assert_eq!((name, found), (segment(other), *number))
                }
                other => panic!("a copy of segment {number} under another name: {other:?}"),
            }
        }
        // What a spare holds means nothing, whatever it is; what is unfinished neither.
        for name in [spare(SPARE), spare(50), unfinished(50), "segment-7.log".to_owned()] {
            let disk = sample.disk.fork(1);
            disk.put(&name, content.clone());
            let error = sample.judge(&disk, &format!("segment {number} copied to {name}"));
            assert!(error.is_none(), "segment {number} copied to {name}: {error:?}");
        }
    }
}

#[test]
fn any_renamed_segment_is_noticed_and_still_there() {
    let sample = sample();
    for number in &sample.segments {
        let others = sample.segments.iter().filter(|other| *other != number).copied();
        for other in others.chain(sample.free_numbers()) {
            let disk = sample.disk.fork(1);
            let content = disk.take(&segment(*number)).unwrap();
            disk.put(&segment(other), content);
            let error = sample.judge(&disk, &format!("segment {number} renamed to {other}"));
            assert!(matches!(error, Some(OpenError::Renamed { found, .. }) if found == *number), "{error:?}");
        }
        for name in [spare(50), unfinished(50), segment(*number).replace("segment", "old")] {
            let disk = sample.disk.fork(1);
            let content = disk.take(&segment(*number)).unwrap();
            disk.put(&name, content);
            let error = sample.judge(&disk, &format!("segment {number} renamed to {name}"));
            assert!(matches!(error, Some(OpenError::Missing { segment }) if segment == *number), "{error:?}");
        }
    }
}

#[test]
fn a_spare_under_the_name_of_a_segment_is_noticed() {
    let sample = sample();
    for other in [sample.segments[1], 77] {
        for zeros in [true, false] {
            let disk = sample.disk.fork(1);
            let content = disk.take(&spare(SPARE)).unwrap();
            disk.put(&segment(other), if zeros { vec![0; content.len()] } else { content });
            match sample.judge(&disk, &format!("the spare renamed to segment {other}")) {
                Some(OpenError::Rot { segment, offset: 0, .. }) if zeros => assert_eq!(segment, other),
                // It was the first segment in an earlier life.
                Some(OpenError::Renamed { found, .. }) if !zeros => assert_eq!(found, sample.segments[0]),
                error => panic!("a spare is segment {other}: {error:?}"),
            }
        }
    }
}

/// Numbers are never used twice, so there must be some left. A file with the last one is not of our making.
#[test]
fn a_file_that_bears_the_last_number_is_refused_and_not_counted_on_from() {
    let sample = sample();
    for name in [spare(u64::MAX), unfinished(u64::MAX), spare(u64::MAX - 1)] {
        let disk = sample.disk.fork(1);
        disk.put(&name, vec![0; 16384]);
        let error = sample.judge(&disk, &name).expect("there is no number left");
        assert_eq!(
            error.to_string(),
            format!("{name}: no numbers are left after it; it is none of our files")
        );
        disk.take(&name).unwrap();
        assert!(sample.judge(&disk, "without it").is_none());
    }
}

/// All but the newest: of a whole directory, or a newest segment, that is put back to an earlier day, nothing else here could
/// tell. The node that does that has forgotten its votes.
#[test]
fn any_segment_of_an_older_copy_of_the_directory_is_noticed_or_says_the_same() {
    let disk = SimulatedDisk::new(1);
    let (mut log, _) = open(&disk).unwrap();
    let mut story = Story::new(4, 4, 600);
    let mut backups: Vec<SimulatedDisk> = Vec::new();
    for step in 0..60 {
        let next = story.next();
        log.append(std::slice::from_ref(&next)).unwrap();
        story.model.apply(&next);
        log.idle().unwrap();
        log.collect().unwrap();
        if step % 6 == 0 {
            backups.push(disk.fork(step));
        }
    }
    let (mut restored, mut noticed) = (0, 0);
    let newest = disk.names().into_iter().filter(|name| name.starts_with("segment")).max().unwrap();
    for backup in &backups {
        for name in backup.names().into_iter().filter(|name| *name != newest) {
            let copy = disk.fork(1);
            let old = backup.content(&name).unwrap();
            if copy.content(&name).as_ref() == Some(&old) {
                continue;
            }
            restored += 1;
            copy.put(&name, old);
            match open(&copy) {
                Ok((_, recovered)) => {
                    assert!(story.model.is(&recovered), "{name} out of a backup was believed")
                }
                Err(_) => noticed += 1,
            }
        }
    }
    assert!(restored > 20 && noticed > 0, "{restored} restored, {noticed} noticed");
}
