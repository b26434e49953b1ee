//! Recorded histories of a key-value store, and two judges of whether they are linearizable.
//!
//! ```
//! use flotilla_history::{Answer, Call, Client, Done, History, Moment, Outcome, Seen, Shard, Version};
//!
//! let mut history = History::new();
//! let put = Call::Put { key: "x".into(), value: "1".into() };
//! let put = history.invoke(Moment(0), Client(1), Shard(1), put);
//! let get = history.invoke(Moment(1), Client(2), Shard(1), Call::Get { key: "x".into() });
//! history.complete(put, Moment(2), Outcome::Done(Done::of(Answer::Written(Some(Version(1))))));
//! // It overlaps the write, so it may see it or not.
//! history.complete(get, Moment(3), Outcome::Done(Done::of(Answer::Got(Some(Seen::of("1", 1))))));
//! assert!(history.judge().passes());
//! ```
//!
//! **What.** Whoever tests a fleet (real processes, or the simulator) records what each client asked, when, and what came of
//! it. Then [`History::judge`] asks two judges who share no code but the record:
//!
//! - the *search* looks for an order of the operations that respects real time and in which a map of keys would have given
//!   the same answers (Wing and Gong 1993, with the cache of configurations of Lowe 2017; partitioned by key, as Horn and
//!   Kroening 2015 allow; keys that one transaction or scan touches are one partition);
//! - the *replay* believes the versions in the answers, which say in what order the shard executed its writes. It replays
//!   them, holds every read against that, and checks real time, in O(n log n).
//!
//! A history passes when both say so. "Could not decide" is a failure of its own.
//!
//! **Why two.** The search knows nothing of versions but that they grow: it judges what clients may rely on. The replay sees
//! what the search cannot, such as versions of a shard that go back between two keys; and a fault in one judge shows as a
//! disagreement.
//!
//! **What it does not do.** No I/O, no clock: moments are numbers of the caller. No expiry (record no writes with a ttl), no
//! stale reads (they promise nothing), no slots that move between shards. Give each write a value of its own: then a read
//! tells which write it saw, and the search is fast.
//!
//! Reading order: `operation` (what is asked and answered), `history` (the record), `partition`, `model` (the map of keys),
//! `order` (who may come next), `search`, `timeline` and `replay`, `verdict`.

mod history;
mod model;
mod operation;
mod order;
mod partition;
mod replay;
mod search;
mod timeline;
mod verdict;

pub use history::{History, OperationId, RequestId};
pub use operation::{
    Answer, Call, Client, Compare, Condition, Done, Moment, Outcome, Seen, Shard, Stamp, Txn, TxnAnswer,
    TxnStep, Version,
};
pub use partition::{IN_FLIGHT_MAX, OPERATIONS_MAX};
pub use search::STEPS_MAX;
pub use verdict::{Judgement, Verdict};
