//! Who may come next: all operations that have not been placed and began before the first of those ended.
//!
//! The list of Lowe's algorithm: beginnings and ends in their order, from which placed operations are lifted and to which
//! they return, in the reverse order, in constant time.

use crate::operation::Moment;

/// Stands before the first event.
const HEAD: usize = 0;

/// Beginnings and ends of the operations that have not been placed.
#[derive(Debug)]
pub(crate) struct Order {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where each operation begins and ends; one of unknown outcome never does.
    places: Vec<(usize, Option<usize>)>,
}

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Head,
    Begins(usize),
    Ends,
}

impl Order {
    /// Of operations that begin and end at these moments.
    pub(crate) fn new(spans: &[(Moment, Option<Moment>)]) -> Self {
        let mut all: Vec<(Moment, bool, usize)> = Vec::new();
        for (operation, (begin, end)) in spans.iter().enumerate() {
            all.push((*begin, false, operation));
            all.extend(end.map(|end| (end, true, operation)));
        }
        // At one moment beginnings come first: who meets there, overlaps.
        all.sort_unstable();
        let count = all.len() + 1;
        let mut events = vec![Event::Head];
        let mut places = vec![(HEAD, None); spans.len()];
        for (at, (_, ends, operation)) in all.into_iter().enumerate() {
            if ends {
                places[operation].1 = Some(at + 1);
                events.push(Event::Ends);
            } else {
                places[operation].0 = at + 1;
                events.push(Event::Begins(operation));
            }
        }
        let next = (0..count).map(|at| (at + 1) % count).collect();
        let previous = (0..count).map(|at| (at + count - 1) % count).collect();
        Self { events, next, previous, places }
    }

    /// Before everybody.
    pub(crate) const fn start() -> Place {
        Place(HEAD)
    }

    /// Where an operation stands that has not been placed.
    pub(crate) fn place(&self, operation: usize) -> Place {
        Place(self.places[operation].0)
    }

    /// The place right before an operation that has not been placed.
    pub(crate) fn before(&self, operation: usize) -> Place {
        Place(self.previous[self.places[operation].0])
    }

    /// The next one after a place who may be next, if there is another.
    pub(crate) fn after(&self, place: Place) -> Option<usize> {
        match self.events[self.next[place.0]] {
            Event::Begins(operation) => Some(operation),
            Event::Ends | Event::Head => None,
        }
    }

    /// All who may be next.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = usize> {
        let next = |operation: &usize| self.after(self.place(*operation));
        std::iter::successors(self.after(Self::start()), next)
    }

    /// An operation has been placed.
    pub(crate) fn lift(&mut self, operation: usize) {
        let (begin, end) = self.places[operation];
        [Some(begin), end].into_iter().flatten().for_each(|at| {
            let (previous, next) = (self.previous[at], self.next[at]);
            self.next[previous] = next;
            self.previous[next] = previous;
        });
    }

    /// The operation that was lifted last returns.
    pub(crate) fn restore(&mut self, operation: usize) {
        let (begin, end) = self.places[operation];
        [end, Some(begin)].into_iter().flatten().for_each(|at| {
            let (previous, next) = (self.previous[at], self.next[at]);
            self.next[previous] = at;
            self.previous[next] = at;
        });
    }
}
