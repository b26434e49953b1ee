//! The first judge: looks for an order in which the map of keys gives the same answers.
//!
//! Depth first: place any operation that may come next and that the map allows, go on, take it back when nothing fits. A
//! configuration (who was placed, what the map is) that failed once is not tried again. Three rules cut the work, and lose
//! nothing:
//!
//! - *Who changes nothing goes first.* An operation that is possible now and leaves the map as it is may be placed at once:
//!   in any order that goes on from here it could be moved to the front.
//! - *Unknown outcomes come late.* A write of which nobody knows may be executed at any time, so it may be placed right before
//!   the first operation that touches its keys; and if that one overwrites it unseen, it need not be placed at all. So an
//!   answered operation must touch the keys of all such writes that were placed right before it, and must not bury them.
//!   Without this, each write of unknown outcome would double the number of configurations.
//! - *Twins go in line.* Of writes of unknown outcome that nobody can tell apart, the first one is as good as any.

use std::collections::BTreeSet;

use crate::history::{End, History, Operation};
use crate::model::{Action, Key, Names, Reason, State};
use crate::order::{Order, Place};
use crate::partition::{self, Part};
use crate::verdict::Verdict;

/// So many attempts to place an operation are made for one part.
pub const STEPS_MAX: u64 = 2_000_000;

/// So many of the operations that could be placed are shown.
const SHOWN: usize = 8;

/// Looks at all parts; the first that is not linearizable decides.
pub(crate) fn judge(history: &History) -> Verdict {
    let mut verdict = Verdict::Linearizable;
    for part in partition::parts(history) {
        part.check_limits();
        match Search::new(&part).run() {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(shown) => return Verdict::NotLinearizable(shown),
            undecided @ Verdict::Undecided { .. } => verdict = undecided,
        }
    }
    verdict
}

/// An operation that may be placed.
#[derive(Debug)]
struct Candidate<'a> {
    operation: &'a Operation,
    /// The ways in which it may have been executed.
    actions: Vec<Action>,
    keys: BTreeSet<Key>,
    /// Whether it must be placed.
    done: bool,
    /// Another of unknown outcome, which began earlier and does the same.
    twin: Option<usize>,
}

/// A placed operation, and how things were before.
#[derive(Debug)]
struct Frame {
    chosen: Choice,
    state: State,
    untouched: Vec<Choice>,
    /// It changed nothing: nothing else need be tried in its stead.
    forced: bool,
}

/// An operation and the way in which it was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Choice {
    candidate: usize,
    action: usize,
}

/// What the map is after a choice, and which operations of unknown outcome nobody has touched then.
type Then = (State, Vec<Choice>);

/// Who was placed, one bit for each.
type Bits = Vec<u64>;

/// A search under way.
struct Search<'a> {
    part: &'a Part<'a>,
    names: Names<'a>,
    candidates: Vec<Candidate<'a>>,
    order: Order,
    state: State,
    /// The operations of unknown outcome that were placed last and that nobody has touched, in the order of their numbers.
    untouched: Vec<Choice>,
    placed: Bits,
    /// How many must still be placed.
    left: usize,
    frames: Vec<Frame>,
    failed: BTreeSet<(Bits, State, Vec<Choice>)>,
    steps: u64,
    /// The longest order found so far, and how many were left then.
    best: (usize, Vec<Choice>),
}

fn find_twins(candidates: &mut [Candidate<'_>]) {
    let actions = candidates.iter().flat_map(|candidate| &candidate.actions);
    let shown = actions.flat_map(Action::shown).collect();
    let unknown = candidates.iter().enumerate().filter(|(_, candidate)| !candidate.done);
    let unknown: Vec<usize> = unknown.map(|(at, _)| at).collect();
    for (count, at) in unknown.iter().enumerate() {
        candidates[*at].actions.iter_mut().for_each(|action| action.blur(&shown));
        let same = |other: &&usize| candidates[**other].actions == candidates[*at].actions;
        candidates[*at].twin = unknown[..count].iter().rev().find(same).copied();
    }
}

impl<'a> Search<'a> {
    fn new(part: &'a Part<'a>) -> Self {
        let mut names = Names::new(&part.keys);
        let mut candidates = Vec::new();
        for operation in &part.operations {
            let actions = names.actions(operation);
            if !actions.is_empty() {
                let keys = actions.iter().flat_map(Action::keys).collect();
                let done = matches!(operation.end(), End::Done(..));
                candidates.push(Candidate { operation, actions, keys, done, twin: None });
            }
        }
        find_twins(&mut candidates);
        let span = |candidate: &Candidate<'_>| match candidate.operation.end() {
            End::Done(at, _) => (candidate.operation.invoked, Some(at)),
            _ => (candidate.operation.invoked, None),
        };
        let spans: Vec<_> = candidates.iter().map(span).collect();
        let left = candidates.iter().filter(|candidate| candidate.done).count();
        Self {
            part,
            state: names.nothing(),
            names,
            order: Order::new(&spans),
            untouched: Vec::new(),
            placed: vec![0; candidates.len().div_ceil(64)],
            candidates,
            left,
            frames: Vec::new(),
            failed: BTreeSet::new(),
            steps: 0,
            best: (left, Vec::new()),
        }
    }

    fn run(mut self) -> Verdict {
        let mut from = Some((Order::start(), 0));
        while self.left > 0 {
            if self.steps > STEPS_MAX {
                return Verdict::Undecided { part: self.part.name(), steps: STEPS_MAX };
            }
            let fresh = from == Some((Order::start(), 0));
            let quiet = if fresh { self.quiet() } else { None };
            let forced = quiet.is_some();
            if let Some((chosen, then)) = quiet.or_else(|| self.next(from)) {
                self.place(chosen, then, forced);
                from = Some((Order::start(), 0));
                continue;
            }
            if self.left < self.best.0 {
                self.best = (self.left, self.frames.iter().map(|frame| frame.chosen).collect());
            }
            from = self.back();
            if from.is_none() {
                return Verdict::NotLinearizable(self.show());
            }
        }
        Verdict::Linearizable
    }

    /// Somebody who is possible now and changes nothing.
    fn quiet(&mut self) -> Option<(Choice, Then)> {
        let candidates: Vec<usize> = self.order.candidates().collect();
        for candidate in candidates.into_iter().filter(|at| self.candidates[*at].done) {
            self.steps += 1;
            if let Ok(state) = self.candidates[candidate].actions[0].apply(&self.state)
                && state == self.state
            {
                return Some((Choice { candidate, action: 0 }, (state, Vec::new())));
            }
        }
        None
    }

    /// The next choice from a place on, at the operation there from this action on.
    fn next(&mut self, from: Option<(Place, usize)>) -> Option<(Choice, Then)> {
        let (mut place, mut action) = from?;
        loop {
            let candidate = self.order.after(place)?;
            while action < self.candidates[candidate].actions.len() {
                let chosen = Choice { candidate, action };
                if let Some(then) = self.possible(chosen) {
                    return Some((chosen, then));
                }
                action += 1;
            }
            (place, action) = (self.order.place(candidate), 0);
        }
    }

    fn possible(&mut self, chosen: Choice) -> Option<Then> {
        self.steps += 1;
        let candidate = &self.candidates[chosen.candidate];
        if candidate.twin.is_some_and(|twin| self.placed[twin / 64] >> (twin % 64) & 1 == 0) {
            return None;
        }
        let action = &candidate.actions[chosen.action];
        let untouched = self.touch(chosen)?;
        let state = action.apply(&self.state).ok()?;
        // Nobody was told of it and nobody can see it.
        if !candidate.done && state == self.state {
            return None;
        }
        let mut placed = self.placed.clone();
        placed[chosen.candidate / 64] |= 1 << (chosen.candidate % 64);
        let new = self.failed.insert((placed, state.clone(), untouched.clone()));
        new.then_some((state, untouched))
    }

    /// The operations of unknown outcome that nobody has touched after this choice; nothing if it comes at a wrong place.
    fn touch(&self, chosen: Choice) -> Option<Vec<Choice>> {
        let candidate = &self.candidates[chosen.candidate];
        let action = &candidate.actions[chosen.action];
        let mut untouched = Vec::new();
        for other in &self.untouched {
            let before = &self.candidates[other.candidate];
            if before.keys.is_disjoint(&candidate.keys) {
                untouched.push(*other);
            } else if action.buries(&before.actions[other.action]) {
                return None;
            }
        }
        if candidate.done {
            return untouched.is_empty().then_some(untouched);
        }
        if !untouched.is_empty() && !self.somebody_touches(&untouched, candidate) {
            return None;
        }
        untouched.push(chosen);
        untouched.sort_unstable();
        Some(untouched)
    }

    /// Whether an answered operation that may come next touches all of these, and this one.
    fn somebody_touches(&self, all: &[Choice], one: &Candidate<'_>) -> bool {
        let touches = |at: usize| {
            let keys = &self.candidates[at].keys;
            let touched = |other: &Choice| !keys.is_disjoint(&self.candidates[other.candidate].keys);
            self.candidates[at].done && !keys.is_disjoint(&one.keys) && all.iter().all(touched)
        };
        self.order.candidates().any(touches)
    }

    fn place(&mut self, chosen: Choice, (state, untouched): Then, forced: bool) {
        let done = self.candidates[chosen.candidate].done;
        let state = std::mem::replace(&mut self.state, state);
        let untouched = std::mem::replace(&mut self.untouched, untouched);
        self.placed[chosen.candidate / 64] |= 1 << (chosen.candidate % 64);
        self.left -= usize::from(done);
        self.order.lift(chosen.candidate);
        self.frames.push(Frame { chosen, state, untouched, forced });
    }

    /// Takes back the last choice that was one, and says where to go on.
    fn back(&mut self) -> Option<(Place, usize)> {
        loop {
            let Frame { chosen, state, untouched, forced } = self.frames.pop()?;
            self.order.restore(chosen.candidate);
            self.state = state;
            self.untouched = untouched;
            self.placed[chosen.candidate / 64] &= !(1 << (chosen.candidate % 64));
            self.left += usize::from(self.candidates[chosen.candidate].done);
            if !forced {
                return Some((self.order.before(chosen.candidate), chosen.action + 1));
            }
        }
    }

    /// The longest order, and why it does not go on.
    fn show(&mut self) -> String {
        let best = std::mem::take(&mut self.best.1);
        self.state = self.names.nothing();
        for chosen in &best {
            let action = &self.candidates[chosen.candidate].actions[chosen.action];
            if let Ok(state) = action.apply(&self.state) {
                self.place(*chosen, (state, Vec::new()), false);
            }
        }
        let must = self.candidates.iter().filter(|candidate| candidate.done).count();
        let mut text = format!(
            "{}\n{} of {must} answered operations can be put in order{}\n",
            self.part.name(),
            must - self.left,
            if best.is_empty() { "." } else { "; the last of them:" },
        );
        for chosen in best.iter().skip(best.len().saturating_sub(SHOWN)) {
            text += &format!("  {}\n", self.candidates[chosen.candidate].operation);
        }
        let keys = (0..self.part.keys.len()).map(|key| self.names.holding(&self.state, key));
        text += &format!("Then {}, and none of these can come next:\n", keys.collect::<Vec<_>>().join(", "));
        for at in self.order.candidates().filter(|at| self.candidates[*at].done) {
            let candidate = &self.candidates[at];
            let action = &candidate.actions[0];
            let reason = action.apply(&self.state).err().map(|reason| self.explain(action, reason));
            let why = reason.unwrap_or_else(|| "then the others could not".to_owned());
            text += &format!("  {}\n    {why}\n", candidate.operation);
        }
        text + &self.refused()
    }

    fn explain(&self, action: &Action, reason: Reason) -> String {
        self.names.explain(action, &self.state, reason)
    }

    /// Surely not executed writes are often the answer to "where does this value come from".
    fn refused(&self) -> String {
        let refused = self.part.operations.iter().filter(|operation| operation.end() == End::NotExecuted);
        let refused: Vec<String> = refused.take(SHOWN).map(|operation| format!("  {operation}\n")).collect();
        if refused.is_empty() { String::new() } else { format!("Left aside:\n{}", refused.concat()) }
    }
}
