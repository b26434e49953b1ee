//! One operation, from its first attempt to its end.
//!
//! ```text
//!             ┌──────────── redirected ───────────┐
//!             ▼                                   │
//!  new ──▶ next() ── Send ──▶ (attempt) ── answered ──▶ done
//!             ▲  │                │
//!             │  └─ Wait ─▶       └── failed ──▶ final? ── Fail ──▶ done
//!             └──────────────────────────────────┘
//! ```

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use flotilla_raft::Term;
use flotilla_topology::{Route, ShardId};

use super::{Backoff, Failure, Routes, Target, Verdict};
use crate::Error;

/// How many redirects are followed at once before waiting: two nodes may point at each other while office changes.
const HOPS_MAX: u32 = 3;

/// What an attempt that nobody answered may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: a read changes nothing, so none of its attempts is ambiguous.
    Read,
    /// Anything.
    Write,
}

/// How long an operation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// When to give up, on the clock of all other times.
    pub deadline: Duration,
    /// How long one attempt may take before another node is asked. A leader that stands still (suspended, cut off) must
    /// not cost the whole deadline.
    pub attempt: Duration,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make an attempt, then report it by [`Operation::redirected`] or [`Operation::failed`], or be done.
    Send {
        /// `host:port`.
        to: Arc<str>,
        /// Report [`Failure::lost`] when nothing came back for so long.
        timeout: Duration,
    },
    /// Call [`Operation::next`] again at this time.
    Wait {
        /// Later than the `now` of the call.
        until: Duration,
    },
    /// It is over.
    Fail(Error),
}

/// The state of one operation. All times are durations since an origin of the caller's choice.
#[derive(Debug)]
pub struct Operation {
    target: Target,
    effect: Effect,
    patience: Patience,
    backoff: Backoff,
    /// Every attempt so far was surely not executed.
    definite: bool,
    not_before: Duration,
    asked: Asked,
    /// Each attempt may take twice as long as the one before that nobody answered.
    growing: bool,
    over: Option<Error>,
    last_message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

/// Whom the operation asked, and whom to ask next.
#[derive(Debug, Default)]
struct Asked {
    /// The last one.
    last: Option<Arc<str>>,
    /// Told to go there by the last redirect, where the cache knows nothing better.
    told: Option<Arc<str>>,
    /// Not worth asking next: it was just asked and is not the leader, or gone.
    avoid: Option<Arc<str>>,
    /// The last one that failed us.
    gone: Option<Arc<str>>,
    /// Where in the list of candidates to go on.
    position: usize,
    /// Redirects followed without a wait.
    hops: u32,
}

impl Operation {
    /// An operation that was not tried yet.
    #[must_use]
    pub fn new(target: Target, effect: Effect, patience: Patience, seed: u64) -> Self {
        let mut backoff = Backoff::new(seed);
        // Replicas are asked in the order in which they should lead; endpoints are all alike, so they share the load.
        let position = if target == Target::Anyone { backoff.choose(64) } else { 0 };
        Self {
            target,
            effect,
            patience,
            backoff,
            definite: true,
            not_before: Duration::ZERO,
            growing: false,
            asked: Asked { position, ..Asked::default() },
            over: None,
            last_message: Cow::Borrowed("nobody was asked in time"),
            retry_after: None,
        }
    }

    /// Whom it is for.
    #[must_use]
    pub const fn target(&self) -> Target {
        self.target
    }

    /// What it asks for may be much work: an attempt that nobody answered may have been too short, so the next one is longer.
    #[must_use]
    pub const fn growing(mut self) -> Self {
        self.growing = true;
        self
    }

    /// What to do now.
    pub fn next(&mut self, now: Duration, routes: &Routes) -> Step {
        if let Some(error) = &self.over {
            return Step::Fail(error.clone());
        }
        let left = self.patience.deadline.saturating_sub(now);
        if left.is_zero() {
            return Step::Fail(self.given_up());
        }
        if now < self.not_before {
            return Step::Wait { until: self.not_before.min(self.patience.deadline) };
        }
        let Some(to) = self.choose(now, routes) else {
            return Step::Fail(self.given_up());
        };
        self.send(to, left)
    }

    /// As the first [`Operation::next`], where the caller has the leader at hand and need not look at all routes.
    pub fn first(&mut self, now: Duration, leader: Arc<str>) -> Step {
        let left = self.patience.deadline.saturating_sub(now);
        if left.is_zero() { Step::Fail(self.given_up()) } else { self.send(leader, left) }
    }

    fn send(&mut self, to: Arc<str>, left: Duration) -> Step {
        self.asked.last = Some(Arc::clone(&to));
        Step::Send { to, timeout: left.min(self.patience.attempt) }
    }

    /// When it is given up, on the clock of all other times.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        self.patience.deadline
    }

    /// The last attempt was answered, by a leader of this shard and term: others may go straight there.
    pub fn answered(&mut self, shard: ShardId, term: Term, routes: &mut Routes) {
        let (Some(asked), Some(map)) = (self.asked.last.take(), routes.map()) else { return };
        // Only a node of the map leads; any other address is something that forwards.
        let node = map.nodes.iter().find(|(_, info)| *info.client_addr == *asked).map(|(node, _)| *node);
        let (Target::Slot(slot), Some(node)) = (self.target, node) else { return };
        let epoch = routes.route(self.target).map_or(map.epoch, |known| known.epoch.max(map.epoch));
        routes.learn(&Route { slot, shard, epoch, term, leader: Some((node, asked.to_string())) });
    }

    /// The last attempt was answered by a redirect: surely not executed.
    pub fn redirected(&mut self, now: Duration, redirect: &Route, routes: &mut Routes) {
        routes.learn(redirect);
        let asked = self.asked.last.take();
        // The cache may hold a newer report than this redirect. But when it names the very node that has just denied to
        // lead, the redirect knows better, whatever its term.
        let known = routes.leader(self.target).filter(|leader| Some(*leader) != asked.as_deref());
        let told = redirect.leader.as_ref().map(|(_, address)| address.as_str());
        let told = told.filter(|leader| Some(*leader) != asked.as_deref());
        let next: Option<Arc<str>> = known.or(told).map(Arc::from);
        if let Some(denied) = &asked {
            routes.doubt(self.target, denied);
        }
        // Sent back to a node that has just failed us: it may live again, or the reporter has not noticed yet.
        let back = next.is_some() && next == self.asked.gone;
        if back {
            self.asked.gone = None;
        }
        self.asked.hops += 1;
        if next.is_none() || back || self.asked.hops > HOPS_MAX {
            self.wait(now, Duration::ZERO);
        }
        self.last_message = match &next {
            Some(leader) => Cow::Owned(format!("sent on to {leader}")),
            None => Cow::Owned(format!("{} has no known leader", redirect.shard)),
        };
        self.asked.avoid = asked;
        self.asked.told = next;
    }

    /// The last attempt failed.
    pub fn failed(&mut self, now: Duration, failure: &Failure, routes: &mut Routes) {
        self.definite &= failure.definite || self.effect == Effect::Read;
        self.last_message = Cow::Owned(failure.message.clone());
        self.retry_after = (!failure.retry_after.is_zero()).then_some(failure.retry_after);
        if self.growing && !failure.definite {
            self.patience.attempt *= 2;
        }
        let asked = self.asked.last.take();
        self.asked.told = None;
        match &failure.verdict {
            Verdict::Invalid { field } => self.over = Some(self.refused(field)),
            Verdict::Stop => self.over = Some(self.given_up()),
            Verdict::Later => {
                self.asked.told = asked;
                self.wait(now, failure.retry_after);
            }
            Verdict::Elsewhere => {
                if let Some(gone) = &asked {
                    routes.doubt(self.target, gone);
                    routes.shun(now, gone);
                }
                self.asked.avoid.clone_from(&asked);
                self.asked.gone = asked;
                self.wait(now, failure.retry_after);
            }
        }
    }

    /// The known leader; else the next candidate, one that has just failed nobody if there is one.
    fn choose(&mut self, now: Duration, routes: &Routes) -> Option<Arc<str>> {
        if let Some(told) = self.asked.told.take() {
            return Some(told);
        }
        let avoid = self.asked.avoid.as_deref();
        if let Some(leader) = routes.leader(self.target).filter(|leader| Some(*leader) != avoid) {
            return Some(Arc::from(leader));
        }
        let candidates = routes.candidates(self.target);
        let count = candidates.len();
        let order = (0..count).map(|step| (self.asked.position + step) % count);
        let order = order.filter(|at| count == 1 || Some(&*candidates[*at]) != avoid);
        let chosen = order
            .clone()
            .find(|at| !routes.is_shunned(now, &candidates[*at]))
            .or_else(|| order.clone().next())?;
        self.asked.position = chosen + 1;
        candidates.into_iter().nth(chosen)
    }

    fn wait(&mut self, now: Duration, at_least: Duration) {
        self.asked.hops = 0;
        self.not_before = now + self.backoff.draw().max(at_least);
    }

    fn refused(&self, field: &str) -> Error {
        if self.definite {
            Error::Invalid { field: field.to_owned(), message: self.last_message.to_string() }
        } else {
            Error::Unknown { message: self.last_message.to_string() }
        }
    }

    fn given_up(&self) -> Error {
        let message = self.last_message.to_string();
        if self.definite {
            Error::NotExecuted { retry_after: self.retry_after, message }
        } else {
            Error::Unknown { message }
        }
    }
}

#[cfg(test)]
mod tests;
