//! The load under way: takes lines from the source, keeps the window full, and sees to it that it can be interrupted and gone on
//! with at every moment.
//!
//! One task does it all. The SDK merges what is under way into batches, so many small writes cost no task each.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_client::{Client, Error};
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::failure::one_line;
use crate::local::interrupt::Interrupts;
use crate::progress::{self, Done, Progress};
use crate::record::{Lifetime, Record};
use crate::verbs::load::bookmark::{Mark, Place, wall_ms};
use crate::verbs::load::source::{Batch, End};
use crate::verbs::load::window::{Failed, Limits, Line, Position, Settled, Window};

/// How often the bookmark is written.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// How long after its deadline a write may still be executed: the SDK's ids are good for 2 s longer, and clocks of nodes may differ.
const STRAGGLE: Duration = Duration::from_secs(5);

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything is loaded.
    Complete,
    /// A line is wrong, as the input or as the fleet sees it.
    Wrong(Position, String),
    /// The input could not be read any further.
    Unreadable(String),
    /// The fleet took no writes for too long.
    GaveUp {
        /// Whether an unacknowledged line may have been written.
        unknown: bool,
        /// What the last failure was.
        why: String,
    },
    /// Somebody wants it to end.
    Interrupted,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Of the window.
    pub settled: Settled,
    /// Lines without a record.
    pub empty: u64,
    /// Records whose time was over when they were to be written: their keys were deleted.
    pub expired: u64,
    /// Writes that failed and were made again.
    pub repeated: u64,
    /// Everything before it is loaded.
    pub next: Position,
}

/// How it goes.
#[derive(Debug)]
pub struct Orders {
    /// How much may be under way.
    pub limits: Limits,
    /// How long one write may take.
    pub timeout: Duration,
    /// It ends when a write fails and none was acknowledged for so long.
    pub patience: Duration,
    /// Where the bookmark lies, if there is one.
    pub place: Option<Place>,
    /// Where it begins.
    pub begin: Position,
}

type Flight = Pin<Box<dyn Future<Output = (Bytes, Result<(), Error>)> + Send>>;

/// What the window does not count.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    empty: u64,
    expired: u64,
    repeated: u64,
    /// Of lines that hold no record, or were read over.
    passed_bytes: u64,
}

/// A load.
pub struct Voyage {
    client: Client,
    orders: Orders,
    source: Receiver<Batch>,
    waiting: VecDeque<Line>,
    window: Window,
    flights: FuturesUnordered<Flight>,
    /// Where the first line begins that was not yet handed over.
    next: Position,
    /// No more lines are taken, and why.
    ending: Option<Ending>,
    last_answer: Instant,
    counts: Counts,
    progress: Progress,
    marked: Instant,
    /// Why the bookmark could not be written. Said once.
    unmarked: Option<String>,
}

impl Voyage {
    /// Begins it.
    #[must_use]
    pub fn new(client: Client, orders: Orders, source: Receiver<Batch>, progress: Progress) -> Self {
        let (window, next) = (Window::new(orders.limits), orders.begin);
        Self {
            client,
            orders,
            source,
            waiting: VecDeque::new(),
            window,
            flights: FuturesUnordered::new(),
            next,
            ending: None,
            last_answer: Instant::now(),
            counts: Counts::default(),
            progress,
            marked: Instant::now(),
            unmarked: None,
        }
    }

    /// Until its end. An interruption lets the writes that are under way land; a second one does not wait for them.
    pub async fn run(mut self, interrupts: &mut Interrupts) -> (Ending, Tally, Option<String>) {
        self.mark(true);
        let mut ticks = ticks();
        loop {
            self.start();
            if let Some(ending) = self.at_end() {
                self.finish(&ending);
                return (ending, self.tally(), self.unmarked);
            }
            let wants_lines = self.ending.is_none() && self.waiting.is_empty();
            tokio::select! {
                biased;
                () = interrupts.next() => {
                    if self.ending.replace(Ending::Interrupted) == Some(Ending::Interrupted) {
                        self.flights.clear();
                    }
                    self.stop();
                }
                _ = ticks.tick() => self.tick(),
                batch = self.source.recv(), if wants_lines => self.read(batch),
                Some((key, done)) = self.flights.next() => self.land_all(&key, done),
            }
        }
    }

    /// Starts every write that may be started.
    fn start(&mut self) {
        while self.window.has_room() {
            let Some(line) = self.waiting.pop_front() else { break };
            if let Some(write) = self.window.take(line) {
                self.fly(write.record);
            }
        }
        let gives_up = matches!(self.ending, Some(Ending::GaveUp { .. } | Ending::Interrupted));
        if self.flights.is_empty() && self.window.has_doubtful() && !gives_up {
            for write in self.window.repeat() {
                self.counts.repeated += 1;
                self.fly(write.record);
            }
        }
    }

    fn fly(&mut self, record: Record) {
        let Record { key, value, lifetime } = record;
        let (client, now) = (self.client.clone(), wall_ms());
        let ttl = match lifetime {
            Lifetime::Endless => None,
            Lifetime::For(ttl) => Some(ttl.duration()),
            Lifetime::Until(ms) => Some(Duration::from_millis(ms.saturating_sub(now))),
        };
        self.flights.push(if ttl.is_some_and(|ttl| ttl.is_zero()) {
            self.counts.expired += 1;
            // As if it had been written in time, and had expired.
            Box::pin(async move { (key.clone(), client.delete(key).await.map(drop)) })
        } else {
            Box::pin(async move { (key.clone(), client.put_with_ttl(key, value, ttl).await.map(drop)) })
        });
    }

    /// How it ended, if nothing is left to do.
    fn at_end(&self) -> Option<Ending> {
        let ending = self.ending.as_ref().filter(|_| self.flights.is_empty() && self.waiting.is_empty())?;
        Some(ending.clone())
    }

    /// Takes no more lines.
    fn stop(&mut self) {
        if let Some(line) = self.waiting.front() {
            self.next = line.at;
        }
        self.waiting.clear();
        // Its thread ends when it next hands something over.
        self.source.close();
    }

    fn read(&mut self, batch: Option<Batch>) {
        let Some(batch) = batch else {
            self.ending = Some(Ending::Unreadable("its reader ended early".to_string()));
            return;
        };
        self.next = batch.next;
        self.counts.empty += batch.empty;
        self.counts.passed_bytes += batch.passed_bytes;
        self.waiting.extend(batch.lines);
        self.ending = batch.end.map(|end| match end {
            End::Complete => Ending::Complete,
            End::Unreadable(why) => Ending::Unreadable(why),
            End::Fault(fault) => {
                Ending::Wrong(batch.next, format!("column {}: {}", fault.column, fault.what))
            }
        });
    }

    /// What has landed, and whatever else has by now.
    fn land_all(&mut self, key: &Bytes, done: Result<(), Error>) {
        self.land(key, done);
        while let Some(Some((key, done))) = self.flights.next().now_or_never() {
            self.land(&key, done);
        }
    }

    fn land(&mut self, key: &Bytes, done: Result<(), Error>) {
        let (how, error) = match done {
            Ok(()) => {
                self.last_answer = Instant::now();
                if let Some(next) = self.window.acknowledged(key) {
                    self.fly(next.record);
                }
                return;
            }
            Err(error @ Error::Invalid { .. }) => return self.reject(key, &error),
            Err(error @ Error::NotExecuted { .. }) => (Failed::NotExecuted, error),
            Err(error @ Error::Unknown { .. }) => (Failed::Unknown, error),
        };
        self.window.failed(key, how);
        if self.last_answer.elapsed() >= self.orders.patience && self.ending != Some(Ending::Interrupted) {
            let unknown = self.window.is_unknown();
            self.stop();
            self.ending = Some(Ending::GaveUp { unknown, why: one_line(&error.to_string()) });
        }
    }

    /// The fleet will never take this line. The first such one is named.
    fn reject(&mut self, key: &Bytes, error: &Error) {
        self.last_answer = Instant::now();
        let at = self.window.rejected(key);
        self.stop();
        match &self.ending {
            Some(Ending::Interrupted | Ending::GaveUp { .. }) => {}
            Some(Ending::Wrong(before, _)) if *before < at => {}
            _ => self.ending = Some(Ending::Wrong(at, one_line(&error.to_string()))),
        }
    }

    fn tick(&mut self) {
        let settled = self.window.settled();
        let records = settled.written + settled.superseded;
        let bytes = self.orders.begin.offset + self.counts.passed_bytes + settled.bytes;
        self.progress.draw(Done { records, bytes });
        if self.marked.elapsed() >= MARK_EVERY {
            self.mark(true);
        }
    }

    /// Everything before it is loaded.
    fn settled_to(&self) -> Position {
        let first_waiting = self.waiting.front().map(|line| line.at);
        self.window.first_open().or(first_waiting).unwrap_or(self.next)
    }

    fn mark(&mut self, under_way: bool) {
        self.marked = Instant::now();
        let Some(place) = &self.orders.place else { return };
        let open = MARK_EVERY * 2 + self.orders.timeout + STRAGGLE;
        let open_until_ms = if under_way { wall_ms() + open.as_millis() as u64 } else { 0 };
        if let Err(error) = place.write(Mark { at: self.settled_to(), open_until_ms }) {
            let said = format!("{} cannot be written: {error}", place.path().display());
            self.unmarked.get_or_insert(said);
        }
    }

    fn finish(&mut self, ending: &Ending) {
        self.progress.clear();
        match (&self.orders.place, ending) {
            (Some(place), Ending::Complete) => {
                if let Err(error) = place.remove() {
                    self.unmarked = Some(format!("{} cannot be removed: {error}", place.path().display()));
                }
            }
            // What was refused surely is over; what is unknown, or was not waited for, is not.
            _ => self.mark(self.window.is_unknown() || self.window.is_busy()),
        }
    }

    fn tally(&self) -> Tally {
        let Counts { empty, expired, repeated, .. } = self.counts;
        Tally { settled: self.window.settled(), empty, expired, repeated, next: self.settled_to() }
    }
}

/// Often enough for the eye; late ones are left out.
fn ticks() -> Interval {
    let mut ticks = interval(progress::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
