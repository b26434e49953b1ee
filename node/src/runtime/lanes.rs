//! Lanes: one stream of a client, with thousands of questions under way and one queue of answers.
//!
//! ```text
//!   workers, readers ── answers of one turn ──► lane ── all that is there, at once ──► the stream's task
//! ```
//!
//! A single question has a place of its own and wakes its own task (`tokens.rs`). That is too dear for a stream of
//! thousands: here a token is the number of the lane and the number that the stream gave to its question, drawing one
//! costs nothing, the answers of one turn come under one lock, and the stream is woken once for all of them.
//!
//! A queue of answers is as long as its stream has questions, which the stream bounds. What they hold is bounded here:
//! values that a client does not fetch are let go (see [`ANSWER_BYTES_MAX`]).
//!
//! What it does not do: it does not know what was asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use flotilla_store::Outcome;
use futures_util::task::AtomicWaker;

use super::tokens::{Ended, Tokens};
use crate::host::{Answer, Refusal, Token};

/// How many bytes of values wait in one lane. Beyond that, reads are answered with RESOURCE_EXHAUSTED instead of their
/// value, failed comparisons and transactions without theirs: nothing else can be taken back once it is executed.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Set in the tokens of lanes.
const LANE: u64 = 1 << 63;
/// How many questions one lane can number.
pub const QUESTION_BITS: u32 = 24;

/// A question's number within its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question(pub u32);

/// The queue of answers of one stream.
#[derive(Debug)]
pub struct Lane {
    number: u64,
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    answers: Vec<(Question, Answer)>,
    /// What the values among them take.
    bytes: usize,
    /// How many questions have not been answered.
    waiting: usize,
    ended: bool,
}

/// The end of a lane where questions are asked. Dropped, it closes the lane: late answers find nobody.
#[derive(Debug)]
pub struct Asker {
    lane: Arc<Lane>,
    tokens: Arc<Tokens>,
}

impl Lane {
    pub(super) fn new(number: u64) -> Self {
        assert!(number < 1 << (63 - QUESTION_BITS), "{number} lanes were opened");
        Self { number, state: Mutex::default(), waker: AtomicWaker::new() }
    }

    /// The lane and the question that a token means, if it is one of a lane.
    pub(super) fn of(token: Token) -> Option<(u64, Question)> {
        let question = u32::try_from(token.0 & ((1 << QUESTION_BITS) - 1)).unwrap_or(u32::MAX);
        (token.0 & LANE != 0).then_some(((token.0 & !LANE) >> QUESTION_BITS, Question(question)))
    }

    /// Takes answers in, and wakes the stream if it may be asleep.
    pub(super) fn push(&self, mut answers: Vec<(Question, Answer)>) {
        let mut state = self.lock();
        for (_, answer) in &mut answers {
            let bytes = value_bytes(answer);
            if bytes > 0 && state.bytes + bytes > ANSWER_BYTES_MAX {
                let_go(answer);
            } else {
                state.bytes += bytes;
            }
        }
        state.waiting = state.waiting.saturating_sub(answers.len());
        let first = state.answers.is_empty();
        if first {
            state.answers = answers;
        } else {
            state.answers.append(&mut answers);
        }
        drop(state);
        // Whoever finds answers already there knows that the stream was woken and has not yet come.
        if first {
            self.waker.wake();
        }
    }

    /// There will be no more answers.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.waker.wake();
    }

    /// How many questions have not been answered.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asker {
    pub(super) const fn new(lane: Arc<Lane>, tokens: Arc<Tokens>) -> Self {
        Self { lane, tokens }
    }

    /// What goes into a question. Its number may be used again once its answer has come.
    #[must_use]
    pub fn token(&self, question: Question) -> Token {
        assert!(question.0 < 1 << QUESTION_BITS, "{} questions in one lane", question.0);
        Token(LANE | (self.lane.number << QUESTION_BITS) | u64::from(question.0))
    }

    /// So many questions are about to be asked.
    pub fn asks(&self, questions: usize) {
        self.lane.lock().waiting += questions;
    }

    /// All answers that are there, in exchange for an empty queue. [`Ended`]: the node has ended, and no other will
    /// come.
    pub fn poll_answers(
        &self,
        context: &Context<'_>,
        into: &mut Vec<(Question, Answer)>,
    ) -> Poll<Result<(), Ended>> {
        // First the waker, then the look: an answer in between wakes us.
        self.lane.waker.register(context.waker());
        let mut state = self.lane.lock();
        if !state.answers.is_empty() {
            state.bytes = 0;
            into.append(&mut state.answers);
            return Poll::Ready(Ok(()));
        }
        if state.ended { Poll::Ready(Err(Ended)) } else { Poll::Pending }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.tokens.close_lane(self.lane.number);
    }
}

/// What the value in an answer takes, in bytes.
#[must_use]
pub fn value_bytes(answer: &Answer) -> usize {
    match answer {
        Answer::Got(_, Some(record)) | Answer::Written(_, Outcome::Conflict { current: Some(record) }) => {
            record.value.len()
        }
        Answer::Written(_, Outcome::Txn(txn)) => txn.value_bytes(),
        _ => 0,
    }
}

/// Lets the value in an answer go, and says truthfully so.
fn let_go(answer: &mut Answer) {
    *answer = match answer {
        // A read has no effect: it is as if it had not been executed.
        Answer::Got(served, _) => {
            let what = "the stream's queue of unread results";
            Answer::Refused(Refusal::Overloaded { shard: served.shard, what })
        }
        Answer::Written(served, Outcome::Txn(txn)) => {
            let outcome = Outcome::Txn(txn.clone().with_values_of_at_most(0));
            Answer::Written(*served, outcome)
        }
        Answer::Written(served, Outcome::Conflict { current: Some(record) }) => {
            Answer::Written(*served, Outcome::ConflictForgotten { version: record.version })
        }
        _ => return,
    };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use bytes::Bytes;
    use flotilla_raft::Term;
    use flotilla_store::{Record, TxnOutcome, TxnResult};
    use flotilla_topology::ShardId;

    use super::*;
    use crate::host::{Reply, Served};

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn stage(generation: u64) -> Answer {
        Answer::Stage { generation }
    }

    fn taken(asker: &Asker, waker: &Waker) -> Vec<u32> {
        let mut answers = Vec::new();
        match asker.poll_answers(&Context::from_waker(waker), &mut answers) {
            Poll::Ready(Ok(())) | Poll::Pending => answers.iter().map(|(question, _)| question.0).collect(),
            Poll::Ready(Err(Ended)) => panic!("the lane has ended"),
        }
    }

    #[test]
    fn the_answers_of_one_turn_come_together_and_wake_once() {
        let tokens = Arc::new(Tokens::default());
        let (left, right) = (tokens.open_lane(), tokens.open_lane());
        let (bell, silent) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let (waker, silent_waker) = (Waker::from(Arc::clone(&bell)), Waker::from(Arc::clone(&silent)));
        left.asks(3);
        right.asks(1);
        assert_eq!(tokens.waiting(), 4);
        assert!(taken(&left, &waker).is_empty() && taken(&right, &silent_waker).is_empty());
        let turn = [5, 3, 4].map(|number| Reply { token: left.token(Question(number)), answer: stage(1) });
        tokens.answer_all(turn);
        assert_eq!(bell.0.load(Ordering::SeqCst), 1, "one turn wakes once");
        assert_eq!(silent.0.load(Ordering::SeqCst), 0, "the answers are for the other lane");
        assert_eq!(taken(&left, &waker), [5, 3, 4]);
        tokens.answer(right.token(Question(0)), stage(2));
        assert_eq!(taken(&right, &silent_waker), [0]);
        assert_eq!(tokens.waiting(), 0);
    }

    #[test]
    fn replies_to_lanes_and_to_single_questions_mix() {
        let tokens = Arc::new(Tokens::default());
        let (left, right) = (tokens.open_lane(), tokens.open_lane());
        let mut single = tokens.draw();
        let bell = Waker::from(Arc::new(Bell::default()));
        let named = [
            left.token(Question(1)),
            right.token(Question(1)),
            single.token(),
            left.token(Question(2)),
            left.token(Question(3)),
        ];
        tokens.answer_all(named.map(|token| Reply { token, answer: stage(9) }));
        assert_eq!(taken(&left, &bell), [1, 2, 3]);
        assert_eq!(taken(&right, &bell), [1]);
        let answered = std::pin::Pin::new(&mut single).poll(&mut Context::from_waker(&bell));
        assert!(matches!(answered, Poll::Ready(Ok(Answer::Stage { generation: 9 }))), "{answered:?}");
    }

    #[test]
    fn a_closed_lane_leaves_nothing_and_its_late_answers_reach_no_other() {
        let tokens = Arc::new(Tokens::default());
        let bell = Waker::from(Arc::new(Bell::default()));
        let gone = tokens.open_lane();
        gone.asks(2);
        let late = gone.token(Question(0));
        drop(gone);
        assert_eq!(tokens.waiting(), 0);
        let next = tokens.open_lane();
        assert_ne!(next.token(Question(0)), late);
        tokens.answer(late, stage(1));
        tokens.answer_all([Reply { token: late, answer: stage(1) }]);
        assert!(taken(&next, &bell).is_empty(), "another lane got the late answer");
    }

    #[test]
    fn the_end_is_told_after_the_last_answer() {
        let tokens = Arc::new(Tokens::default());
        let bell = Waker::from(Arc::new(Bell::default()));
        let lane = tokens.open_lane();
        tokens.answer(lane.token(Question(7)), stage(1));
        tokens.end();
        assert_eq!(taken(&lane, &bell), [7]);
        let mut none = Vec::new();
        let ended = lane.poll_answers(&Context::from_waker(&bell), &mut none);
        assert_eq!(ended, Poll::Ready(Err(Ended)));
    }

    fn transaction(read: Record) -> TxnOutcome {
        let results = vec![TxnResult::Got(Some(read))];
        TxnOutcome { succeeded: true, version: 7, results, values_forgotten: false }
    }

    #[test]
    fn values_that_nobody_fetches_are_let_go_and_writes_keep_their_outcome() {
        const VALUE_BYTES: usize = 1 << 20;
        let served = Served {
            shard: ShardId(3),
            term: Term(1),
            time_ms: 1,
            version: 9,
            lag_entries: None,
            silence_ms: 0,
        };
        let record = || Record { value: Bytes::from(vec![7; VALUE_BYTES]), version: 5, expires_ms: None };
        let got = || Answer::Got(served, Some(record()));
        let lane = Lane::new(0);
        let fitting = ANSWER_BYTES_MAX / VALUE_BYTES;
        lane.push((0..fitting).map(|_| (Question(0), got())).collect());
        let conflict = Answer::Written(served, Outcome::Conflict { current: Some(record()) });
        let written = Answer::Written(served, Outcome::Written { version: 6 });
        let txn = Answer::Written(served, Outcome::Txn(transaction(record())));
        lane.push([got(), conflict, txn, written].map(|answer| (Question(1), answer)).into());
        let held: Vec<Answer> = lane.lock().answers.drain(..).map(|(_, answer)| answer).collect();
        assert!(held[..fitting].iter().all(|answer| value_bytes(answer) == VALUE_BYTES));
        let [Answer::Refused(refusal), forgotten, txn, written] = &held[fitting..] else {
            panic!("{held:?}")
        };
        assert!(refusal.definite(), "a read has no effect");
        assert!(matches!(forgotten, Answer::Written(_, Outcome::ConflictForgotten { version: 5 })));
        let Answer::Written(_, Outcome::Txn(txn)) = txn else { panic!("{txn:?}") };
        assert!(txn.values_forgotten && txn.succeeded);
        assert!(matches!(written, Answer::Written(_, Outcome::Written { version: 6 })));
    }
}
