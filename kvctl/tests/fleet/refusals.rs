//! What is refused: directories, identities, limits, flags. Each refusal says why, and harms nobody.

use std::process::Output;
use std::time::Duration;

use bytes::Bytes;
use flotilla_client::Error;
use flotilla_proto::limits::{KEY_BYTES_MAX, MESSAGE_BYTES_MAX, VALUE_BYTES_MAX};
use flotilla_proto::{status, v1};
use tonic::{Code, Status};

use crate::process::{Process, program};
use crate::questions::{self, put};
use crate::stage::{Plan, Ports};

const PATIENT: Duration = Duration::from_secs(20);

/// Runs a node that is expected to end by itself.
async fn node(args: Vec<String>) -> Output {
    let mut command = program();
    command.arg("kvnode").args(args);
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(PATIENT, run).await.expect("it refuses to start").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_directory_is_refused() {
    let mut fleet = Plan::new(1).shards(1).start().await;
    let client = fleet.client(PATIENT).await;
    client.put("k", "v").await.unwrap();
    let mut args = fleet.args(1);
    // Other addresses: it is the directory that is refused, not a port.
    args.extend(Ports::free().flags());
    let args = last_of_each_flag(args);
    let output = node(args).await;
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    let expected = format!("{} is in use by process {}", fleet.data(1).display(), fleet.process(1).pid());
    assert!(stderr.contains(&expected), "{stderr:?} does not say {expected:?}");
    // The first one never noticed.
    assert_eq!(client.get("k").await.unwrap().unwrap().bytes, "v");
    client.put("k", "w").await.unwrap();
    fleet.kill(1);
    fleet.restart(1);
    fleet.ready().await;
    assert_eq!(client.get("k").await.unwrap().unwrap().bytes, "w");
}

/// A flag that is given twice is refused: only its last value stays.
fn last_of_each_flag(args: Vec<String>) -> Vec<String> {
    let pairs: std::collections::BTreeMap<_, _> =
        args.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    pairs.into_iter().flat_map(|(flag, value)| [flag, value]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_refused_and_the_rest_go_on() {
    let mut fleet = Plan::new(3).shards(2).start().await;
    let client = fleet.client(PATIENT).await;
    client.put("before", "kept").await.unwrap();
    // Also the lowest id, which founded the fleet.
    for wiped in [1, 3] {
        fleet.kill(wiped);
        let aside = fleet.data(wiped).with_extension("aside");
        std::fs::rename(fleet.data(wiped), &aside).unwrap();
        fleet.restart(wiped);
        let (status, words) = fleet.end(wiped).await;
        assert!(status.code().is_some_and(|code| code != 0), "{status}: {words}");
        let last = words.lines().last().unwrap_or_default();
        assert!(last.contains("forgot its votes") && last.contains("--join"), "{words}");
        client.put(format!("without {wiped}"), "written").await.unwrap();
        assert_eq!(client.get("before").await.unwrap().unwrap().bytes, "kept");
        // With its own directory it is welcome.
        std::fs::remove_dir_all(fleet.data(wiped)).unwrap();
        std::fs::rename(&aside, fleet.data(wiped)).unwrap();
        fleet.restart(wiped);
        fleet.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fleets_on_each_others_ports_refuse_each_other() {
    let (mut ours, mut theirs) = tokio::join!(Plan::new(3).shards(2).start(), Plan::new(3).shards(2).start());
    let (our_client, their_client) = tokio::join!(ours.client(PATIENT), theirs.client(PATIENT));
    our_client.put("whose", "ours").await.unwrap();
    their_client.put("whose", "theirs").await.unwrap();
    // Node 3 of each fleet comes back at the addresses of the other's node 3. Killed so soon, it may have nothing applied
    // when it comes back; a node that then waited to hear of the map, before it said where it is, waited for ever.
    let (our_ports, their_ports) = (ours.ports(3), theirs.ports(3));
    ours.kill(3);
    theirs.kill(3);
    ours.move_to(3, their_ports);
    theirs.move_to(3, our_ports);
    ours.restart(3);
    theirs.restart(3);
    ours.ready().await;
    theirs.ready().await;
    for fleet in [&mut ours, &mut theirs] {
        // Each stranger came to the door of somebody who said why it cannot come in.
        let mut words = String::new();
        for id in fleet.ids() {
            words.push_str(&fleet.words(id));
        }
        assert!(words.contains("it belongs to cluster"), "{words}");
    }
    our_client.put("ours too", "1").await.unwrap();
    their_client.put("theirs too", "1").await.unwrap();
    // A new node that names our nodes as its own fleet is refused as well.
    let (named, stranger) = (ours.ports(1), Ports::free());
    let folder = tempfile::tempdir().unwrap();
    let init = format!("1={},4={}", named.peer_addr(), stranger.peer_addr());
    let args =
        ["--id", "4", "--data-dir", folder.path().to_str().unwrap(), "--init", &init, "--replicas", "2"];
    let args = args.into_iter().map(str::to_string).chain(stranger.flags()).collect();
    let output = node(args).await;
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "{output:?}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.contains("belongs to another fleet"), "{stderr}");

    for (fleet, client, whose) in [(&ours, our_client, "ours"), (&theirs, their_client, "theirs")] {
        assert_eq!(client.get("whose").await.unwrap().unwrap().bytes, whose);
        let scan = fleet.kvctl(&["scan", "--keys"]).await;
        assert_eq!(String::from_utf8(scan.stdout).unwrap(), format!("{whose} too\nwhose\n"));
    }
}

/// The status of a write that must be refused.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) {
    let refusal = answer.unwrap_err();
    let detail = status::detail(&refusal).unwrap_or_else(|| panic!("without our detail: {refusal:?}"));
    assert_eq!((refusal.code(), detail.field.as_str()), (Code::InvalidArgument, field), "{refusal:?}");
    assert!(detail.definite, "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_empty_or_too_long_is_an_invalid_argument_and_nothing_happens() {
    let fleet = Plan::new(3).shards(2).start().await;
    let client = fleet.client(PATIENT).await;
    client.put("k", "before").await.unwrap();
    let keys = [Bytes::new(), Bytes::from(vec![b'k'; KEY_BYTES_MAX + 1])];
    let long = Bytes::from(vec![b'v'; VALUE_BYTES_MAX + 1]);
    for id in fleet.ids() {
        // Whoever is asked, leader or not.
        let mut kv = questions::kv(questions::connect(&fleet.address(id)).await.unwrap());
        for key in keys.clone() {
            refused(kv.put(put(key.clone(), "v")).await, "key");
            refused(kv.get(v1::GetRequest { key: key.clone(), ..Default::default() }).await, "key");
            refused(kv.delete(v1::DeleteRequest { key: key.clone(), ..Default::default() }).await, "key");
            let swap = v1::CompareAndSwapRequest { key, value: "v".into(), ..Default::default() };
            refused(kv.compare_and_swap(swap).await, "key");
        }
        refused(kv.put(put("k", long.clone())).await, "value");
        let swap = v1::CompareAndSwapRequest { key: "k".into(), value: long.clone(), ..Default::default() };
        refused(kv.compare_and_swap(swap).await, "value");
    }
    for (key, value, field) in [
        (keys[0].clone(), Bytes::from_static(b"v"), "key"),
        (keys[1].clone(), Bytes::from_static(b"v"), "key"),
        (Bytes::from_static(b"k"), long, "value"),
        (Bytes::from_static(b"k"), Bytes::from(vec![b'v'; MESSAGE_BYTES_MAX]), "value"),
    ] {
        match client.put(key, value).await {
            Err(Error::Invalid { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(client.get("k").await.unwrap().unwrap().bytes, "before");
    // The limits themselves are allowed.
    let (key, value) = (Bytes::from(vec![b'k'; KEY_BYTES_MAX]), Bytes::from(vec![b'v'; VALUE_BYTES_MAX]));
    client.put(key.clone(), value.clone()).await.unwrap();
    assert_eq!(client.get(key).await.unwrap().unwrap().bytes, value);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_flag_gets_one_line_that_names_it_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d");
    let data = data.to_str().unwrap();
    let wrong: [(&[&str], &str); 10] = [
        (&["--id", "0"], "--id"),
        (&["--id", "one"], "--id"),
        (&["--id", "1", "--no-such-flag", "1"], "--no-such-flag"),
        (&["--id", "1", "--peer-addr", "nowhere"], "--peer-addr"),
        (&["--id", "1", "--client-addr", "192.0.2.1:7501"], "--client-addr"),
        (&["--id", "1", "--init", "1"], "--init"),
        (&["--id", "1", "--init", "2=127.0.0.1:1"], "--init"),
        (&["--id", "1", "--shards", "99999"], "--shards"),
        (&["--id", "1", "--flush-bytes", "much"], "--flush-bytes"),
        (&["--id", "1", "--election-timeout-min-ms", "400"], "--election-timeout-m"),
    ];
    for (args, flag) in wrong {
        let args = args.iter().chain(&["--data-dir", data]).map(ToString::to_string).collect();
        let output = node(args).await;
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag}: {output:?}");
        assert_eq!(stderr.lines().count(), 1, "{flag}: one line: {stderr}");
        assert!(stderr.contains(flag) && output.stdout.is_empty(), "{flag}: {output:?}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    assert!(!std::path::Path::new(data).exists(), "a wrong flag left a directory behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_ends_a_node_with_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let free = Ports::free();
    let ports = Ports { client: taken.local_addr().unwrap().port(), ..free };
    let init = format!("1={}", ports.peer_addr());
    let data = folder.path().join("n1");
    let args = ["--id", "1", "--data-dir", data.to_str().unwrap(), "--init", &init, "--replicas", "1"];
    let args: Vec<String> = args.into_iter().map(str::to_string).chain(ports.flags()).collect();
    let mut process = Process::start(&args, &folder.path().join("log"));
    let status = process.end().await;
    let words = process.words();
    assert!(status.code().is_some_and(|code| code != 0), "{status}: {words}");
    assert!(words.contains("--client-addr: cannot listen on") && words.lines().count() == 1, "{words}");
}
