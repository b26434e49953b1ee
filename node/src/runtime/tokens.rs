//! Who waits for which answer.
//!
//! A token is drawn for each question, goes through a worker, and comes back once with the answer, from any thread.
//! Who no longer wants the answer drops its future, and the place is free at once: the answer then finds nobody.
//!
//! Places are reused, so a token also says which use of its place it means: `0 ‖ generation ‖ place ‖ drawer`. The
//! places are spread over drawers, each with a lock of its own, so that threads seldom meet. A token that begins with a
//! 1 belongs to a lane (`lanes.rs`), which takes the answers of a whole stream.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::lanes::{Asker, Lane, Question};
use crate::host::{Answer, Reply, Token};

const DRAWER_BITS: u32 = 4;
const PLACE_BITS: u32 = 28;
/// Generations wrap around below the bit that tells lanes.
const GENERATION_MASK: u32 = u32::MAX >> 1;
const DRAWERS: usize = 1 << DRAWER_BITS;

/// All who wait.
#[derive(Debug, Default)]
pub struct Tokens {
    drawers: [Mutex<Drawer>; DRAWERS],
    next: AtomicUsize,
    lanes: RwLock<HashMap<u64, Arc<Lane>>>,
    next_lane: AtomicU64,
}

#[derive(Debug, Default)]
struct Drawer {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    sender: Option<oneshot::Sender<Answer>>,
}

impl Place {
    /// The tokens of the present use mean nothing any more.
    const fn retire(&mut self) {
        self.generation = self.generation.wrapping_add(1) & GENERATION_MASK;
    }
}

/// The answer to come. Dropped early, it frees its place.
#[derive(Debug)]
pub struct Waiting {
    token: Token,
    tokens: Arc<Tokens>,
    receiver: oneshot::Receiver<Answer>,
}

/// The node has ended: there will be no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has ended")]
pub struct Ended;

impl Tokens {
    /// Draws a token.
    #[must_use]
    pub fn draw(self: &Arc<Self>) -> Waiting {
        let (sender, receiver) = oneshot::channel();
        let drawer_at = self.next.fetch_add(1, Ordering::Relaxed) % DRAWERS;
        let mut drawer = self.drawer(drawer_at);
        let place_at = drawer.free.pop().unwrap_or_else(|| {
            drawer.places.push(Place::default());
            u32::try_from(drawer.places.len() - 1).unwrap_or(u32::MAX)
        });
        assert!(place_at < 1 << PLACE_BITS, "{place_at} answers are waited for in one drawer");
        let place = &mut drawer.places[place_at as usize];
        place.sender = Some(sender);
        let generation = place.generation;
        drop(drawer);
        let low = (u64::from(place_at) << DRAWER_BITS) | drawer_at as u64;
        Waiting { token: Token((u64::from(generation) << 32) | low), tokens: Arc::clone(self), receiver }
    }

    /// Opens a lane, for many questions at once.
    #[must_use]
    pub fn open_lane(self: &Arc<Self>) -> Asker {
        // Never used again: a late answer must not reach another stream.
        let number = self.next_lane.fetch_add(1, Ordering::Relaxed);
        let lane = Arc::new(Lane::new(number));
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::clone(&lane));
        Asker::new(lane, Arc::clone(self))
    }

    pub(super) fn close_lane(&self, number: u64) {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Hands an answer to whoever waits; drops it if nobody does.
    pub fn answer(&self, token: Token, answer: Answer) {
        match Lane::of(token) {
            Some((number, question)) => self.push(number, vec![(question, answer)]),
            None => self.answer_one(token, answer),
        }
    }

    /// Hands out the answers of one turn: those for one lane, as far as they stand side by side, under one lock.
    pub fn answer_all(&self, replies: impl IntoIterator<Item = Reply>) {
        let mut run: (u64, Vec<(Question, Answer)>) = (0, Vec::new());
        for Reply { token, answer } in replies {
            let Some((number, question)) = Lane::of(token) else {
                self.answer_one(token, answer);
                continue;
            };
            if number != run.0 && !run.1.is_empty() {
                self.push(run.0, std::mem::take(&mut run.1));
            }
            run.0 = number;
            run.1.push((question, answer));
        }
        if !run.1.is_empty() {
            self.push(run.0, run.1);
        }
    }

    fn push(&self, number: u64, answers: Vec<(Question, Answer)>) {
        let lane = self.lanes.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        // A stream that ended does not want its answers any more.
        if let Some(lane) = lane {
            lane.push(answers);
        }
    }

    fn answer_one(&self, token: Token, answer: Answer) {
        if let Some(sender) = self.take(token) {
            // Dropped between our taking the sender and here: nobody wants the answer any more.
            drop(sender.send(answer));
        }
    }

    /// Whether anybody still waits for this answer. Of a lane: whether its stream still stands.
    #[must_use]
    pub fn is_wanted(&self, token: Token) -> bool {
        if let Some((number, _)) = Lane::of(token) {
            return self.lanes.read().unwrap_or_else(PoisonError::into_inner).contains_key(&number);
        }
        let (drawer_at, place_at) = place_of(token);
        let drawer = self.drawer(drawer_at);
        drawer
            .places
            .get(place_at)
            .is_some_and(|place| place.sender.is_some() && u64::from(place.generation) == token.0 >> 32)
    }

    /// How many answers are waited for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let in_lanes: usize = lanes.values().map(|lane| lane.waiting()).sum();
        drop(lanes);
        let in_places: usize = (0..DRAWERS)
            .map(|at| self.drawer(at))
            .map(|drawer| drawer.places.len() - drawer.free.len())
            .sum();
        in_lanes + in_places
    }

    /// Gives up every wait: each ends with [`Ended`].
    pub fn end(&self) {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|lane| lane.end());
        for at in 0..DRAWERS {
            let mut drawer = self.drawer(at);
            let drawer = &mut *drawer;
            for (place_at, place) in drawer.places.iter_mut().enumerate() {
                if place.sender.take().is_some() {
                    place.retire();
                    drawer.free.push(u32::try_from(place_at).unwrap_or(u32::MAX));
                }
            }
        }
    }

    /// Frees the place of a token, if it is still the one that the token means.
    fn take(&self, token: Token) -> Option<oneshot::Sender<Answer>> {
        let (drawer_at, place_at) = place_of(token);
        let mut drawer = self.drawer(drawer_at);
        let place = drawer.places.get_mut(place_at)?;
        if u64::from(place.generation) != token.0 >> 32 {
            return None;
        }
        let sender = place.sender.take()?;
        place.retire();
        drawer.free.push(u32::try_from(place_at).unwrap_or(u32::MAX));
        Some(sender)
    }

    fn drawer(&self, at: usize) -> MutexGuard<'_, Drawer> {
        self.drawers[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The drawer of a token, and the place in it.
fn place_of(token: Token) -> (usize, usize) {
    let number = usize::try_from(token.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    (number % DRAWERS, number >> DRAWER_BITS)
}

impl Waiting {
    /// What goes into the question.
    #[must_use]
    pub const fn token(&self) -> Token {
        self.token
    }
}

impl Future for Waiting {
    type Output = Result<Answer, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map_err(|_| Ended)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.tokens.take(self.token));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_finds_who_asked() {
        let tokens = Arc::new(Tokens::default());
        let waiting: Vec<Waiting> = (0..100).map(|_| tokens.draw()).collect();
        assert_eq!(tokens.waiting(), 100);
        for (generation, waiting) in waiting.iter().enumerate().rev() {
            tokens.answer(waiting.token(), Answer::Stage { generation: generation as u64 });
        }
        assert_eq!(tokens.waiting(), 0);
        for (expected, waiting) in waiting.into_iter().enumerate() {
            let answer = waiting.await;
            assert!(
                matches!(answer, Ok(Answer::Stage { generation }) if generation == expected as u64),
                "question {expected} got {answer:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_dropped_future_leaves_nothing_behind_and_its_answer_reaches_no_one_else() {
        let tokens = Arc::new(Tokens::default());
        let late = {
            let given_up = tokens.draw();
            given_up.token()
        };
        assert_eq!(tokens.waiting(), 0);
        // Take every drawer once: one of these reuses the place of the token that was given up.
        let next: Vec<Waiting> = (0..DRAWERS).map(|_| tokens.draw()).collect();
        assert!(next.iter().all(|waiting| waiting.token() != late));
        tokens.answer(late, Answer::Transfer);
        assert_eq!(tokens.waiting(), DRAWERS, "the late answer took the place of another question");
        for waiting in next {
            tokens.answer(waiting.token(), Answer::Stage { generation: 7 });
            assert!(matches!(waiting.await, Ok(Answer::Stage { generation: 7 })));
        }
        for _ in 0..1000 {
            drop(tokens.draw());
        }
        let places: usize = (0..DRAWERS).map(|at| tokens.drawer(at).places.len()).sum();
        assert_eq!(places, DRAWERS, "places are reused");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_known() {
        let tokens = Arc::new(Tokens::default());
        let (waiting, lane) = (tokens.draw(), tokens.open_lane());
        let (single, piped) = (waiting.token(), lane.token(Question(3)));
        assert!(tokens.is_wanted(single) && tokens.is_wanted(piped));
        drop((waiting, lane));
        assert!(!tokens.is_wanted(single) && !tokens.is_wanted(piped));
        let _next: Vec<Waiting> = (0..DRAWERS).map(|_| tokens.draw()).collect();
        assert!(!tokens.is_wanted(single), "another question has its place now");
        let answered = tokens.draw();
        tokens.answer(answered.token(), Answer::Transfer);
        assert!(!tokens.is_wanted(answered.token()), "it has its answer");
    }

    #[tokio::test]
    async fn the_end_answers_everybody() {
        let tokens = Arc::new(Tokens::default());
        let waiting = tokens.draw();
        tokens.end();
        assert!(matches!(waiting.await, Err(Ended)));
        assert_eq!(tokens.waiting(), 0);
    }
}
