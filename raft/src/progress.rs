//! How far one follower is, in its leader's eyes, and what may be sent to it now.
//!
//! ```text
//!            acknowledged / probe confirmed              previous entry is compacted
//!   Probe ────────────────────────────────▶ Replicate ───────────────┐
//!     ▲ ▲        rejected, lost, unreachable │  ▲                     ▼
//!     │ └────────────────────────────────────┘  │ acknowledged    Snapshot
//!     └─────────────────────────────────────────┼───────────────────┘
//!                  the host's stream ended      └────── from the log after all
//! ```
//!
//! *Probe* sends one append and waits, until it is known where the logs agree. *Replicate* sends ahead of the
//! answers, within a window. *Snapshot* sends nothing: the host streams one.

use std::collections::VecDeque;

use crate::id::Index;
use crate::message::Round;
use crate::options::Options;
use crate::status::ProgressKind;
use crate::support::SupportNumber;
use crate::time::Time;

#[derive(Debug)]
pub(crate) struct Progress {
    /// Everything up to here is durable at the follower and equal to the leader's log.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    /// When it was last heard in this term.
    pub(crate) heard: Time,
    /// The last round of heartbeats that it answered.
    pub(crate) round: Round,
    /// The number under which its node supports ours, as it acknowledged in this term.
    pub(crate) support: Option<SupportNumber>,
    /// It sleeps, under this number of its node, and since the leader last asked it to.
    pub(crate) asleep: Option<SupportNumber>,
    state: State,
}

#[derive(Debug)]
enum State {
    Probe(Probe),
    Replicate(Window),
    Snapshot,
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    /// May be sent.
    Due,
    /// Waits for a sign of life: sending into a broken connection is of no use.
    Held,
    /// Under way, up to this index and with so many bytes.
    Sent(Index, u64),
}

impl Progress {
    /// A follower of which nothing is known: the first probe asks about the entry before `next`.
    pub(crate) const fn new(next: Index, now: Time) -> Self {
        Self {
            matched: Index(0),
            next,
            heard: now,
            round: Round(0),
            support: None,
            asleep: None,
            state: State::Probe(Probe::Due),
        }
    }

    pub(crate) const fn kind(&self) -> ProgressKind {
        match self.state {
            State::Probe(_) => ProgressKind::Probe,
            State::Replicate(_) => ProgressKind::Replicate,
            State::Snapshot => ProgressKind::Snapshot,
        }
    }

    /// Whether an append may be sent now, the log's last index being `last`.
    pub(crate) fn may_send(&self, last: Index, options: &Options) -> bool {
        match &self.state {
            State::Probe(probe) => matches!(probe, Probe::Due),
            State::Replicate(window) => self.next <= last && !window.is_full(options),
            State::Snapshot => false,
        }
    }

    /// The last index that the follower must have seen, if nothing was lost.
    pub(crate) fn sent(&self) -> Index {
        match &self.state {
            State::Probe(Probe::Sent(last, _)) => *last,
            State::Replicate(_) => self.next.previous(),
            State::Probe(Probe::Due | Probe::Held) | State::Snapshot => self.matched,
        }
    }

    /// An append left, whose last entry (or, without entries, whose previous one) is `last`.
    pub(crate) fn on_sent(&mut self, last: Index, bytes: u64) {
        match &mut self.state {
            State::Probe(probe) => *probe = Probe::Sent(last, bytes),
            State::Replicate(window) => {
                window.add(last, bytes);
                self.next = last.next();
            }
            State::Snapshot => unreachable!("an append up to {last} was sent in snapshot state"),
        }
    }

    /// The entry before `next` is compacted: a snapshot has to be sent.
    pub(crate) fn needs_snapshot(&mut self) {
        self.state = State::Snapshot;
    }

    /// The follower acknowledged everything up to `matched`. Of the leader's log everything after `compacted`
    /// can be sent.
    pub(crate) fn on_matched(&mut self, matched: Index, compacted: Index) {
        self.matched = self.matched.max(matched);
        match &mut self.state {
            State::Probe(_) if matched < self.next.previous() => {}
            // A plain reply shows that the log suffices after all: the host's stream may have failed, or was
            // never needed.
            State::Snapshot if self.matched < compacted => {}
            State::Probe(_) | State::Snapshot => self.replicate(),
            State::Replicate(window) => {
                window.free(self.matched);
                self.next = self.next.max(self.matched.next());
            }
        }
    }

    /// The logs are known to agree: sends ahead from here on, after what the probe carried.
    fn replicate(&mut self) {
        let mut window = Window::default();
        self.next = self.matched.next();
        if let State::Probe(Probe::Sent(last, bytes)) = self.state
            && last > self.matched
        {
            window.add(last, bytes);
            self.next = last.next();
        }
        self.state = State::Replicate(window);
    }

    /// The follower does not hold what precedes the entries after `previous`; the logs may agree at
    /// `candidate` at best. Returns whether that was news.
    pub(crate) fn on_rejected(&mut self, previous: Index, candidate: Index) -> bool {
        let news = match &self.state {
            // Answers to appends that left before the probe tell nothing new.
            State::Probe(_) => previous == self.next.previous() && previous > self.matched,
            State::Replicate(_) => previous > self.matched,
            State::Snapshot => false,
        };
        if news {
            self.next = candidate.min(previous.previous()).max(self.matched).next();
            self.state = State::Probe(Probe::Due);
        }
        news
    }

    /// The follower answered a heartbeat. It had been sent everything up to `sent`, and has accepted the log
    /// up to `accepted`. Returns whether something has to be sent again.
    pub(crate) fn on_heartbeat_reply(&mut self, sent: Index, accepted: Index) -> bool {
        let lost = accepted < sent;
        match &mut self.state {
            State::Replicate(_) if lost => {
                self.next = accepted.max(self.matched).next();
                self.state = State::Probe(Probe::Due);
                true
            }
            State::Probe(probe @ Probe::Sent(..)) if lost => {
                *probe = Probe::Due;
                true
            }
            State::Probe(probe @ Probe::Held) => {
                *probe = Probe::Due;
                true
            }
            State::Probe(_) | State::Replicate(_) | State::Snapshot => false,
        }
    }

    /// The connection broke: what is under way may be lost, and it is unknown whether anything arrives.
    pub(crate) fn on_unreachable(&mut self) {
        if !matches!(self.state, State::Snapshot) {
            self.hold_at(self.matched);
        }
    }

    /// The host's stream ended, with the follower at `delivered`, or with a failure.
    pub(crate) fn on_snapshot_done(&mut self, delivered: Option<Index>) {
        if !matches!(self.state, State::Snapshot) {
            return;
        }
        match delivered {
            Some(index) => {
                self.next = index.max(self.matched).next();
                self.state = State::Probe(Probe::Due);
            }
            // The next snapshot waits for a sign of life: a dead follower must not make the leader build one
            // after the other.
            None => self.hold_at(self.matched),
        }
    }

    fn hold_at(&mut self, known: Index) {
        self.next = known.next();
        self.state = State::Probe(Probe::Held);
    }
}

/// The appends on the way to a follower in replicate state, oldest first.
#[derive(Debug, Default)]
struct Window {
    /// The last index and the bytes of each.
    appends: VecDeque<(Index, u64)>,
    bytes: u64,
}

impl Window {
    fn is_full(&self, options: &Options) -> bool {
        self.appends.len() >= options.inflight_count_max || self.bytes >= options.inflight_bytes_max
    }

    fn add(&mut self, last: Index, bytes: u64) {
        self.appends.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// Everything up to `matched` has arrived.
    fn free(&mut self, matched: Index) {
        while let Some((last, bytes)) = self.appends.front()
            && *last <= matched
        {
            self.bytes -= bytes;
            self.appends.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options { inflight_count_max: 3, inflight_bytes_max: 100, ..Options::default() }
    }

    fn replicating(matched: u64) -> Progress {
        let mut progress = Progress::new(Index(matched + 1), Time(0));
        progress.on_matched(Index(matched), Index(0));
        progress
    }

    #[test]
    fn a_probe_is_sent_once() {
        let mut progress = Progress::new(Index(5), Time(0));
        assert!(progress.may_send(Index(4), &options()), "also without entries");
        progress.on_sent(Index(4), 0);
        assert!(!progress.may_send(Index(9), &options()));
        progress.on_matched(Index(3), Index(0));
        assert_eq!(
            progress.kind(),
            ProgressKind::Probe,
            "an older acknowledgement does not answer the probe"
        );
        progress.on_matched(Index(4), Index(0));
        assert_eq!((progress.kind(), progress.next), (ProgressKind::Replicate, Index(5)));
    }

    #[test]
    fn what_a_probe_carried_is_not_sent_twice() {
        let mut progress = Progress::new(Index(5), Time(0));
        progress.on_sent(Index(8), 90);
        progress.on_matched(Index(4), Index(0));
        assert_eq!(progress.next, Index(9), "the logs agree up to 4, and 5 to 8 arrived in the same message");
        progress.on_sent(Index(9), 20);
        assert!(!progress.may_send(Index(20), &options()), "they count in the window");
        progress.on_matched(Index(8), Index(0));
        assert!(progress.may_send(Index(20), &options()));
    }

    #[test]
    fn the_window_closes_by_count_and_by_bytes() {
        let mut progress = replicating(0);
        for index in 1..=3 {
            assert!(progress.may_send(Index(9), &options()));
            progress.on_sent(Index(index), 10);
        }
        assert!(!progress.may_send(Index(9), &options()), "three are on the way");
        progress.on_matched(Index(1), Index(0));
        assert!(progress.may_send(Index(9), &options()));
        progress.on_sent(Index(4), 500);
        progress.on_matched(Index(3), Index(0));
        assert!(!progress.may_send(Index(9), &options()), "one is on the way, but it is large");
        progress.on_matched(Index(4), Index(0));
        assert!(progress.may_send(Index(9), &options()));
        assert!(!progress.may_send(Index(4), &options()), "nothing to send");
    }

    #[test]
    fn old_rejections_are_ignored() {
        let mut progress = replicating(5);
        progress.on_sent(Index(8), 10);
        progress.on_sent(Index(10), 10);
        assert!(!progress.on_rejected(Index(5), Index(3)), "5 is acknowledged");
        assert!(progress.on_rejected(Index(8), Index(7)));
        assert_eq!((progress.kind(), progress.next), (ProgressKind::Probe, Index(8)));
        assert!(!progress.on_rejected(Index(10), Index(7)), "not what the probe asked");
        assert!(progress.on_rejected(Index(7), Index(1)));
        assert_eq!(progress.next, Index(6), "never behind what is acknowledged");
    }

    #[test]
    fn a_heartbeat_reply_finds_what_was_lost() {
        let mut progress = replicating(5);
        progress.on_sent(Index(8), 10);
        progress.on_sent(Index(10), 10);
        assert!(!progress.on_heartbeat_reply(Index(8), Index(8)), "10 left after that heartbeat");
        assert!(progress.on_heartbeat_reply(Index(10), Index(8)), "10 is lost");
        assert_eq!(
            (progress.kind(), progress.next),
            (ProgressKind::Probe, Index(9)),
            "only that is sent again"
        );
    }

    #[test]
    fn after_a_broken_connection_a_sign_of_life_is_awaited() {
        let mut progress = replicating(5);
        progress.on_sent(Index(8), 10);
        progress.on_unreachable();
        assert!(!progress.may_send(Index(9), &options()));
        assert!(progress.on_heartbeat_reply(progress.sent(), Index(8)));
        assert!(progress.may_send(Index(9), &options()));
        assert_eq!(progress.next, Index(6));
    }

    #[test]
    fn snapshot_state_ends_by_delivery_failure_or_a_plain_reply() {
        let in_snapshot = || {
            let mut progress = replicating(5);
            progress.needs_snapshot();
            assert!(!progress.may_send(Index(30), &options()));
            progress
        };
        let mut progress = in_snapshot();
        progress.on_snapshot_done(Some(Index(20)));
        assert_eq!((progress.kind(), progress.next), (ProgressKind::Probe, Index(21)));

        let mut progress = in_snapshot();
        progress.on_snapshot_done(None);
        assert!(!progress.may_send(Index(30), &options()), "waits for a sign of life");
        assert!(progress.on_heartbeat_reply(Index(5), Index(5)));

        let mut progress = in_snapshot();
        progress.on_matched(Index(9), Index(10));
        assert_eq!(progress.kind(), ProgressKind::Snapshot, "entry 10 is compacted");
        progress.on_matched(Index(10), Index(10));
        assert_eq!((progress.kind(), progress.next), (ProgressKind::Replicate, Index(11)));
    }
}
