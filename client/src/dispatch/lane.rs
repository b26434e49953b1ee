//! One lane: what has gathered for one address, and what has left and was not answered yet.
//!
//! ```text
//!            join()                leave()               answered()
//!  caller ──────────▶ waiting ───────────────▶ left ──────────────▶ done ──▶ fetch()
//!                        │                      │                    ▲
//!                        │ give_up(), break_off(), overdue()         │
//!                        ▼                      ▼                    │
//!               surely not executed      may have been executed, unless
//!                                        the other side's last word is definite
//! ```
//!
//! A lane makes batches without a timer. Whoever sends asks [`Lane::leave`] whenever it can send: when it is idle, that is when
//! the first operation has joined, which so leaves alone and at once; when it is busy, operations gather until it comes back.
//!
//! The line between *waiting* and *left* is where the truth of an attempt is decided: what has not left is taken back and was
//! surely not executed; what has left may arrive whatever becomes of us. Only the other side can say that it was never read.
//!
//! Each operation has a place of its own, for itself, for what came of it and for who waits: joining, answering and fetching search
//! nothing and allocate nothing. Places are used again, so an id says place and use. All operations share one alarm
//! ([`Lane::alarm`]), because hardly any is ever overdue.
//!
//! What it does not do: I/O, and reading a clock. `O` is what is sent, `A` is what comes of it, `W` is who waits for that; none
//! of them is looked at.

use std::collections::VecDeque;
use std::time::Duration;

use flotilla_proto::limits::{BATCH_BYTES_MAX, PIPELINE_OPERATIONS_MAX};

/// A message is not filled further once it has so many bytes: the other side can then begin with it while the next one is made.
const MESSAGE_BYTES_AIM: usize = 256 * 1024;

const _: () = assert!(MESSAGE_BYTES_AIM <= BATCH_BYTES_MAX);

/// An id is `use ‖ place`: so many of its bits are the place, and bound how many operations are in a lane at once.
const PLACE_BITS: u32 = 24;

/// Where an operation was when it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It waited: it was surely not executed, and never will be.
    Waiting,
    /// It had left: it may be executed, for all that is known here.
    Left,
    /// It is not here: it was answered, or given up before.
    Gone,
}

/// The operations of one lane. All times are durations since an origin of the caller's choice.
#[derive(Debug)]
pub struct Lane<O, A, W> {
    phase: Phase,
    places: Vec<Place<O, A, W>>,
    /// The places that are not in use; the last one is used next.
    free: Vec<usize>,
    /// The ids of what waits, in the order in which it joined, and of some that were given up since.
    gathered: VecDeque<u64>,
    /// How many of these were given up.
    stale: usize,
    /// No operation is overdue before.
    alarm: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The other side has not agreed yet: operations join, none leaves.
    Opening,
    Open,
    Broken,
}

#[derive(Debug)]
struct Place<O, A, W> {
    /// The present use of the place, or the next one.
    id: u64,
    state: State<O, A>,
    bytes: usize,
    until: Option<Duration>,
    waiter: Option<W>,
}

#[derive(Debug)]
enum State<O, A> {
    Free,
    Waiting(O),
    Left,
    /// This came of it, and was not fetched yet.
    Done(A),
}

/// What an operation's waiter finds.
#[derive(Debug)]
pub enum Fetched<'a, A, W> {
    /// This came of it. Its place is free.
    Done(A),
    /// Nothing yet: whoever stands here is to be woken then.
    NotYet(&'a mut Option<W>),
}

impl<O, A, W> Default for Lane<O, A, W> {
    fn default() -> Self {
        Self {
            phase: Phase::Opening,
            places: Vec::new(),
            free: Vec::new(),
            gathered: VecDeque::new(),
            stale: 0,
            alarm: None,
        }
    }
}

impl<O, A, W> Lane<O, A, W> {
    /// Takes an operation, which nobody waits for after `until`. Returns its id; nothing, if the lane is broken: it is surely
    /// not executed.
    pub fn join(&mut self, operation: O, bytes: usize, until: Option<Duration>) -> Option<u64> {
        if self.phase == Phase::Broken {
            return None;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            let at = self.places.len();
            assert!(at < 1 << PLACE_BITS, "{at} operations are under way in one lane");
            self.places.push(Place {
                id: at as u64,
                state: State::Free,
                bytes: 0,
                until: None,
                waiter: None,
            });
            at
        });
        let place = &mut self.places[at];
        (place.state, place.bytes, place.until) = (State::Waiting(operation), bytes, until);
        self.gathered.push_back(place.id);
        self.alarm = [self.alarm, until].into_iter().flatten().min();
        Some(place.id)
    }

    /// The other side takes operations from now on.
    pub fn open(&mut self) {
        if self.phase == Phase::Opening {
            self.phase = Phase::Open;
        }
    }

    /// Whether it takes no more operations.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.phase == Phase::Broken
    }

    /// What has gathered, in the order in which it joined, as much as fits into one message. From now on all of it may be
    /// executed. Empty: nothing waits.
    pub fn leave(&mut self) -> Vec<(u64, O)> {
        if self.phase != Phase::Open {
            return Vec::new();
        }
        let mut message = Vec::with_capacity(self.gathered.len().min(PIPELINE_OPERATIONS_MAX));
        let mut bytes = 0_usize;
        while let Some(&id) = self.gathered.front() {
            let Some(place) = place(&mut self.places, id).filter(|place| place.waits()) else {
                self.gathered.pop_front();
                self.stale -= 1;
                continue;
            };
            let with = bytes.saturating_add(place.bytes);
            let full = bytes >= MESSAGE_BYTES_AIM || message.len() >= PIPELINE_OPERATIONS_MAX;
            if full || (with > BATCH_BYTES_MAX && !message.is_empty()) {
                break;
            }
            bytes = with;
            if let State::Waiting(operation) = std::mem::replace(&mut place.state, State::Left) {
                message.push((id, operation));
            }
            self.gathered.pop_front();
        }
        message
    }

    /// An answer has come. Who is to be woken; nothing, if nobody waits yet, if the operation was given up or answered before, or
    /// if it has not left.
    pub fn answered(&mut self, id: u64, answer: A) -> Option<W> {
        let place = place(&mut self.places, id)?;
        if !matches!(place.state, State::Left) {
            return None;
        }
        place.state = State::Done(answer);
        place.waiter.take()
    }

    /// What came of an operation; nothing, if it is not here.
    pub fn fetch(&mut self, id: u64) -> Option<Fetched<'_, A, W>> {
        if place(&mut self.places, id)?.is_done() {
            let State::Done(answer) = self.vacate(id)? else { return None };
            return Some(Fetched::Done(answer));
        }
        place(&mut self.places, id).map(|place| Fetched::NotYet(&mut place.waiter))
    }

    /// Nobody waits for this operation any more.
    pub fn give_up(&mut self, id: u64) -> Whereabouts {
        match self.vacate(id) {
            Some(State::Waiting(_)) => {
                self.stale += 1;
                self.forget_stale();
                Whereabouts::Waiting
            }
            Some(State::Left) => Whereabouts::Left,
            Some(State::Done(_) | State::Free) | None => Whereabouts::Gone,
        }
    }

    /// When to ask for what is [`overdue`](Self::overdue); nothing, while nobody waits for only so long.
    #[must_use]
    pub const fn alarm(&self) -> Option<Duration> {
        self.alarm
    }

    /// Ends the operations whose time is up. Who is to be woken. Looks at every place, which is why there is an alarm.
    pub fn overdue(&mut self, now: Duration, how: impl Fn(Whereabouts) -> A) -> Vec<W> {
        let is_over = |place: &Place<O, A, W>| place.until.is_some_and(|until| until <= now);
        let woken = self.finish(is_over, how);
        let unfinished = self.places.iter().filter(|place| place.whereabouts() != Whereabouts::Gone);
        self.alarm = unfinished.filter_map(|place| place.until).min();
        self.forget_stale();
        woken
    }

    /// The lane is broken for ever, and so all that is on it has ended. Who is to be woken.
    pub fn break_off(&mut self, how: impl Fn(Whereabouts) -> A) -> Vec<W> {
        self.phase = Phase::Broken;
        self.alarm = None;
        let woken = self.finish(|_| true, how);
        self.gathered = VecDeque::new();
        self.stale = 0;
        woken
    }

    fn finish(
        &mut self,
        is_over: impl Fn(&Place<O, A, W>) -> bool,
        how: impl Fn(Whereabouts) -> A,
    ) -> Vec<W> {
        let mut woken = Vec::new();
        for place in &mut self.places {
            let whereabouts = place.whereabouts();
            if whereabouts == Whereabouts::Gone || !is_over(place) {
                continue;
            }
            self.stale += usize::from(whereabouts == Whereabouts::Waiting);
            place.state = State::Done(how(whereabouts));
            woken.extend(place.waiter.take());
        }
        woken
    }

    /// Makes the place of an operation free. In which state it was; nothing, if the operation is not here.
    fn vacate(&mut self, id: u64) -> Option<State<O, A>> {
        let place = place(&mut self.places, id)?;
        let state = std::mem::replace(&mut place.state, State::Free);
        place.waiter = None;
        // Whoever speaks of the use that has ended finds nothing here.
        place.id = place.id.wrapping_add(1 << PLACE_BITS);
        self.free.push(at(id));
        Some(state)
    }

    /// When many that waited were given up, the row is closed: else it would grow while nothing can leave.
    fn forget_stale(&mut self) {
        if self.stale > self.places.len() {
            let places = &mut self.places;
            self.gathered.retain(|id| place(places, *id).is_some_and(|place| place.waits()));
            self.stale = 0;
        }
    }
}

impl<O, A, W> Place<O, A, W> {
    const fn waits(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    const fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    const fn whereabouts(&self) -> Whereabouts {
        match self.state {
            State::Waiting(_) => Whereabouts::Waiting,
            State::Left => Whereabouts::Left,
            State::Free | State::Done(_) => Whereabouts::Gone,
        }
    }
}

/// Where the place of an operation is.
const fn at(id: u64) -> usize {
    (id & ((1 << PLACE_BITS) - 1)) as usize
}

/// The place of an operation, if it is here.
fn place<O, A, W>(places: &mut [Place<O, A, W>], id: u64) -> Option<&mut Place<O, A, W>> {
    places.get_mut(at(id)).filter(|place| place.id == id && !matches!(place.state, State::Free))
}

#[cfg(test)]
mod tests;
