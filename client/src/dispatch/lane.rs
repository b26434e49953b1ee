//! One lane: what has gathered for one address, and what has left and was not answered yet.
//!
//! ```text
//!            join()                leave()               answered()
//!  caller ──────────▶ waiting ───────────────▶ left ──────────────▶ its waiter
//!                        │                      │
//!                        │ give_up(), break_off()
//!                        ▼                      ▼
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
//! What it does not do: I/O. `O` is what is sent, `W` is who waits for the answer; neither is looked at.

use std::collections::BTreeMap;

use flotilla_proto::limits::{BATCH_BYTES_MAX, PIPELINE_OPERATIONS_MAX};

/// A message is not filled further once it has so many bytes: the other side can then begin with it while the next one is made.
const MESSAGE_BYTES_AIM: usize = 256 * 1024;

const _: () = assert!(MESSAGE_BYTES_AIM <= BATCH_BYTES_MAX);

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

/// The operations of one lane.
#[derive(Debug)]
pub struct Lane<O, W> {
    phase: Phase,
    under_way: BTreeMap<u64, UnderWay<O, W>>,
    /// The id of the last one that joined.
    last: u64,
    /// All ids below it have left.
    first_waiting: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The other side has not agreed yet: operations join, none leaves.
    Opening,
    Open,
    Broken,
}

#[derive(Debug)]
struct UnderWay<O, W> {
    /// Nothing: it has left.
    operation: Option<O>,
    bytes: usize,
    waiter: W,
}

impl<O, W> Default for Lane<O, W> {
    fn default() -> Self {
        Self { phase: Phase::Opening, under_way: BTreeMap::new(), last: 0, first_waiting: 1 }
    }
}

impl<O, W> Lane<O, W> {
    /// Takes an operation. Returns its id; nothing, if the lane is broken: it is surely not executed.
    pub fn join(&mut self, operation: O, bytes: usize, waiter: W) -> Option<u64> {
        if self.phase == Phase::Broken {
            return None;
        }
        self.last += 1;
        let entry = UnderWay { operation: Some(operation), bytes, waiter };
        self.under_way.insert(self.last, entry);
        Some(self.last)
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
        let mut message = Vec::new();
        if self.phase != Phase::Open {
            return message;
        }
        let mut bytes = 0_usize;
        for (id, entry) in self.under_way.range_mut(self.first_waiting..) {
            let with = bytes.saturating_add(entry.bytes);
            let full = bytes >= MESSAGE_BYTES_AIM || message.len() >= PIPELINE_OPERATIONS_MAX;
            if full || (with > BATCH_BYTES_MAX && !message.is_empty()) {
                break;
            }
            bytes = with;
            message.extend(entry.operation.take().map(|operation| (*id, operation)));
            self.first_waiting = id + 1;
        }
        message
    }

    /// An answer has come. Who waits for it; nothing, if nobody does (it was given up), if it was answered before, or if
    /// nobody has asked yet.
    pub fn answered(&mut self, id: u64) -> Option<W> {
        if id >= self.first_waiting {
            return None;
        }
        self.under_way.remove(&id).map(|entry| entry.waiter)
    }

    /// Nobody waits for this operation any more.
    pub fn give_up(&mut self, id: u64) -> Whereabouts {
        match self.under_way.remove(&id) {
            None => Whereabouts::Gone,
            Some(entry) if entry.operation.is_some() => Whereabouts::Waiting,
            Some(_) => Whereabouts::Left,
        }
    }

    /// The lane is broken for ever. Everyone who waits, and where their operations were.
    pub fn break_off(&mut self) -> Vec<(W, Whereabouts)> {
        self.phase = Phase::Broken;
        let whereabouts = |entry: &UnderWay<O, W>| match entry.operation {
            Some(_) => Whereabouts::Waiting,
            None => Whereabouts::Left,
        };
        let under_way = std::mem::take(&mut self.under_way);
        under_way
            .into_values()
            .map(|entry| (whereabouts(&entry), entry))
            .map(|(at, it)| (it.waiter, at))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Story = Lane<&'static str, char>;

    fn open() -> Story {
        let mut lane = Story::default();
        lane.open();
        lane
    }

    #[test]
    fn what_gathers_leaves_together_in_order() {
        let mut lane = open();
        assert!(lane.leave().is_empty());
        assert_eq!(lane.join("put a", 1, 'a'), Some(1));
        assert_eq!(lane.leave(), [(1, "put a")], "a lone one leaves at once");
        lane.join("put b", 1, 'b');
        lane.join("put c", 1, 'c');
        assert_eq!(lane.leave(), [(2, "put b"), (3, "put c")]);
        assert!(lane.leave().is_empty(), "nothing leaves twice");
    }

    #[test]
    fn answers_find_their_waiters_in_any_order_and_once() {
        let mut lane = open();
        for waiter in ['a', 'b', 'c'] {
            lane.join("put", 1, waiter);
        }
        assert_eq!(lane.answered(2), None, "an answer to what was not asked is none");
        lane.leave();
        assert_eq!([lane.answered(3), lane.answered(1), lane.answered(2)], [Some('c'), Some('a'), Some('b')]);
        assert_eq!([lane.answered(3), lane.answered(0), lane.answered(99)], [None; 3]);
    }

    #[test]
    fn nothing_leaves_before_the_other_side_agreed() {
        let mut lane = Story::default();
        lane.join("put", 1, 'a');
        assert!(lane.leave().is_empty());
        lane.open();
        assert_eq!(lane.leave().len(), 1);
    }

    #[test]
    fn what_was_given_up_while_it_waited_never_leaves() {
        let mut lane = open();
        lane.join("left", 1, 'a');
        lane.leave();
        let waiting = lane.join("waiting", 1, 'b').unwrap();
        lane.join("other", 1, 'c');
        assert_eq!(lane.give_up(waiting), Whereabouts::Waiting);
        assert_eq!(lane.give_up(1), Whereabouts::Left);
        assert_eq!(lane.give_up(1), Whereabouts::Gone);
        assert_eq!(lane.leave(), [(3, "other")]);
        assert_eq!(lane.answered(1), None, "its answer comes too late");
    }

    #[test]
    fn a_break_ends_all_and_says_what_may_have_happened() {
        let mut lane = open();
        lane.join("one", 1, 'a');
        lane.leave();
        lane.join("two", 1, 'b');
        assert_eq!(lane.break_off(), [('a', Whereabouts::Left), ('b', Whereabouts::Waiting)]);
        assert_eq!(lane.join("three", 1, 'c'), None);
        assert!(lane.is_broken() && lane.leave().is_empty() && lane.break_off().is_empty());
        lane.open();
        assert!(lane.is_broken(), "it is not opened again");
    }

    #[test]
    fn a_message_is_bounded_in_operations_and_bytes() {
        let mut lane = open();
        for _ in 0..=PIPELINE_OPERATIONS_MAX {
            lane.join("small", 1, 's');
        }
        assert_eq!(lane.leave().len(), PIPELINE_OPERATIONS_MAX);
        assert_eq!(lane.leave().len(), 1);

        for bytes in [MESSAGE_BYTES_AIM - 1, 1, 1, BATCH_BYTES_MAX, BATCH_BYTES_MAX, 1] {
            lane.join("large", bytes, 'l');
        }
        let sizes: Vec<usize> =
            std::iter::from_fn(|| Some(lane.leave().len()).filter(|len| *len > 0)).collect();
        assert_eq!(
            sizes,
            [2, 1, 1, 1, 1],
            "a full one is not filled further, and none is larger than a batch"
        );
    }
}
