//! What to do next with one operation: the half of the client without I/O.
//!
//! An operation is tried until it is answered, its deadline passes, or it is refused for good. [`Operation`] is told what
//! came of each attempt and says what to do next; [`Routes`] is what all operations have learned about who leads;
//! [`Requests`] numbers the writes; [`ShardClock`] estimates shard time for their deadlines; a [`Lane`] makes batches of what goes
//! to one address, and knows what of it had left when it breaks. None of them reads a clock,
//! draws a random number or touches the network: time is an argument, chance a seed. So the simulator can drive the very
//! same code through "a retry that crosses a move".
//!
//! The one rule that matters (DESIGN §8): *definite* speaks of one attempt. An operation is reported as surely not executed
//! only if **every** attempt was. Counterexample: a put is sent, the connection breaks (the leader may have it in its log),
//! the second attempt is refused for overload, surely not executed. "Not executed" would be a lie.

mod backoff;
mod failure;
mod lane;
mod operation;
mod requests;
mod routes;
mod shard_clock;

pub use backoff::Backoff;
pub use failure::{Failure, Verdict};
pub use lane::{Fetched, Lane, Whereabouts};
pub use operation::{Effect, Operation, Patience, Step};
pub use requests::{Requests, Ticket, passed_on};
pub use routes::{Routes, Target};
pub use shard_clock::ShardClock;
