//! A connection on which what is said at the same time leaves together.
//!
//! A worker's turn answers many calls at once. Each of their tasks wakes the task of its connection, and the runtime runs next what was
//! woken last: the connection would send the first answer before the second is there, each by a system call of its own.
//! So a flush sends nothing yet. It puts the connection's task behind all that is ready on this thread, and what those say until then
//! leaves with it.
//!
//! ```text
//!   ready:   answer 1, answer 2, answer 3
//!   so far:  answer 1, connection: send 1, answer 2, connection: send 2, answer 3, connection: send 3
//!   here:    answer 1, connection: keep 1, answer 2, answer 3, connection: send 1 2 3
//! ```
//!
//! What it does not do: wait for time to pass. Where nothing else is ready, the task's next turn is now.

use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What is kept at most, in bytes. Larger pieces are worth a system call of their own, and not worth a copy.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A connection whose task polls it again after each flush, as that of HTTP/2 does.
#[derive(Debug)]
pub(crate) struct Together<S> {
    stream: S,
    kept: BytesMut,
    /// Others had their turn: the next flush sends.
    turn: bool,
}

impl<S: AsyncWrite + Unpin> Together<S> {
    /// What is said first goes at once: while HTTP/2 is being agreed upon, nobody flushes again.
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, kept: BytesMut::new(), turn: true }
    }

    /// Sends what is kept.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.kept.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.kept))?;
            if sent == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(sent);
        }
        self.turn = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: Connected> Connected for Together<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Together<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        if self.kept.len() + bytes.len() > KEPT_BYTES_MAX {
            ready!(self.poll_send(context))?;
        }
        if bytes.len() > KEPT_BYTES_MAX {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        }
        self.kept.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// HTTP/2 gives what it would not copy itself as a piece of its own, and flushes after each.
    fn is_write_vectored(&self) -> bool {
        false
    }

    /// Says that all was sent as soon as it is sure that it will be: what cannot be sent then is found by the next flush.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.kept.is_empty() && !std::mem::replace(&mut self.turn, true) {
            // A task that wakes itself goes to the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// Takes what it has room for, and remembers each write.
    #[derive(Debug, Default)]
    struct Stream {
        writes: Vec<Vec<u8>>,
        room: usize,
        closed: bool,
    }

    impl AsyncWrite for Stream {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
            if self.room == 0 {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.writes.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    /// How often the task was put behind the others.
    #[derive(Default)]
    struct Turns(AtomicUsize);

    impl Wake for Turns {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection, and the task that polls it.
    struct Story {
        connection: Together<Stream>,
        turns: Arc<Turns>,
    }

    impl Story {
        /// A connection that is open, on a stream with room for so many bytes.
        fn with_room(room: usize) -> Self {
            let mut story = Self { connection: Together::new(Stream::default()), turns: Arc::default() };
            story.connection.stream.room = 1;
            assert_eq!((story.write(b"0"), story.flush()), (Poll::Ready(1), Poll::Ready(())));
            assert_eq!((story.sent(), story.turns()), (vec![&b"0"[..]], 0), "the beginning goes at once");
            story.connection.stream = Stream { room, ..Stream::default() };
            story
        }

        fn poll<T>(
            &mut self,
            what: impl FnOnce(Pin<&mut Together<Stream>>, &mut Context<'_>) -> Poll<Result<T>>,
        ) -> Poll<T> {
            let waker = Waker::from(Arc::clone(&self.turns));
            what(Pin::new(&mut self.connection), &mut Context::from_waker(&waker)).map(|done| done.unwrap())
        }

        fn write(&mut self, bytes: &[u8]) -> Poll<usize> {
            self.poll(|connection, context| connection.poll_write(context, bytes))
        }

        fn flush(&mut self) -> Poll<()> {
            self.poll(|connection, context| connection.poll_flush(context))
        }

        fn turns(&self) -> usize {
            self.turns.0.load(Ordering::Relaxed)
        }

        fn sent(&self) -> Vec<&[u8]> {
            self.connection.stream.writes.iter().map(Vec::as_slice).collect()
        }
    }

    #[test]
    fn what_is_said_before_the_next_turn_leaves_in_one_write() {
        let mut story = Story::with_room(1 << 20);
        assert_eq!((story.write(b"one "), story.flush()), (Poll::Ready(4), Poll::Ready(())));
        assert_eq!((story.sent(), story.turns()), (vec![], 1), "others go first");
        assert_eq!((story.write(b"two"), story.flush()), (Poll::Ready(3), Poll::Ready(())));
        assert_eq!((story.sent(), story.turns()), (vec![&b"one two"[..]], 1));
        assert_eq!((story.flush(), story.turns()), (Poll::Ready(()), 1), "nothing is kept, nobody is woken");
        assert_eq!((story.write(b"three"), story.flush()), (Poll::Ready(5), Poll::Ready(())));
        assert_eq!((story.sent().len(), story.turns()), (1, 2), "the next batch waits for a turn of its own");
    }

    #[test]
    fn what_is_large_goes_by_itself_behind_what_was_said_before() {
        let mut story = Story::with_room(1 << 20);
        let large = vec![7; KEPT_BYTES_MAX + 1];
        assert_eq!(story.write(b"before"), Poll::Ready(6));
        assert_eq!(story.write(&large), Poll::Ready(large.len()));
        assert_eq!(story.sent(), [&b"before"[..], &large[..]]);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut story = Story::with_room(10);
        let half = vec![7; KEPT_BYTES_MAX / 2 + 1];
        assert_eq!(story.write(&half), Poll::Ready(half.len()));
        assert_eq!(story.write(&half), Poll::Pending, "the client reads too slowly");
        assert_eq!((story.flush(), story.flush()), (Poll::Ready(()), Poll::Pending));
        story.connection.stream.room = 1 << 20;
        assert_eq!((story.flush(), story.write(&half)), (Poll::Ready(()), Poll::Ready(half.len())));
        assert_eq!(story.sent().concat(), half, "all of the first, in order, and nothing of the second");
    }

    #[test]
    fn the_last_words_are_sent_before_the_end() {
        let mut story = Story::with_room(2);
        assert_eq!((story.write(b"bye"), story.flush()), (Poll::Ready(3), Poll::Ready(())));
        let end = |story: &mut Story| story.poll(|connection, context| connection.poll_shutdown(context));
        assert_eq!((end(&mut story), story.connection.stream.closed), (Poll::Pending, false));
        story.connection.stream.room = 1;
        assert_eq!((end(&mut story), story.connection.stream.closed), (Poll::Ready(()), true));
        assert_eq!(story.sent().concat(), b"bye");
    }
}
