//! `kvctl load` and `kvctl dump`: interrupted, killed, fed with nonsense and with bytes, and from one fleet into another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use flotilla_client::Client;
use rustix::process::Signal;
use serde_json::Value;

use crate::patience::until;
use crate::router::Router;
use crate::stage::Plan;
use crate::tool::{Bookmark, Running, bookmark, dumped, ended, kvctl, output};

/// Lines of the file whose load is interrupted: far more than are written between two looks.
const LINES: u64 = 40_000;

/// Keys in it: each stands there several times, and the last line must win.
const KEYS: u64 = 15_000;

/// A write of a killed load may be executed so long after, and a little longer.
const TIMEOUT: &str = "1s";

#[tokio::test(flavor = "multi_thread")]
async fn loads_are_interrupted_killed_and_refused_and_lose_nothing() {
    let fleet = Plan::new(3).shards(4).start().await;
    let router = Router::start(&fleet).await;
    let (endpoint, client) = (router.address(), router.client(Duration::from_secs(20)).await);
    let folder = tempfile::tempdir().unwrap();
    an_interrupted_load_goes_on(&endpoint, &client, &folder.path().join("many")).await;
    bytes_stay_bytes(&endpoint, &folder.path().join("bytes")).await;
    a_wrong_line_is_named(&endpoint, &folder.path().join("wrong")).await;
    a_changed_file_is_refused(&endpoint, &folder.path().join("changed")).await;
    a_closed_pipe_ends_a_dump_quietly(&endpoint).await;
    another_fleet_gets_the_same(&endpoint, &folder.path().join("dump")).await;
}

/// Line `number` of the file, and what it says.
fn numbered(number: u64) -> (String, String) {
    (format!("many-{:05}", number % KEYS), format!("line {number} {}", "x".repeat(200)))
}

/// Waits until a line was written, or a later one of its key.
async fn seen(client: &Client, number: u64) {
    let (key, _) = numbered(number);
    until(&format!("line {number} is loaded"), async || {
        let found = client.get(key.clone()).await.unwrap()?;
        let found = String::from_utf8(found.bytes.to_vec()).unwrap();
        let line: u64 = found.split(' ').nth(1).unwrap().parse().unwrap();
        (line >= number).then_some(())
    })
    .await;
}

async fn an_interrupted_load_goes_on(endpoint: &str, client: &Client, file: &Path) {
    let mut text = String::new();
    for number in 1..=LINES {
        let (key, value) = numbered(number);
        writeln!(text, "{key}\t{value}").unwrap();
    }
    std::fs::write(file, text).unwrap();
    let name = file.to_str().unwrap();
    let load = || kvctl(endpoint, &["load", name, "--in-flight", "16", "--timeout", TIMEOUT]);

    // Ctrl-C: what is under way lands, and the file beside it says how far everything is loaded.
    let mut first = Running::start(load());
    seen(client, 1).await;
    first.signal(Signal::INT);
    let said = ended(&first.end().await, 130);
    let Bookmark { line, open } = bookmark(file).unwrap();
    assert!(!open, "all writes were answered");
    let expected = format!(
        "kvctl: interrupted; everything before line {line} is loaded; the same command goes on there\n"
    );
    assert_eq!(said, expected);
    assert!((2..=LINES).contains(&line), "{line}");
    seen(client, line - 1).await;

    // SIGKILL: the next load waits until nothing of this one can be executed any more.
    let mut second = Running::start(load());
    until("the second load has begun", async || bookmark(file).filter(|mark| mark.open)).await;
    second.signal(Signal::KILL);
    second.end().await;
    let left = bookmark(file).unwrap().line;
    assert!((line..=LINES).contains(&left), "{left} after {line}");

    let third = output(kvctl(endpoint, &["load", name, "--timeout", TIMEOUT, "-o", "json"])).await;
    let said = ended(&third, 0);
    let (going_on, waiting) = said.split_once('\n').unwrap();
    assert!(going_on.starts_with(&format!("going on at line {left}, where")), "{said}");
    assert!(waiting.starts_with("waiting "), "{said}");
    let summary: Value = serde_json::from_slice(&third.stdout).unwrap();
    assert_eq!(
        (&summary["complete"], &summary["next_line"]),
        (&true.into(), &(LINES + 1).into()),
        "{summary}"
    );
    assert_eq!(summary["records"], LINES + 1 - left, "{summary}");
    assert_eq!(bookmark(file), None, "it vanishes at the end");
    let expected: BTreeMap<Bytes, Bytes> =
        (1..=LINES).map(numbered).map(|(key, value)| (key.into(), value.into())).collect();
    assert!(dumped(endpoint, &["--prefix", "many-"]).await == expected, "the dump is not the file");
}

async fn bytes_stay_bytes(endpoint: &str, file: &Path) {
    let all: Vec<u8> = (0..=255).collect();
    let mut text = b"{\"key_b64\":\"YnkA/w==\",\"value_b64\":\"/wA=\"}\n".to_vec();
    // Bytes before and after a tab, all but the two that divide.
    text.extend(b"by\xfe");
    text.extend(all.iter().filter(|byte| !b"\t\n".contains(byte)));
    text.extend(b"\t");
    text.extend(all.iter().filter(|byte| **byte != b'\n'));
    text.extend(b"\n{by}\t{}\n\nby-the-way\t");
    std::fs::write(file, &text).unwrap();
    let load = output(kvctl(endpoint, &["load", file.to_str().unwrap()])).await;
    assert_eq!(ended(&load, 0), "");
    let said = String::from_utf8(load.stdout).unwrap();
    assert!(said.starts_with("4 records loaded (") && said.ends_with("\n1 empty lines\n"), "{said}");
    let key: Vec<u8> =
        b"by\xfe".iter().chain(all.iter().filter(|byte| !b"\t\n".contains(byte))).copied().collect();
    let value: Vec<u8> = all.iter().filter(|byte| **byte != b'\n').copied().collect();
    let expected = [
        (Bytes::from_static(b"by\0\xff"), Bytes::from_static(b"\xff\0")),
        (Bytes::from_static(b"by-the-way"), Bytes::new()),
        (Bytes::from(key), Bytes::from(value)),
    ];
    assert_eq!(dumped(endpoint, &["--prefix", "by"]).await, BTreeMap::from(expected.clone()));
    let after = dumped(endpoint, &["--prefix", "by", "--after", "by-the-way"]).await;
    assert_eq!(after, BTreeMap::from([expected[2].clone()]));
    let before = dumped(endpoint, &["--from", "by", "--to", "by-the-way"]).await;
    assert_eq!(before, BTreeMap::from([expected[0].clone()]));
    assert_eq!(dumped(endpoint, &["--prefix", "{by}"]).await, BTreeMap::from([("{by}".into(), "{}".into())]));
}

async fn a_wrong_line_is_named(endpoint: &str, file: &Path) {
    let name = file.to_str().unwrap();
    std::fs::write(
        file,
        "wrong-1\ta\n{\"key\":\"wrong-2\",\"value\":\"b\"}\n{\"key\":\"wrong-3\"}\nwrong-4\td\n",
    )
    .unwrap();
    let refused = output(kvctl(endpoint, &["load", name])).await;
    let expected = format!(
        "kvctl: {name}: line 3, column 17: `value` or `value_b64` is missing; everything before line 3 is loaded: mend it and go \
         on with --from-line 3\n"
    );
    assert_eq!((ended(&refused, 2), refused.stdout), (expected, Vec::new()));
    let loaded = || async { dumped(endpoint, &["--prefix", "wrong-"]).await.len() };
    assert_eq!(loaded().await, 2);
    // What the fleet refuses is named in the same way.
    let too_long = "x".repeat(5_000);
    std::fs::write(file, format!("wrong-1\ta\n{too_long}\tb\nwrong-3\tc\n")).unwrap();
    let refused = output(kvctl(endpoint, &["load", name, "--restart"])).await;
    let said = ended(&refused, 2);
    assert!(said.starts_with(&format!("kvctl: {name}: line 2, invalid ")), "{said}");
    assert!(
        said.ends_with("everything before line 2 is loaded: mend it and go on with --from-line 2\n"),
        "{said}"
    );
    let rest = output(kvctl(endpoint, &["load", name, "--from-line", "3"])).await;
    assert_eq!(ended(&rest, 0), "");
    assert_eq!(loaded().await, 3);
    assert_eq!(bookmark(file), None);
}

/// The bookmark of another content is not believed.
async fn a_changed_file_is_refused(endpoint: &str, file: &Path) {
    let name = file.to_str().unwrap();
    std::fs::write(file, "changed-1\ta\nnonsense\n").unwrap();
    ended(&output(kvctl(endpoint, &["load", name])).await, 2);
    std::fs::write(file, "changed-1\tb\nchanged-2\tb\n").unwrap();
    let said = ended(&output(kvctl(endpoint, &["load", name])).await, 2);
    let expected = format!(
        "kvctl: {name}.kvctl-load says that its load stopped before line 2, and the file was changed since; --restart loads \
         everything, --from-line LINE what begins there\n"
    );
    assert_eq!(said, expected);
    assert_eq!(ended(&output(kvctl(endpoint, &["load", name, "--restart"])).await, 0), "");
    let records = dumped(endpoint, &["--prefix", "changed-"]).await;
    assert!(records.len() == 2 && records.values().all(|value| value == "b"), "{records:?}");
}

async fn a_closed_pipe_ends_a_dump_quietly(endpoint: &str) {
    let mut command = kvctl(endpoint, &["dump"]);
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), said)
    });
    assert_eq!(ended.await.unwrap(), (Some(0), String::new()));
}

async fn another_fleet_gets_the_same(endpoint: &str, file: &Path) {
    let dump = output(kvctl(endpoint, &["dump"])).await;
    assert_eq!(ended(&dump, 0), "");
    let other = Plan::new(1).shards(3).start().await;
    let mut load = kvctl(&other.address(1), &["load", "-"]);
    std::fs::write(file, &dump.stdout).unwrap();
    load.stdin(std::fs::File::open(file).unwrap());
    assert_eq!(ended(&output(load).await, 0), "");
    let again = output(kvctl(&other.address(1), &["dump"])).await;
    assert!(again.stdout == dump.stdout, "the dumps of the two fleets differ");
}
