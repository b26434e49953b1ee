//! Raft consensus, pure: one replica of one shard as a state machine. No I/O, no clock, no threads, no
//! randomness of its own: messages, completions, times and a seed go in; messages, writes, committed entries
//! and answers come out. The protocol is that of the Raft paper (Ongaro, Ousterhout: "In Search of an
//! Understandable Consensus Algorithm") with the extensions of Ongaro's thesis ("Consensus: Bridging Theory
//! and Practice"); comments name the sections.
//!
//! # Driving a replica
//!
//! A host owns a [`Raft`], tells it what happens ([`Raft::step`], [`Raft::tick`], [`Raft::propose`],
//! [`Raft::read`], [`Raft::persisted`], [`Raft::applied`] …), and after each turn takes a [`Ready`]:
//! everything that is to be done. It does it, in any order that the fields of [`Ready`] allow, and reports
//! back.
//!
//! ```text
//!            step, tick, propose, read                messages ───────▶ to other replicas, at once
//!   host ──────────────────────────────▶ Raft ─ready─ write ──────────▶ log, one fsync ──▶ persisted(ticket)
//!    ▲                                                committed ──────▶ state machine ───▶ applied(index)
//!    │                                                reads ──────────▶ served once applied that far
//!    └────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Raft::deadline`] says when [`Raft::tick`] is due next. A replica that waits for nothing has none.
//!
//! # The protocol in short
//!
//! Time is divided into terms. Each term has at most one leader, elected by a majority of the voters; every
//! voter has one vote per term, on its disk before it is given. A voter refuses a candidate whose log is less
//! up to date than its own. The leader alone appends entries; followers make their logs equal to its log. An
//! entry of the leader's term that is durable on a majority is committed, and with it everything before it:
//! every later leader holds it, so it may be applied. Hence all replicas apply the same entries in the same
//! order.
//!
//! # Elections
//!
//! A follower whose patience (a random election timeout) ends first asks for *pre-votes*: would you vote for
//! me? That changes nothing anywhere. Only with a majority of them does it enter the next term, vote for
//! itself, and ask for votes. Who hears a leader says no to both. So a replica that was cut off or removed
//! cannot depose a leader that the others are content with. A leader that hears no quorum for an election
//! timeout steps down by itself. Leadership is handed over by bringing the target up to date and telling it
//! to campaign at once; that candidacy alone overrides a live leader.
//!
//! A leader begins its term with a no-op, because only entries of the own term are committed by counting
//! (paper, figure 8).
//!
//! # Replication
//!
//! To each follower the leader sends one *probe* until it is known where the two logs agree, each side
//! skipping whole terms; from then on it sends ahead of the answers, within a window of appends and bytes.
//! What is lost on the way, an append or an answer, is found by the next heartbeat: it says how far the
//! follower was sent, the answer says how far it has accepted. No proposal is needed to provoke it. A
//! follower that needs entries which are compacted is streamed a snapshot by the host; it installs it unless
//! its log can go on without.
//!
//! The commit index travels with appends and heartbeats: at a quiet shard, followers learn of the last commit
//! with the next heartbeat. (They serve no linearizable reads, and a message per commit would double the
//! traffic.)
//!
//! # Disks
//!
//! Nothing here waits for a disk. A leader's appends leave before its own write of the same entries is
//! durable. What a replica *promises* waits inside until its write has completed: a vote, an acknowledgement,
//! any message in a term that is not on its disk yet. A leader's commit index never passes its own durable
//! index, and only what is committed and durable here is handed out to be applied. Writes are named by
//! tickets; a completion makes stable only what no later append has replaced (`persistence.rs` tells the
//! trace).
//!
//! # Reads
//!
//! A linearizable read needs no log entry: the leader notes its commit index, proves that it still leads, and the host serves the read
//! once that index is applied. The proof is a round of heartbeats, which reads share; or a *lease*, while the nodes of a quorum
//! are bound to this leader (`support.rs`; what nodes promise each other is the host's business).
//!
//! # Members
//!
//! The [`Configuration`] is replicated by the log and takes effect when its entry is applied. A replica that
//! knows of a committed configuration and has not applied it does not campaign. Learners receive the log and
//! never count; they come and go in one step. Voters change in two: a *joint* configuration, in which every
//! decision needs a majority of the old voters and a majority of the new ones, and then the new ones alone
//! ([`Raft::propose_configuration`]). A leader leaves a joint configuration by itself, unless it was asked to
//! wait. One that is no voter in the end tells the others so, asks the furthest of them to campaign, and steps
//! down. A replica that was removed and does not know it disturbs nobody: those who hear a leader refuse it.
//!
//! # What is missing, and caveats
//!
//! * That replica ids are never reused is for the caller to ensure: a configuration remembers nobody who left.
//!   So is the time at which a removed replica's disk may be dropped: not before a leader says that the
//!   configuration without it is settled ([`Status::configuration_settled`]).
//! * Heartbeats are per shard (`liveness.rs`) while anything happens there. A quiet group sleeps (`sleep.rs`), if its host can say
//!   that the other nodes live.
//! * A follower does not forward proposals or reads: the caller is told who leads.
//! * The live log is in memory. Its host bounds it by compaction; while a snapshot streams, it should keep
//!   the entries after it, or the follower needs another one.
//! * Raft does not survive disks that lie. A replica that forgets what it promised is found out by an
//!   assertion, if at all, and stops the process: it must not go on.
//! * An operation whose leader lost office has an unknown outcome. Exactly-once is the state machine's
//!   business.
//!
//! # Reading order
//!
//! The words: `id`, `entry`, `configuration`, `message`, `ready`. The frame: `raft` (doors and roles), `core`
//! (what every role has). Then one idea per file: `quorum`, `log`, `persistence`, `progress`; `election`,
//! `leader`, `replication`, `following`, `liveness`, `reads`, `transfer`, `installation`; `support`, `sleep`;
//! `change`, `membership`. The stories in `tests/scripts` show all of it at work.

mod change;
mod configuration;
mod core;
mod election;
mod entry;
mod following;
mod id;
mod impossible;
mod installation;
mod leader;
mod liveness;
mod log;
mod membership;
mod message;
mod options;
mod persistence;
mod progress;
mod quorum;
mod raft;
mod reads;
mod ready;
mod recovered;
mod replication;
mod sleep;
mod snapshot;
mod status;
mod support;
mod time;
mod transfer;

pub use change::{Change, ChangeImpossible, Leave};
pub use configuration::Configuration;
pub use entry::{Entry, HardState, Payload};
pub use id::{Index, LogId, ReplicaId, Term};
pub use impossible::Impossible;
pub use leader::ProposeError;
pub use membership::ConfigurationError;
pub use message::{Message, Round, Rpc};
pub use options::{Options, OptionsError};
pub use raft::Raft;
pub use reads::NotLeader;
pub use ready::{ReadId, Ready, Ticket, Write};
pub use recovered::Recovered;
pub use sleep::{Life, Sign};
pub use snapshot::SnapshotMeta;
pub use status::{ProgressKind, ProgressStatus, RoleKind, Status};
pub use support::{Acknowledged, Held, SupportNumber};
pub use time::Time;
pub use transfer::TransferError;
