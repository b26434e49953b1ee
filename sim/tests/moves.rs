//! One move, with a crash at every durable step of everybody who takes part, and with all earlier decisions once more.

use std::collections::BTreeSet;
use std::io::Write;

use flotilla_sim::faults::Hit;
use flotilla_sim::leaving::leave_unsettled;
use flotilla_sim::script::Crash;
use flotilla_sim::stories::{Cancel, Cause, Plot, Told, What, tell};
use flotilla_topology::NodeId;

/// What a move makes of the members, and one that is undone.
const DONE: [&str; 3] = ["voters(1 2 3) learners(4)", "voters(2 3 4) outgoing(1 2 3)", "voters(2 3 4)"];
const UNDONE: [&str; 2] = ["voters(1 2 3) learners(4)", "voters(1 2 3)"];

/// Panics are quiet here, as worlds catch them: so what is wrong is printed.
fn demand(holds: bool, what: impl Fn() -> String) {
    if !holds {
        let what = what();
        let _ = writeln!(std::io::stderr(), "{what}");
        panic!("{what}");
    }
}

fn expect(told: &Told, what: &str, ends: &[&[&str]]) {
    if let Some(failure) = &told.failure {
        let _ = writeln!(std::io::stderr(), "{}", failure.last.join("\n"));
        demand(false, || format!("{what}: {}: {}", failure.judge, failure.what));
    }
    demand(ends.iter().any(|end| told.members == *end), || format!("{what}: {:?}", told.members));
}

#[test]
fn a_move_is_carried_out_and_nothing_of_the_old_replica_is_left() {
    let told = tell(Plot::default());
    let cast = told.cast.expect("somebody takes part");
    expect(&told, "a calm move", &[&DONE]);
    demand(cast.source != cast.controller, || format!("{cast:?}"));
    for what in ["moves finished", "replicas ended", "learners that began with a snapshot", "elections won"] {
        demand(told.coverage.of(what) > 0, || format!("it has not seen this: {what}"));
    }
    let changes = ["AddLearners", "Enter", "HandOver"];
    for change in changes {
        let ordered = told.script.orders.iter().any(|order| format!("{order:?}").contains(change));
        demand(ordered, || format!("nobody ordered {change}"));
    }
}

/// Source, destination and controller, before and after each of their durable steps, by a kill and by a loss of power; then the move goes
/// on, or is undone.
#[test]
fn a_move_survives_the_end_of_anybody_at_any_durable_step() {
    let calm = tell(Plot::default());
    let cast = calm.cast.expect("somebody takes part");
    let nodes = [cast.source, cast.destination, cast.controller];
    let told = whoever_ends(Plot::default(), &calm, nodes, &[None, Some(Cancel::AtTheCrash)]);
    println!("{told} stories");
}

/// The same of a move off the node that carries it out.
#[test]
fn a_move_off_its_controller_survives_the_end_of_anybody_at_any_durable_step() {
    let plot = Plot { what: What::OfTheController, ..Plot::default() };
    let calm = tell(plot);
    let cast = calm.cast.expect("somebody takes part");
    expect(&calm, "a calm move", &[&DONE]);
    demand(cast.source == cast.controller, || format!("{cast:?}"));
    println!("{} stories", whoever_ends(plot, &calm, [cast.source, cast.destination], &[None]));
}

/// The same of the meta shard itself, whose leader leaves: another node carries the move to its end.
#[test]
fn a_move_of_the_meta_shard_survives_the_end_of_anybody_at_any_durable_step() {
    let plot = Plot { what: What::Meta, ..Plot::default() };
    let calm = tell(plot);
    let cast = calm.cast.expect("somebody takes part");
    expect(&calm, "a calm move", &[&DONE]);
    demand(cast.source == cast.controller, || format!("{cast:?}"));
    println!("{} stories", whoever_ends(plot, &calm, (1..=4).map(NodeId), &[None]));
}

/// How many stories were told: one for each end of one of these nodes, and for each of these cancellations.
fn whoever_ends(
    plot: Plot,
    calm: &Told,
    nodes: impl IntoIterator<Item = NodeId>,
    cancels: &[Option<Cancel>],
) -> usize {
    let mut told_in_all = 0;
    for node in nodes.into_iter().collect::<BTreeSet<_>>() {
        for (step, what) in calm.script.steps[&node].iter().enumerate() {
            for (after, power) in [(false, true), (true, false), (true, true)] {
                for cancel in cancels.iter().copied() {
                    let crash = Crash { node, step, after, power, down_us: 400_000 };
                    let told = tell(Plot { crash: Some(crash), cancel, ..plot });
                    let name = format!("{:?}, {crash:?}, {cancel:?}, {what}", calm.cast);
                    demand(told.script.crashed, || format!("{name}: the step never came"));
                    let ends: &[&[&str]] = if cancel.is_some() { &[&DONE, &UNDONE] } else { &[&DONE] };
                    expect(&told, &name, ends);
                    told_in_all += 1;
                }
            }
        }
    }
    told_in_all
}

/// Rot in the log of whoever leads: it is replaced by itself, elsewhere or in its place.
#[test]
fn what_rot_took_is_replaced_by_itself() {
    for cause in [Cause::Rot, Cause::RotInPlace] {
        let told = tell(Plot { cause, ..Plot::default() });
        let cast = told.cast.expect("somebody takes part");
        expect(&told, &format!("{cause:?}"), &[&DONE]);
        demand((cast.source == cast.destination) == (cause == Cause::RotInPlace), || format!("{cast:?}"));
        for what in ["shards quarantined", "shards beside a quarantine", "errands begun by the controller"] {
            demand(told.coverage.of(what) > 0, || format!("{cause:?}: it has not seen this: {what}"));
        }
    }
}

/// The same, with the end of anybody who takes part, before and after each durable step.
#[test]
fn what_rot_took_is_replaced_whoever_ends_at_whatever_step() {
    for cause in [Cause::Rot, Cause::RotInPlace] {
        let plot = Plot { cause, ..Plot::default() };
        let calm = tell(plot);
        let cast = calm.cast.expect("somebody takes part");
        let nodes = [cast.source, cast.destination, cast.controller];
        println!("{cause:?}: {} stories", whoever_ends(plot, &calm, nodes, &[None]));
    }
}

/// An operator calls off what the controller began: who is out of service stays it, and is replaced by the next move.
#[test]
fn a_replacement_that_is_called_off_is_begun_again() {
    for cause in [Cause::Rot, Cause::RotInPlace] {
        let mut undone = 0;
        for changes in 1..5 {
            let told = tell(Plot { cause, cancel: Some(Cancel::AfterChanges(changes)), ..Plot::default() });
            let name = format!("{cause:?}, undone after {changes} changes");
            expect(&told, &name, &[&told.members.iter().map(String::as_str).collect::<Vec<_>>()]);
            let last = told.members.last().cloned().unwrap_or_default();
            demand(last.starts_with("voters(2 3 "), || format!("{name}: {:?}", told.members));
            undone += usize::from(told.members.len() > DONE.len());
        }
        demand(undone > 0, || format!("{cause:?}: nothing was undone"));
    }
}

/// A world in which rot took the tombstone of a replica that had moved away, and its list of shards is readable: the node remembers by
/// its map which ids are spent, and writes them down once more. (It wrote down r0, and the log had forgotten r1.)
#[test]
fn a_tombstone_that_rot_took_is_made_good() {
    let told = tell(Plot { lost_tombstone: Some(Hit::Records), ..Plot::default() });
    expect(&told, "a lost tombstone", &[&DONE]);
    for (what, is_seen) in [("shards quarantined", true), ("ends that only the map remembers", false)] {
        demand((told.coverage.of(what) > 0) == is_seen, || format!("{what}: {}", told.coverage.of(what)));
    }
}

/// The same where nobody can read whose the tombstone was: the log forgets it, and the map on the disk alone says that the replica has
/// ended. Nobody is born under its id, whoever brings an older map. (The judge of members demanded that the log remembers.)
#[test]
fn a_tombstone_that_rot_took_without_a_name_is_known_by_the_map() {
    let told = tell(Plot { lost_tombstone: Some(Hit::Head), ..Plot::default() });
    expect(&told, "a lost tombstone of whoever it was", &[&DONE]);
    demand(told.coverage.of("ends that only the map remembers") > 0, || "the log remembers".to_owned());
}

/// The leader has left the joint configuration, and both who could know it beside it end before anything is committed after that: r1
/// may still be needed, and does not end.
#[test]
fn nobody_ends_while_the_new_members_are_not_settled() {
    let members = leave_unsettled();
    if let Err(failure) = &members {
        let _ = writeln!(std::io::stderr(), "{}", failure.last.join("\n"));
    }
    demand(members.as_ref().is_ok_and(|members| members == &DONE), || format!("{members:?}"));
}

/// Whatever a controller decided at an earlier state is refused at every later one, or harmless: nothing happens twice.
#[test]
fn earlier_decisions_do_nothing_when_they_come_again() {
    let done = tell(Plot { again: true, ..Plot::default() });
    expect(&done, "all again", &[&DONE]);
    let stale = |told: &Told| told.coverage.of("changes of members refused: stale");
    println!("ordered again, and taken: {:?}; refused as stale: {}", done.again, stale(&done));
    demand(done.again.0 >= 10 && stale(&done) > 0, || "hardly anything was ordered again".to_owned());
    let mut ends = BTreeSet::new();
    for changes in 1..5 {
        let told = tell(Plot { cancel: Some(Cancel::AfterChanges(changes)), again: true, ..Plot::default() });
        expect(&told, &format!("undone after {changes} changes, all again"), &[&DONE, &UNDONE]);
        println!(
            "undone after {changes} changes: {:?}, {:?}; stale: {}",
            told.members,
            told.again,
            stale(&told)
        );
        ends.insert(told.members.len());
    }
    demand(ends.len() == 2, || format!("some are undone, some were too late: {ends:?}"));
}
