//! The inbox of a worker: everything that it learns waits here, bounded in bytes.
//!
//! Three kinds of input come in, and differ in what happens when there are too many:
//!
//! - **client work** is refused at once when its bound is reached. Waiting would only make the queue longer: the client
//!   is told "surely not executed, try again";
//! - **messages of peers** are dropped when their bound is reached. Raft repeats what matters, and a queue of old
//!   heartbeats is worth nothing;
//! - **completions** (of the log, the flusher, the readers) and orders of the node itself always get in. They are as
//!   many as the work that the worker itself started, which is bounded there, and a lost one would stall a shard.
//!
//! Bytes are given back when the worker takes its inputs; what it does with them has bounds of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::Input;

/// One worker's inbox. Many write, one reads.
#[derive(Debug)]
pub struct Inbox {
    state: Mutex<State>,
    bell: AtomicWaker,
    client_bytes_max: usize,
    peer_bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    inputs: Vec<Input>,
    client_bytes: usize,
    peer_bytes: usize,
    closed: bool,
}

/// The bound for client work is reached, or the worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a worker finds in its inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Everything that was there, perhaps nothing.
    Turn,
    /// The inbox has been closed and is empty.
    Closed,
}

impl Inbox {
    /// An empty inbox with these bounds, in bytes.
    #[must_use]
    pub fn new(client_bytes_max: usize, peer_bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bell: AtomicWaker::new(), client_bytes_max, peer_bytes_max }
    }

    /// Puts client work of so many bytes in.
    ///
    /// # Errors
    /// The bound is reached: surely not executed. One input always fits an inbox without client work, so that no
    /// choice of limits makes a permitted request impossible.
    pub fn offer_client(&self, bytes: usize, input: Input) -> Result<(), Full> {
        let mut state = self.lock();
        let filled = state.client_bytes.saturating_add(bytes);
        if state.closed || (filled > self.client_bytes_max && state.client_bytes > 0) {
            return Err(Full);
        }
        state.client_bytes = filled;
        self.put(state, input);
        Ok(())
    }

    /// Puts the client work of one message in, each with its bytes, as far as there is room: all of it is there for the
    /// same turn. The positions of those that did not get in (surely not executed) are returned.
    pub fn offer_clients(&self, offers: impl IntoIterator<Item = (usize, Input)>) -> Vec<usize> {
        let mut refused = Vec::new();
        let mut state = self.lock();
        let first = state.inputs.is_empty();
        for (position, (bytes, input)) in offers.into_iter().enumerate() {
            let filled = state.client_bytes.saturating_add(bytes);
            if state.closed || (filled > self.client_bytes_max && state.client_bytes > 0) {
                refused.push(position);
                continue;
            }
            state.client_bytes = filled;
            state.inputs.push(input);
        }
        let rings = first && !state.inputs.is_empty();
        drop(state);
        if rings {
            self.bell.wake();
        }
        refused
    }

    /// Puts the messages of one frame in, as far as there is room, and says how many were dropped.
    pub fn offer_peers(&self, messages: impl IntoIterator<Item = (usize, Input)>) -> usize {
        let mut state = self.lock();
        let first = state.inputs.is_empty();
        let mut dropped = 0;
        for (bytes, input) in messages {
            let filled = state.peer_bytes.saturating_add(bytes);
            if state.closed || (filled > self.peer_bytes_max && state.peer_bytes > 0) {
                dropped += 1;
                continue;
            }
            state.peer_bytes = filled;
            state.inputs.push(input);
        }
        let rings = first && !state.inputs.is_empty();
        drop(state);
        if rings {
            self.bell.wake();
        }
        dropped
    }

    /// Puts in what must not be lost. Whether the worker is still there to take it.
    pub fn deliver(&self, input: Input) -> bool {
        let state = self.lock();
        if state.closed {
            return false;
        }
        self.put(state, input);
        true
    }

    /// Ready when there is something to take, or nothing will ever come again. For the one worker.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        // First the waker, then the look: an input in between wakes us.
        self.bell.register(context.waker());
        let state = self.lock();
        if state.inputs.is_empty() && !state.closed { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Takes everything that is there, in the order in which it came. Never waits.
    pub fn take(&self, into: &mut Vec<Input>) -> Taken {
        let mut state = self.lock();
        if state.inputs.is_empty() && state.closed {
            return Taken::Closed;
        }
        state.client_bytes = 0;
        state.peer_bytes = 0;
        into.append(&mut state.inputs);
        Taken::Turn
    }

    /// Lets nothing more in. The worker takes what is there and ends.
    pub fn close(&self) {
        self.lock().closed = true;
        self.bell.wake();
    }

    /// How many bytes of clients' and peers' inputs wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        state.client_bytes + state.peer_bytes
    }

    fn put(&self, mut state: MutexGuard<'_, State>, input: Input) {
        let first = state.inputs.is_empty();
        state.inputs.push(input);
        drop(state);
        // Whoever finds inputs already there knows that the bell has rung and the worker has not yet come.
        if first {
            self.bell.wake();
        }
    }

    // A panic while the lock is held ends the process elsewhere; what the lock guards is consistent at every step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use flotilla_topology::NodeId;

    use super::*;

    /// Some input; its number tells it from others.
    fn input(number: u64) -> Input {
        Input::PeerLost { node: NodeId(number) }
    }

    fn numbers(inputs: &[Input]) -> Vec<u64> {
        let number = |input: &Input| match input {
            Input::PeerLost { node } => node.0,
            other => panic!("an input that no test put in: {other:?}"),
        };
        inputs.iter().map(number).collect()
    }

    #[test]
    fn client_work_is_refused_when_full_and_completions_still_get_in() {
        let inbox = Inbox::new(100, 100);
        assert_eq!(inbox.offer_client(60, input(1)), Ok(()));
        assert_eq!(inbox.offer_client(41, input(2)), Err(Full));
        assert_eq!(inbox.offer_client(40, input(3)), Ok(()));
        assert_eq!(inbox.offer_client(1, input(4)), Err(Full));
        assert!(inbox.deliver(input(5)));
        assert_eq!(inbox.offer_peers([(100, input(6)), (1, input(7))]), 1, "peers have a bound of their own");
        let mut taken = Vec::new();
        assert_eq!(inbox.take(&mut taken), Taken::Turn);
        assert_eq!(numbers(&taken), [1, 3, 5, 6]);
        assert_eq!(inbox.bytes(), 0);
        assert_eq!(inbox.offer_client(100, input(8)), Ok(()), "what was taken gave its bytes back");
    }

    #[test]
    fn one_input_larger_than_the_bound_fits_an_empty_inbox() {
        let inbox = Inbox::new(10, 10);
        assert_eq!(inbox.offer_client(11, input(1)), Ok(()));
        assert_eq!(inbox.offer_client(1, input(2)), Err(Full));
        assert_eq!(inbox.offer_peers([(11, input(3)), (0, input(4))]), 1);
    }

    #[test]
    fn the_work_of_one_message_gets_in_as_far_as_there_is_room_and_is_one_turn() {
        let inbox = Inbox::new(100, 10);
        assert_eq!(inbox.offer_client(20, input(0)), Ok(()));
        let offers = [(50, input(1)), (40, input(2)), (30, input(3)), (1, input(4))];
        assert_eq!(inbox.offer_clients(offers), [1, 3], "one that is too large does not bar a smaller one");
        let mut taken = Vec::new();
        assert_eq!(inbox.take(&mut taken), Taken::Turn);
        assert_eq!(numbers(&taken), [0, 1, 3]);
        assert_eq!(
            inbox.offer_clients([(101, input(5)), (0, input(6))]),
            [1],
            "one always fits an empty inbox"
        );
        inbox.close();
        assert_eq!(inbox.offer_clients([(0, input(7))]), [0]);
    }

    #[tokio::test]
    async fn an_input_wakes_a_worker_that_waits() {
        let inbox = Arc::new(Inbox::new(10, 10));
        let worker = tokio::spawn({
            let inbox = Arc::clone(&inbox);
            async move {
                let mut taken = Vec::new();
                while inbox.take(&mut taken) == Taken::Turn {
                    poll_fn(|context| inbox.poll_ready(context)).await;
                }
                numbers(&taken)
            }
        });
        let others = std::thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                for number in 0..1000 {
                    assert!(inbox.deliver(input(number)));
                }
                inbox.close();
                assert!(!inbox.deliver(input(1000)), "a closed inbox lets nothing in");
            }
        });
        let taken = worker.await.unwrap();
        others.join().unwrap();
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
    }
}
