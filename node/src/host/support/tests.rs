//! Stories of two nodes: A, which is supported, and B, which supports. Each has a clock of its own.

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const SUPPORT: Duration = Duration::from_millis(90);

fn options(boot: u64) -> SupportOptions {
    SupportOptions { boot, support: SUPPORT, ..SupportOptions::default() }
}

fn node(boot: u64) -> Supports {
    Supports::new(options(boot))
}

const fn at(millis: u64) -> Time {
    Time(millis * 1000)
}

/// A beat from `a` to `b`, received by its clock at `received`; the answer is heard `heard` by that of `a`.
fn beat(a: &Supports, b: &Supports, sent: Time, received: Time, heard: Time) -> SupportNumber {
    let answer = b.beaten(A, &a.beat(B, sent), received).expect("a beat of this life");
    a.answered(B, answer, heard);
    answer.number
}

#[test]
fn the_holder_counts_from_sending_and_the_supporter_from_receiving() {
    let (a, b) = (node(1), node(1));
    // The clock of B is an hour ahead; the beat took 30 ms, the answer 50 ms.
    let number = beat(&a, &b, at(1_000), at(3_601_030), at(1_080));
    assert_eq!(a.held(B), Some(Held { number, until: at(1_090) }), "ten milliseconds are left");
    assert_eq!(b.bound_until(A, number, at(3_601_119)), at(3_601_120));
}

#[test]
fn a_promise_goes_on_under_its_number_and_late_answers_shorten_nothing() {
    let (a, b) = (node(1), node(1));
    let first = a.beat(B, at(0));
    let second = a.beat(B, at(25));
    let late = b.beaten(A, &first, at(40)).expect("a beat");
    let early = b.beaten(A, &second, at(30)).expect("a beat");
    assert_eq!(late.number, early.number);
    a.answered(B, early, at(50));
    a.answered(B, late, at(60));
    assert_eq!(a.held(B).map(|held| held.until), Some(at(115)));
    assert_eq!(b.bound_until(A, late.number, at(50)), at(130), "it was received at 40 last");
}

#[test]
fn a_promise_that_ran_out_is_withdrawn_for_ever_and_for_the_whole_node() {
    let (a, b) = (node(1), node(1));
    let number = beat(&a, &b, at(0), at(1), at(2));
    assert_eq!(
        b.bound_until(A, number, at(90)),
        at(91),
        "whoever asks: nothing is withdrawn before it ran out"
    );
    assert_eq!(b.number(A).unwrap().0, number);
    assert_eq!(b.bound_until(A, number, at(91)), Time(0));
    // Another replica here, which acknowledged under the same number, has nothing to wait for.
    assert_eq!(b.bound_until(A, number, at(91)), Time(0));
    // The next beat begins another series; what was acknowledged before is not counted in it.
    let next = beat(&a, &b, at(100), at(101), at(102));
    assert!(next > number);
    assert_eq!(a.held(B).map(|held| held.number), Some(next));
    assert_eq!(b.bound_until(A, number, at(102)), Time(0), "and binds nobody");
}

#[test]
fn a_promise_that_ran_out_and_that_nobody_withdrew_goes_on() {
    let (a, b) = (node(1), node(1));
    let number = beat(&a, &b, at(0), at(1), at(2));
    assert_eq!(beat(&a, &b, at(500), at(501), at(502)), number, "nobody here voted meanwhile");
}

#[test]
fn an_answer_that_was_overtaken_by_a_withdrawal_does_not_bring_the_old_number_back() {
    let (a, b) = (node(1), node(1));
    let old = b.beaten(A, &a.beat(B, at(0)), at(1)).expect("a beat");
    assert_eq!(b.bound_until(A, old.number, at(91)), Time(0));
    let next = beat(&a, &b, at(92), at(93), at(94));
    a.answered(B, old, at(95));
    assert_eq!(a.held(B), Some(Held { number: next, until: at(182) }));
}

#[test]
fn a_restart_of_the_supported_node_begins_a_new_series_and_its_former_life_counts_for_nothing() {
    let (a, b) = (node(1), node(1));
    let of_the_old_life = a.beat(B, at(5_000));
    let old = beat(&a, &b, at(5_010), at(11), at(5_012));
    let asked = b.beaten(A, &a.beat(B, at(5_020)), at(21)).expect("a beat");
    // Restarted faster than any timeout. Followers that slept must learn that their leader is gone: the number says so.
    let a = node(2);
    a.answered(B, asked, at(9_000));
    assert_eq!(a.held(B), None, "5,020 on a clock that is gone means nothing");
    let new = beat(&a, &b, at(30), at(31), at(32));
    assert!(new > old);
    assert_eq!(b.bound_until(A, old, at(33)), Time(0), "nothing binds anyone to the dead");
    // A beat of the former life comes last. It neither renews nor withdraws anything.
    assert_eq!(b.beaten(A, &of_the_old_life, at(40)), None);
    assert_eq!(b.number(A).unwrap().0, new);
    assert_eq!(b.bound_until(A, new, at(41)), at(121));
}

#[test]
fn a_restart_of_the_supporter_begins_beyond_all_of_its_numbers() {
    let (a, b) = (node(1), node(1));
    let mut last = beat(&a, &b, at(0), at(1), at(2));
    for round in 1..100 {
        assert_eq!(b.bound_until(A, last, at(round * 1_000)), Time(0));
        last = beat(&a, &b, at(round * 1_000), at(round * 1_000), at(round * 1_000 + 1));
    }
    let b = Supports::new(SupportOptions { restart_until: at(90), ..options(2) });
    assert_eq!(b.restart_until(), at(90));
    assert_eq!(b.number(A), None, "it has promised nothing in this life");
    let new = beat(&a, &b, at(100_000), at(10), at(100_001));
    assert!(new > last, "{new:?} after {last:?}");
    assert_eq!(a.held(B).map(|held| held.number), Some(new));
}

#[test]
fn what_fell_is_told_until_it_was_heard() {
    let (a, b) = (node(1), node(1));
    let fall = |shard, term| FallenLeader { shard: ShardId(shard), leader: ReplicaId(1), term: Term(term) };
    a.fell(fall(7, 3), [B]);
    let first = a.beat(B, at(0));
    assert_eq!(first.fallen, [fall(7, 3)]);
    assert_eq!(a.beat(NodeId(3), at(0)).fallen, [], "nobody follows there");
    a.fell(fall(8, 1), [B]);
    assert_eq!(a.beat(B, at(25)).fallen, [fall(7, 3), fall(8, 1)]);
    a.answered(B, b.beaten(A, &first, at(30)).expect("a beat"), at(31));
    assert_eq!(a.beat(B, at(50)).fallen, [fall(8, 1)], "the first beat told of 7 only");
    a.fell(fall(8, 5), [B]);
    beat(&a, &b, at(75), at(76), at(77));
    assert_eq!(a.beat(B, at(100)).fallen, []);
}

#[test]
fn many_falls_are_told_in_several_beats_and_none_is_forgotten() {
    let (a, b) = (node(1), node(1));
    let fall = |shard| FallenLeader { shard: ShardId(shard), leader: ReplicaId(1), term: Term(1) };
    (0..1_000).for_each(|shard| a.fell(fall(shard), [B]));
    let mut told = Vec::new();
    for beat_number in 0..16 {
        let beat = a.beat(B, at(beat_number * 25));
        told.extend(beat.fallen.iter().map(|it| it.shard.0));
        let answer = b.beaten(A, &beat, at(beat_number * 25)).expect("a beat");
        a.answered(B, answer, at(beat_number * 25 + 1));
    }
    assert_eq!(told, (0..1_000).collect::<Vec<_>>());
}
