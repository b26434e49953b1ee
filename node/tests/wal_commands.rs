//! `kvnode wal inspect` and `verify`, from outside: what they say of a log, with which exit code, and that they leave everything as it was.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use flotilla_daemon::trial::{bare, refused, run};
use flotilla_node::storage::{DataDirectory, RealDisk, SystemChance};
use flotilla_raft::{Entry, HardState, Index, LogId, Payload, ReplicaId, Term};
use flotilla_topology::{NodeId, ShardId};
use flotilla_wal::{Batch, Log, Options, Record, Spent};
use tempfile::TempDir;

const BLOCK: usize = 4096;

/// The directory of a node that has written a little and ended: three shards, one of which has ended, over two segments.
struct Stage {
    home: TempDir,
    data: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// One story at a time: a process that another story starts has, until it has become another program, what this one has open, and so
/// the lock of a directory that was closed here a moment ago.
static TURN: Mutex<()> = Mutex::new(());

/// Three frames of one block fit into a segment, beside header and seal.
fn small() -> Options {
    Options { segment_bytes: 5 * BLOCK as u64, spares_max: 0, ..Options::default() }
}

fn batch(records: Vec<(u64, Record)>) -> Batch {
    let mut batch = Batch::new();
    records.into_iter().for_each(|(shard, record)| batch.push(ShardId(shard), record));
    batch
}

fn birth(replica: u64) -> Record {
    Record::Birth { replica: ReplicaId(replica), genesis: Bytes::from_static(b"genesis") }
}

fn vote(term: u64, replica: u64) -> Record {
    let (term, vote) = (Term(term), Some(ReplicaId(replica)));
    Record::HardState(HardState { term, vote, commit: Index(0) })
}

fn entry(index: u64) -> Record {
    let id = LogId::new(Index(index), Term(4));
    Record::Entries(vec![Entry { id, payload: Payload::Data(Bytes::from_static(b"a value")) }])
}

impl Stage {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("n1");
        let stage = Self { home, data, _turn: turn };
        let directory = stage.open();
        let mut log = Self::log(&directory);
        let first = [(1, birth(11)), (2, birth(21)), (3, birth(31)), (1, vote(4, 11)), (2, vote(7, 22))];
        log.append(&[batch(first.into())]).unwrap();
        log.append(&[batch(vec![(3, Record::Tombstone { replica: ReplicaId(31) })])]).unwrap();
        for index in 1..4 {
            log.append(&[batch(vec![(1, entry(index))])]).unwrap();
        }
        assert!(log.idle().unwrap());
        stage
    }

    /// As a node that starts on it.
    fn open(&self) -> DataDirectory {
        DataDirectory::open(&self.data, NodeId(1), &mut SystemChance).unwrap()
    }

    fn log(directory: &DataDirectory) -> Log<RealDisk> {
        Log::open(directory.wal().unwrap(), small(), directory.stamp().directory.0).unwrap().0
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.data.join(format!("wal/segment-{number:020}.log"))
    }

    /// Changes the bytes of a segment.
    fn change(&self, number: u64, change: impl FnOnce(&mut [u8])) {
        let mut bytes = fs::read(self.segment(number)).unwrap();
        change(&mut bytes);
        fs::write(self.segment(number), bytes).unwrap();
    }

    /// Runs a command of this directory. Its exit code and what it prints; that nothing was changed.
    fn says(&self, arguments: &[&str]) -> (i32, String) {
        let before = everything(self.home.path());
        let output = run(bare(env!("CARGO_BIN_EXE_kvnode"), self.home.path()).arg("wal").args(arguments));
        assert_eq!(everything(self.home.path()), before, "{arguments:?} changed something");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    fn json(&self, arguments: &[&str]) -> (i32, serde_json::Value) {
        let (code, text) = self.says(&[arguments, &["--output", "json"]].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        (code, serde_json::from_str(&text).unwrap())
    }

    /// It is refused: exit code 2 and one line that holds these words; nothing was changed.
    fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let before = everything(self.home.path());
        refused(bare(env!("CARGO_BIN_EXE_kvnode"), self.home.path()).arg("wal").args(arguments), words);
        assert_eq!(everything(self.home.path()), before, "{arguments:?} changed something");
    }
}

/// Every file and directory below this one: when it was changed, and what is in it.
fn everything(path: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let about = fs::metadata(&path).unwrap();
        let content = if about.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (about.modified().unwrap(), content));
    }
    found
}

#[test]
fn a_whole_log_is_said_to_be_whole_and_shown() {
    let stage = Stage::new();
    assert_eq!(stage.says(&["verify", "n1"]), (0, "whole\n".to_owned()));
    let shown = "\
SEGMENT  BYTES  FRAMES  SEQUENCES  DURABLE TO  PREVIOUS  OLDEST NEEDED  STATE
      1  20480       4  1-4             16384         0              1  in use
      4  20480       3  4-6             12288         1              1  in use

SHARD  REPLICA  TERM  VOTE  COMMIT  COMPACTED  LAST  ENTRIES  STATE
s1     r11         4  r11        0  0@0        3@4         3  in service
s2     r21         7  r22        0  0@0        0@0         0  in service
s3     r31         -  -          -  -          -           -  ended

whole
";
    assert_eq!(stage.says(&["inspect", "n1"]), (0, shown.to_owned()));
    let (_, frames) = stage.says(&["inspect", "n1", "--frames"]);
    let frames: Vec<&str> = frames.lines().filter(|line| line.contains("records")).collect();
    assert_eq!(frames.len(), 5, "{frames:?}");
    assert!(frames[0].ends_with("s1 s2 s3"), "{frames:?}");

    let (code, found) = stage.json(&["verify", "n1"]);
    assert_eq!((code, &found["state"], &found["rot"]), (0, &"whole".into(), &serde_json::json!([])));
    let (_, found) = stage.json(&["inspect", "n1", "--frames"]);
    assert_eq!(found["segments"][0]["places"][0]["shards"], serde_json::json!([1, 2, 3]));
    assert_eq!(found["shards"][1]["vote"], 22);
    assert_eq!(found["tombstones"], serde_json::json!([{ "shard": 3, "replica": 31 }]));
}

#[test]
fn a_torn_tail_is_no_damage_and_is_told() {
    let stage = Stage::new();
    let directory = stage.open();
    let mut log = Stage::log(&directory);
    log.append(&[batch(vec![(1, entry(4))])]).unwrap();
    drop((log, directory));
    let (_, found) = stage.json(&["inspect", "n1"]);
    let last = found["segments"].as_array().unwrap().last().unwrap().clone();
    let (number, offset) = (last["segment"].as_u64().unwrap(), last["durable_offset"].as_u64().unwrap());
    stage.change(number, |bytes| bytes[offset as usize + 100] ^= 1);

    let (code, said) = stage.says(&["verify", "n1"]);
    let expected = format!(
        "whole; an unfinished write lies in segment {number} at byte {offset}: the next start cuts it\n"
    );
    assert_eq!((code, said), (0, expected));
    let (code, found) = stage.json(&["verify", "n1"]);
    assert_eq!((code, &found["state"]), (0, &"whole".into()));
    assert_eq!(found["torn"], serde_json::json!({ "segment": number, "offset": offset }));
}

#[test]
fn rot_is_told_with_its_place_and_whom_it_concerns() {
    let stage = Stage::new();
    // The tombstone of s3, in the second frame of the first segment.
    stage.change(1, |bytes| bytes[2 * BLOCK + 100] ^= 1);
    let said = "rotten at segment 1 byte 8192; the next start takes out of service: s3\n";
    assert_eq!(stage.says(&["verify", "n1"]), (1, said.to_owned()));
    let (code, shown) = stage.says(&["inspect", "n1", "--frames"]);
    assert_eq!(code, 0, "it was asked to show what is there");
    for line in ["out of service: rot in segment 1 at byte 8192", "rotten", "broken", said] {
        assert!(shown.contains(line), "{shown} does not say {line}");
    }
    assert!(shown.lines().any(|line| line.starts_with("s1 ") && line.ends_with("in service")), "{shown}");
    let (code, found) = stage.json(&["verify", "n1"]);
    assert_eq!((code, &found["state"]), (1, &"rotten".into()));
    let out = &found["quarantined"][0];
    assert_eq!(
        (&out["shard"], &out["offset"], &out["since_next_start"]),
        (&3.into(), &8192.into(), &true.into())
    );

    // What a start has taken out of service already is told as that; the damage is there still.
    let directory = stage.open();
    let (disk, id) = (directory.wal().unwrap(), directory.stamp().directory.0);
    drop(Log::open_quarantining(disk, small(), id, &Spent::default(), |_| true).unwrap());
    drop(directory);
    let (code, said) = stage.says(&["verify", "n1"]);
    assert_eq!(
        (code, said.as_str()),
        (1, "rotten at segment 1 byte 8192; nobody in service depends on it\n")
    );
    let (_, found) = stage.json(&["inspect", "n1"]);
    assert_eq!(found["quarantined"][0]["since_next_start"], false);
}

#[test]
fn a_log_that_nobody_can_open_is_told() {
    let stage = Stage::new();
    // Another version, with a right checksum.
    stage.change(1, |bytes| {
        bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..80]);
        bytes[80..84].copy_from_slice(&checksum.to_le_bytes());
    });
    let (code, said) = stage.says(&["verify", "n1"]);
    assert_eq!(code, 1);
    assert_eq!(said, "cannot be opened: segment 1 has format version 9; this program knows 1\n");
    let (code, found) = stage.json(&["inspect", "n1"]);
    assert_eq!((code, &found["state"], &found["shards"]), (0, &"refused".into(), &serde_json::Value::Null));

    drop(stage);
    let stage = Stage::new();
    fs::remove_file(stage.segment(1)).unwrap();
    let (code, said) = stage.says(&["verify", "n1"]);
    assert!(code == 1 && said.starts_with("cannot be opened: segment 1 is missing"), "{said}");

    drop(stage);
    let stage = Stage::new();
    fs::remove_dir_all(stage.data.join("wal")).unwrap();
    stage.refuses(&["verify", "n1"], &["n1/wal is gone"]);
}

#[test]
fn a_log_of_which_nothing_is_left_is_not_called_whole() {
    let stage = Stage::new();
    fs::remove_file(stage.segment(4)).unwrap();
    fs::write(stage.segment(1), "").unwrap();
    let (code, said) = stage.says(&["verify", "n1"]);
    assert!(code == 1 && said.starts_with("rotten at segment 1 byte 0; nothing that is left says"), "{said}");

    fs::remove_file(stage.segment(1)).unwrap();
    let (code, said) = stage.says(&["verify", "n1"]);
    assert_eq!(code, 1);
    assert_eq!(said, "cannot be opened: no segment is left: the log was lost, and votes with it\n");
}

#[test]
fn what_is_no_directory_of_a_node_is_refused() {
    let stage = Stage::new();
    fs::create_dir(stage.home.path().join("empty")).unwrap();
    fs::write(stage.home.path().join("file"), "").unwrap();
    for command in ["inspect", "verify"] {
        stage.refuses(&[command, "nowhere"], &["nowhere", "No such file"]);
        stage.refuses(&[command, "file"], &["file", "Not a directory"]);
        stage.refuses(&[command, "empty"], &["empty is no data directory of a node", "LOCK"]);
        stage.refuses(&[command, "n1/wal"], &["n1/wal is no data directory of a node", "--data-dir"]);
    }
    fs::remove_file(stage.data.join("STAMP")).unwrap();
    stage.refuses(&["verify", "n1"], &["n1 is no data directory of a node", "STAMP"]);
}

#[test]
fn a_stamp_of_another_version_is_refused() {
    let stage = Stage::new();
    let path = stage.data.join("STAMP");
    let mut bytes = fs::read(&path).unwrap();
    // The format stands behind the magic of eight bytes, the checksum of all at the end.
    let end = bytes.len() - 4;
    bytes[8..12].copy_from_slice(&9_u32.to_be_bytes());
    let checksum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&path, bytes).unwrap();
    stage.refuses(&["verify", "n1"], &["STAMP has format 9, this version knows 1"]);
}

#[test]
fn a_directory_in_use_is_refused_and_nobody_starts_while_it_is_looked_at() {
    let stage = Stage::new();
    let directory = stage.open();
    let pid = std::process::id().to_string();
    for command in ["inspect", "verify"] {
        stage.refuses(&[command, "n1"], &["n1 is in use by", &pid]);
    }
    drop(directory);
    let looking = flotilla_node::storage::Resting::enter(&stage.data).unwrap();
    let started = DataDirectory::open(&stage.data, NodeId(1), &mut SystemChance);
    assert!(started.unwrap_err().to_string().contains("is in use"));
    assert_eq!(stage.says(&["verify", "n1"]).0, 0, "others may look too");
    drop(looking);
    stage.open();
}

#[test]
fn wrong_usage_is_told_in_one_line() {
    let stage = Stage::new();
    stage.refuses(&[], &["requires a subcommand", "inspect", "verify"]);
    stage.refuses(&["verify"], &["<DIR>"]);
    stage.refuses(&["repair", "n1"], &["repair"]);
    stage.refuses(&["verify", "n1", "--frames"], &["--frames"]);
    stage.refuses(&["verify", "n1", "--output", "xml"], &["--output", "xml", "table, json"]);
    let (code, help) = stage.says(&["--help"]);
    assert!(code == 0 && help.contains("inspect") && help.contains("verify"), "{help}");
    let help = run(bare(env!("CARGO_BIN_EXE_kvnode"), stage.home.path()).arg("--help")).stdout;
    assert!(String::from_utf8(help).unwrap().contains("kvnode wal"), "the node's own help names it");
}
