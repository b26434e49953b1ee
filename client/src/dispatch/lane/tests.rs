//! Stories of one lane.

use super::*;

/// What came of an operation: an answer, or where it was when it ended without one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Said(&'static str),
    Without(Whereabouts),
}

type Story = Lane<&'static str, End, char>;

const NEVER: Option<Duration> = None;

fn open() -> Story {
    let mut lane = Story::default();
    lane.open();
    lane
}

fn after(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One that joins and begins to wait.
fn asked(lane: &mut Story, operation: &'static str, waiter: char, until: Option<Duration>) -> u64 {
    let id = lane.join(operation, 1, until).unwrap();
    let Some(Fetched::NotYet(place)) = lane.fetch(id) else { panic!("{operation} has ended already") };
    *place = Some(waiter);
    id
}

fn fetched(lane: &mut Story, id: u64) -> Option<End> {
    match lane.fetch(id) {
        Some(Fetched::Done(end)) => Some(end),
        Some(Fetched::NotYet(_)) => panic!("nothing came of {id} yet"),
        None => None,
    }
}

fn operations(message: Vec<(u64, &'static str)>) -> Vec<&'static str> {
    message.into_iter().map(|(_, operation)| operation).collect()
}

#[test]
fn what_gathers_leaves_together_in_order() {
    let mut lane = open();
    assert!(lane.leave().is_empty());
    let a = asked(&mut lane, "put a", 'a', NEVER);
    assert_eq!(lane.leave(), [(a, "put a")], "a lone one leaves at once");
    let b = asked(&mut lane, "put b", 'b', NEVER);
    let c = asked(&mut lane, "put c", 'c', NEVER);
    assert_eq!(lane.leave(), [(b, "put b"), (c, "put c")]);
    assert!(lane.leave().is_empty(), "nothing leaves twice");
}

#[test]
fn the_order_is_that_of_joining_also_when_places_are_used_again() {
    let mut lane = open();
    let first: Vec<u64> = ["a", "b", "c"].map(|it| asked(&mut lane, it, 'w', NEVER)).into();
    lane.leave();
    for id in [first[1], first[0], first[2]] {
        lane.answered(id, End::Said("done"));
        fetched(&mut lane, id);
    }
    for it in ["d", "e", "f", "g"] {
        asked(&mut lane, it, 'w', NEVER);
    }
    assert_eq!(operations(lane.leave()), ["d", "e", "f", "g"]);
    assert_eq!(lane.places.len(), 4, "places are used again");
}

#[test]
fn answers_find_their_waiters_in_any_order_and_once() {
    let mut lane = open();
    let [a, b, c] = ['a', 'b', 'c'].map(|waiter| asked(&mut lane, "put", waiter, NEVER));
    assert_eq!(lane.answered(b, End::Said("early")), None, "an answer to what was not asked is none");
    lane.leave();
    assert_eq!(lane.answered(c, End::Said("three")), Some('c'));
    assert_eq!(lane.answered(a, End::Said("one")), Some('a'));
    assert_eq!(lane.answered(b, End::Said("two")), Some('b'));
    assert_eq!(lane.answered(b, End::Said("again")), None);
    assert_eq!(fetched(&mut lane, b), Some(End::Said("two")));
    assert_eq!(fetched(&mut lane, b), None, "it is fetched once");
    assert_eq!([a, c].map(|id| fetched(&mut lane, id)), ["one", "three"].map(|it| Some(End::Said(it))));
    assert_eq!([c, 0, 99].map(|id| lane.answered(id, End::Said("late"))), [None; 3]);
}

/// The answer may be there before its waiter looks for the first time.
#[test]
fn an_answer_waits_for_its_waiter() {
    let mut lane = open();
    let id = lane.join("put", 1, NEVER).unwrap();
    lane.leave();
    assert_eq!(lane.answered(id, End::Said("done")), None, "nobody waits yet");
    assert_eq!(fetched(&mut lane, id), Some(End::Said("done")));
}

#[test]
fn a_late_answer_reaches_nobody_who_has_its_place_now() {
    let mut lane = open();
    let given_up = asked(&mut lane, "old", 'a', NEVER);
    lane.leave();
    assert_eq!(lane.give_up(given_up), Whereabouts::Left);
    let next = asked(&mut lane, "new", 'b', NEVER);
    lane.leave();
    assert_eq!((at(next), lane.places.len()), (at(given_up), 1), "the place is the same");
    assert_eq!(lane.answered(given_up, End::Said("old")), None);
    assert_eq!(lane.give_up(given_up), Whereabouts::Gone);
    assert_eq!(lane.answered(next, End::Said("new")), Some('b'));
    assert_eq!(fetched(&mut lane, next), Some(End::Said("new")));
}

#[test]
fn nothing_leaves_before_the_other_side_agreed() {
    let mut lane = Story::default();
    asked(&mut lane, "put", 'a', NEVER);
    assert!(lane.leave().is_empty());
    lane.open();
    assert_eq!(lane.leave().len(), 1);
}

#[test]
fn what_was_given_up_while_it_waited_never_leaves() {
    let mut lane = open();
    let left = asked(&mut lane, "left", 'a', NEVER);
    lane.leave();
    let waiting = asked(&mut lane, "waiting", 'b', NEVER);
    let other = asked(&mut lane, "other", 'c', NEVER);
    assert_eq!(lane.give_up(waiting), Whereabouts::Waiting);
    assert_eq!(lane.give_up(left), Whereabouts::Left);
    assert_eq!(lane.give_up(left), Whereabouts::Gone);
    let again = asked(&mut lane, "in its place", 'd', NEVER);
    assert_eq!(lane.leave(), [(other, "other"), (again, "in its place")]);
    assert_eq!(lane.answered(left, End::Said("done")), None, "its answer comes too late");
}

/// A server that never agrees, or never reads: callers come and give up, and nothing of them stays.
#[test]
fn what_is_given_up_takes_no_room_while_nothing_can_leave() {
    let mut lane = Story::default();
    let stays = asked(&mut lane, "stays", 's', NEVER);
    for _ in 0..1000 {
        let id = asked(&mut lane, "goes", 'g', NEVER);
        lane.give_up(id);
    }
    for now in 0..1000 {
        let id = asked(&mut lane, "is overdue", 'o', Some(after(now)));
        assert_eq!(lane.overdue(after(now), End::Without), ['o']);
        assert_eq!(fetched(&mut lane, id), Some(End::Without(Whereabouts::Waiting)));
    }
    assert!(lane.places.len() <= 2 && lane.gathered.len() <= 4, "{lane:?}");
    lane.open();
    assert_eq!(lane.leave(), [(stays, "stays")]);
    assert_eq!((lane.gathered.len(), lane.stale), (0, 0));
}

#[test]
fn a_break_ends_all_and_says_what_may_have_happened() {
    let mut lane = open();
    let one = asked(&mut lane, "one", 'a', NEVER);
    let done = asked(&mut lane, "done", 'b', NEVER);
    lane.leave();
    lane.answered(done, End::Said("done"));
    let two = asked(&mut lane, "two", 'c', NEVER);
    assert_eq!(lane.break_off(End::Without), ['a', 'c']);
    assert_eq!(fetched(&mut lane, one), Some(End::Without(Whereabouts::Left)));
    assert_eq!(fetched(&mut lane, two), Some(End::Without(Whereabouts::Waiting)));
    assert_eq!(fetched(&mut lane, done), Some(End::Said("done")), "its answer had come before");
    assert_eq!(lane.join("three", 1, NEVER), None);
    assert!(lane.is_broken() && lane.leave().is_empty() && lane.break_off(End::Without).is_empty());
    lane.open();
    assert!(lane.is_broken(), "it is not opened again");
}

#[test]
fn an_alarm_is_never_after_the_first_who_is_overdue() {
    let mut lane = open();
    assert_eq!(lane.alarm(), None);
    let long = asked(&mut lane, "long", 'l', Some(after(1000)));
    asked(&mut lane, "for ever", 'e', NEVER);
    assert_eq!(lane.alarm(), Some(after(1000)));
    lane.leave();
    let short = asked(&mut lane, "short", 's', Some(after(50)));
    assert_eq!(lane.alarm(), Some(after(50)));
    assert!(lane.overdue(after(49), End::Without).is_empty());
    assert_eq!(lane.overdue(after(50), End::Without), ['s']);
    assert!(lane.leave().is_empty(), "what was overdue does not leave, though nobody has fetched its end");
    assert_eq!(fetched(&mut lane, short), Some(End::Without(Whereabouts::Waiting)));
    assert_eq!(lane.alarm(), Some(after(1000)));
    assert_eq!(lane.overdue(after(1001), End::Without), ['l']);
    assert_eq!(lane.answered(long, End::Said("too late")), None);
    assert_eq!(fetched(&mut lane, long), Some(End::Without(Whereabouts::Left)));
    assert_eq!(lane.alarm(), None, "who waits for ever needs none");
    assert!(lane.leave().is_empty());
}

#[test]
fn what_is_done_is_not_overdue() {
    let mut lane = open();
    let id = asked(&mut lane, "put", 'a', Some(after(10)));
    lane.leave();
    lane.answered(id, End::Said("in time"));
    assert!(lane.overdue(after(99), End::Without).is_empty());
    assert_eq!(fetched(&mut lane, id), Some(End::Said("in time")));
}

#[test]
fn a_message_is_bounded_in_operations_and_bytes() {
    let mut lane = open();
    for _ in 0..=PIPELINE_OPERATIONS_MAX {
        lane.join("small", 1, NEVER);
    }
    assert_eq!(lane.leave().len(), PIPELINE_OPERATIONS_MAX);
    assert_eq!(lane.leave().len(), 1);

    for bytes in [MESSAGE_BYTES_AIM - 1, 1, 1, BATCH_BYTES_MAX, BATCH_BYTES_MAX, 1] {
        lane.join("large", bytes, NEVER);
    }
    let sizes: Vec<usize> = std::iter::from_fn(|| Some(lane.leave().len()).filter(|len| *len > 0)).collect();
    assert_eq!(sizes, [2, 1, 1, 1, 1], "a full one is not filled further, and none is larger than a batch");
}
