//! Directories of one node and of another, whole and damaged.

use std::fs;

use super::*;
use crate::storage::{ClusterId, Founding, FoundingNode};

fn chance() -> impl FnMut() -> u128 + Send {
    let mut drawn = 0;
    move || {
        drawn += 1;
        drawn
    }
}

fn open(path: &Path, node: u64) -> Result<DataDirectory, DirectoryError> {
    DataDirectory::open(path, NodeId(node), &mut chance())
}

fn founding() -> Founding {
    let nodes = [(NodeId(1), FoundingNode { peer_addr: "a:1".into() })].into();
    Founding { nodes, shards: 1, replicas: 1 }
}

#[test]
fn a_directory_is_made_kept_and_counted() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a/b");
    let first = open(&path, 1).unwrap();
    assert_eq!(first.stamp().membership, Membership::Blank);
    assert_eq!((first.boot().number, first.stamp().directory), (1, DirectoryId(1)));
    drop(first);
    let second = DataDirectory::open(&path, NodeId(1), &mut || 77).unwrap();
    assert_eq!((second.boot().number, second.boot().id), (2, BootId(77)));
    assert_eq!(second.stamp().directory, DirectoryId(1), "drawn once");
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let parent = tempfile::tempdir().unwrap();
    let first = open(parent.path(), 1).unwrap();
    let error = open(parent.path(), 1).unwrap_err();
    let expected =
        format!("data directory {} is in use by process {}", parent.path().display(), std::process::id());
    assert_eq!(error.to_string(), expected);
    drop(first);
    open(parent.path(), 1).unwrap();
}

#[test]
fn the_directory_of_another_node_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let directory = open(parent.path(), 1).unwrap();
    let promised = Membership::Promised { cluster: ClusterId(5), founding: founding() };
    directory.become_member(promised).unwrap();
    drop(directory);
    let error = open(parent.path(), 2).unwrap_err();
    assert!(error.to_string().ends_with("belongs to node 1, but this node is 2"), "{error}");
    assert_eq!(open(parent.path(), 1).unwrap().boot().number, 2, "it was not counted as a start");
}

/// A start with a wrong id that failed before a fleet knew of it.
#[test]
fn a_directory_that_promised_nothing_may_become_that_of_another_node() {
    let parent = tempfile::tempdir().unwrap();
    let first = open(parent.path(), 1).unwrap().stamp();
    let then = DataDirectory::open(parent.path(), NodeId(2), &mut || 77).unwrap().stamp();
    assert_eq!(then.directory, DirectoryId(77), "nobody takes it for the other");
    assert_eq!((first.node, then.node), (NodeId(1), NodeId(2)));
    assert_eq!(open(parent.path(), 2).unwrap().stamp(), then);
}

#[test]
fn a_directory_never_goes_to_another_cluster() {
    let parent = tempfile::tempdir().unwrap();
    let directory = open(parent.path(), 1).unwrap();
    let promised = |cluster| Membership::Promised { cluster: ClusterId(cluster), founding: founding() };
    directory.become_member(promised(5)).unwrap();
    directory.become_member(promised(5)).unwrap();
    let error = directory.become_member(promised(6)).unwrap_err();
    assert!(matches!(error, DirectoryError::OtherCluster { .. }), "{error}");
    drop(directory);
    assert_eq!(open(parent.path(), 1).unwrap().stamp().membership, promised(5));
}

#[test]
#[should_panic(expected = "after Promised")]
fn a_directory_never_goes_back() {
    let parent = tempfile::tempdir().unwrap();
    let directory = open(parent.path(), 1).unwrap();
    let cluster = ClusterId(5);
    directory.become_member(Membership::Promised { cluster, founding: founding() }).unwrap();
    drop(directory.become_member(Membership::Blank));
}

#[test]
fn a_lost_stamp_is_no_new_directory() {
    for what in ["wal", "base", "GENESIS", "MAP", "BOOT", "SUPPORT"] {
        let parent = tempfile::tempdir().unwrap();
        let at = parent.path().join(what);
        if what == what.to_lowercase() {
            fs::create_dir(&at).unwrap();
            drop(open(parent.path(), 1).unwrap());
            fs::remove_file(parent.path().join("STAMP")).unwrap();
            fs::remove_file(parent.path().join("BOOT")).unwrap();
            fs::write(at.join("something"), b"x").unwrap();
        } else {
            fs::write(&at, b"x").unwrap();
        }
        let error = open(parent.path(), 1).unwrap_err();
        assert!(matches!(error, DirectoryError::Unstamped { what: found, .. } if found == what), "{error}");
    }
}

#[test]
fn a_damaged_stamp_is_refused_and_named() {
    let parent = tempfile::tempdir().unwrap();
    drop(open(parent.path(), 1).unwrap());
    let path = parent.path().join("STAMP");
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = open(parent.path(), 1).unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[test]
fn maps_are_kept() {
    let parent = tempfile::tempdir().unwrap();
    let directory = open(parent.path(), 1).unwrap();
    assert_eq!((directory.genesis().unwrap(), directory.cached_map().unwrap()), (None, None));
    directory.write_genesis(b"first").unwrap();
    directory.cache_map(b"second").unwrap();
    directory.cache_map(b"third").unwrap();
    assert_eq!(directory.genesis().unwrap().unwrap(), Bytes::from_static(b"first"));
    assert_eq!(directory.cached_map().unwrap().unwrap(), Bytes::from_static(b"third"));
}

#[test]
fn a_log_that_is_gone_is_no_new_log() {
    let parent = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let directory = open(parent.path(), 1).unwrap();
        directory.wal().unwrap();
        directory.log_opened().unwrap();
    }
    fs::remove_dir(parent.path().join("wal")).unwrap();
    let error = open(parent.path(), 1).unwrap().wal().unwrap_err();
    assert!(matches!(error, DirectoryError::LogLost { .. }), "{error}");
}

#[test]
fn a_log_that_was_never_opened_in_full_may_be_begun_again() {
    let parent = tempfile::tempdir().unwrap();
    // The process ends before the log's first segment is durable.
    open(parent.path(), 1).unwrap().wal().unwrap();
    let directory = open(parent.path(), 1).unwrap();
    assert!(!directory.held_log());
    directory.log_opened().unwrap();
    drop(directory);
    assert!(open(parent.path(), 1).unwrap().held_log());
}

#[test]
fn the_longest_support_that_may_have_been_promised_is_remembered() {
    let parent = tempfile::tempdir().unwrap();
    let longest = || open(parent.path(), 1).unwrap().longest_promise().unwrap().as_millis();
    assert_eq!(longest(), 0, "a new directory has promised nothing");
    for millis in [90, 500, 10, 0] {
        open(parent.path(), 1).unwrap().remember_promise(Duration::from_millis(millis)).unwrap();
        assert_eq!(longest(), u128::from(millis));
    }
    // To take a damaged one for none would be to vote too early.
    fs::write(parent.path().join("SUPPORT"), b"").unwrap();
    let error = open(parent.path(), 1).unwrap().longest_promise().unwrap_err();
    assert!(matches!(error, DirectoryError::Damaged { .. }), "{error}");
}

/// `docs/formats/directory.md`, byte by byte: what is around the payload of each sealed file, and the payloads of BOOT and SUPPORT. Whoever
/// changes one of these bytes gives the file another format number.
#[test]
fn the_bytes_of_sealed_files_are_these() {
    let parent = tempfile::tempdir().unwrap();
    let directory = open(parent.path(), 7).unwrap();
    directory.write_genesis(b"genesis").unwrap();
    directory.cache_map(b"map").unwrap();
    directory.log_opened().unwrap();
    directory.remember_promise(Duration::from_millis(90)).unwrap();
    let sealed = |magic: &[u8; 8], payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        let head = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, length];
        let mut bytes = [&magic[..], &head, payload].concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    };
    let file = |name| fs::read(parent.path().join(name)).unwrap();
    let stamp = [&[0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 15], &[1], &[0]].concat();
    assert_eq!(file("STAMP"), sealed(b"FLOTSTMP", &stamp));
    assert_eq!(file("BOOT"), sealed(b"FLOTBOOT", &[0, 0, 0, 0, 0, 0, 0, 1, 1]));
    let ninety_thousand = [0, 0, 0, 0, 0, 0x01, 0x5F, 0x90];
    assert_eq!(file("SUPPORT"), sealed(b"FLOTSUPP", &ninety_thousand), "in microseconds");
    assert_eq!(file("GENESIS"), sealed(b"FLOTGENE", b"genesis"));
    assert_eq!(file("MAP"), sealed(b"FLOTCMAP", b"map"));
    let whole = [&b"FLOTCMAP"[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3], b"map", &CRC_OF_MAP].concat();
    assert_eq!(file("MAP"), whole, "the checksum is the one of IEEE");
}

/// Worked out by another program (zlib).
const CRC_OF_MAP: [u8; 4] = [0xC6, 0x16, 0xD8, 0x8D];
