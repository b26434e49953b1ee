//! Stories of the memory of results: who fills it, who is refused for it, and how it becomes free again.

use std::time::Duration;

use flotilla_node::host::{Answer, Input, Options, Refusal};
use flotilla_store::{Operation, Outcome, RequestId};
use flotilla_topology::NodeId;

use crate::fleet::{Fleet, SHARD, put_action};

/// What a client may have remembered: some seventy results.
const CLIENT_BYTES_MAX: usize = 8 << 10;
/// What a shard may have remembered: two such clients and a half.
const SHARD_BYTES_MAX: usize = 20 << 10;

fn fleet(seed: u64) -> (Fleet, NodeId) {
    let options = Options {
        remembered_bytes_max: SHARD_BYTES_MAX,
        remembered_client_bytes_max: CLIENT_BYTES_MAX,
        ..Options::default()
    };
    let mut fleet = Fleet::new(seed, 3, 1, options);
    let leader = fleet.elect(SHARD);
    (fleet, leader)
}

fn operation(fleet: &Fleet, client: u128, sequence: u64, acknowledged: u64) -> Operation {
    let deadline_ms = 1_700_000_000_000 + fleet.now_us / 1000 + 50_000;
    Operation {
        request: Some(RequestId { client, sequence, acknowledged, deadline_ms }),
        action: put_action(&format!("{client}-{sequence}"), "v"),
    }
}

/// Writes, and says under which version, or why not.
fn write(fleet: &mut Fleet, leader: NodeId, operation: Operation) -> Result<u64, Refusal> {
    let token = fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation });
    fleet.run(Duration::from_millis(5));
    match fleet.answer(token) {
        Some(Answer::Written(_, Outcome::Written { version })) => Ok(version),
        Some(Answer::Refused(refusal)) => Err(refusal),
        other => panic!("a write was answered by {other:?}"),
    }
}

/// A client writes and never acknowledges, until it is refused. How many of its results are remembered.
fn fill(fleet: &mut Fleet, leader: NodeId, client: u128) -> u64 {
    for sequence in 1..1000 {
        let operation = operation(fleet, client, sequence, 0);
        match write(fleet, leader, operation) {
            Ok(_) => {}
            Err(refusal @ Refusal::Overloaded { .. }) if refusal.definite() => return sequence - 1,
            Err(refusal) => panic!("{sequence} was refused: {refusal}"),
        }
    }
    panic!("nobody refused {client}");
}

#[test]
fn a_client_that_never_acknowledges_is_refused_alone() {
    let (mut fleet, leader) = fleet(40);
    let filled = fill(&mut fleet, leader, 1);
    assert!((50..100).contains(&filled), "{filled} results are about 8 KiB");
    for sequence in 1..200 {
        let operation = operation(&fleet, 2, sequence, sequence);
        write(&mut fleet, leader, operation).expect("a client that acknowledges is served");
    }
    let next = operation(&fleet, 1, filled + 1, 0);
    assert!(write(&mut fleet, leader, next).is_err(), "the other one is still refused");
    fleet.converge(SHARD);
}

#[test]
fn a_client_comes_back_below_its_bound_by_acknowledging() {
    let (mut fleet, leader) = fleet(41);
    let filled = fill(&mut fleet, leader, 1);
    let again = operation(&fleet, 1, filled, 0);
    let version = write(&mut fleet, leader, again).expect("a repeated attempt needs no room");
    assert_eq!(version, filled, "and is answered as the first one was");
    let freeing = operation(&fleet, 1, filled + 1, filled);
    write(&mut fleet, leader, freeing).expect("it frees more than it takes");
    let next = operation(&fleet, 1, filled + 2, filled);
    write(&mut fleet, leader, next).expect("and made room");
    fleet.converge(SHARD);
}

/// Many writes that acknowledge the same free it once.
#[test]
fn of_the_writes_that_free_memory_one_at_a_time_gets_in() {
    let (mut fleet, leader) = fleet(42);
    let filled = fill(&mut fleet, leader, 1);
    let together = (1..=100).map(|number| operation(&fleet, 1, filled + number, 2)).collect();
    let tokens = fleet.ask_together(leader, together);
    fleet.run(Duration::from_millis(20));
    let answers: Vec<_> = tokens.into_iter().filter_map(|token| fleet.answer(token)).collect();
    let written = answers.iter().filter(|answer| matches!(answer, Answer::Written(..))).count();
    let refused = answers.iter().filter(|answer| matches!(answer, Answer::Refused(_))).count();
    assert_eq!((written, refused), (1, 99));
    let next = operation(&fleet, 1, filled + 101, 10);
    write(&mut fleet, leader, next).expect("when it has been applied, the next one gets in");
    fleet.converge(SHARD);
}

#[test]
fn a_full_shard_takes_what_needs_no_room_and_what_makes_some() {
    let (mut fleet, leader) = fleet(43);
    let well_behaved = operation(&fleet, 9, 1, 1);
    write(&mut fleet, leader, well_behaved).expect("there is room");
    let filled = fill(&mut fleet, leader, 1);
    fill(&mut fleet, leader, 2);
    fill(&mut fleet, leader, 3);
    let stranger = operation(&fleet, 10, 1, 1);
    assert!(
        matches!(
            write(&mut fleet, leader, stranger),
            Err(Refusal::Overloaded { what: "the memory of results", .. })
        ),
        "the whole shard is full"
    );
    let nameless = Operation { request: None, action: put_action("nameless", "v") };
    write(&mut fleet, leader, nameless).expect("without a request id nothing is remembered");
    for sequence in 2..20 {
        let operation = operation(&fleet, 9, sequence, sequence);
        write(&mut fleet, leader, operation).expect("it acknowledges what it leaves");
    }
    for sequence in filled + 1..filled + 6 {
        let operation = operation(&fleet, 1, sequence, sequence);
        write(&mut fleet, leader, operation).expect("it makes room");
    }
    let stranger = operation(&fleet, 10, 1, 1);
    write(&mut fleet, leader, stranger).expect("for others too");
    fleet.converge(SHARD);
}

/// A proposal that came to nothing must not keep its client out for ever.
#[test]
fn a_freeing_write_that_was_lost_with_its_leader_makes_room_for_the_next() {
    let (mut fleet, leader) = fleet(44);
    let filled = fill(&mut fleet, leader, 1);
    fleet.isolate(leader);
    let lost = operation(&fleet, 1, filled + 1, filled);
    let token = fleet.ask(leader, |token| Input::Write { shard: SHARD, token, operation: lost });
    fleet.until("the old leader gives up", Duration::from_secs(5), |fleet| {
        !fleet.status(SHARD)[&leader].leads()
    });
    assert!(matches!(fleet.answer(token), Some(Answer::Refused(Refusal::Unknown { .. }))));
    fleet.heal();
    fleet.converge(SHARD);
    // The same node leads again.
    let led_by = fleet.elect(SHARD);
    if led_by != leader {
        fleet.ask(led_by, |token| Input::Transfer { shard: SHARD, token, to: Some(leader) });
        fleet.until("it leads again", Duration::from_secs(2), |fleet| fleet.leader(SHARD) == Some(leader));
        fleet.run(Duration::from_millis(50));
    }
    let freeing = operation(&fleet, 1, filled + 2, filled);
    write(&mut fleet, leader, freeing).expect("it frees more than it takes");
}
