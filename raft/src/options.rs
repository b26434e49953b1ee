//! What can be turned.

use std::time::Duration;

/// The limits and times of a replica. The same for all replicas of a shard, or nearly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The shortest election timeout. Also how long a replica that hears its leader refuses votes to others.
    pub election_timeout_min: Duration,
    /// The longest election timeout (exclusive: timeouts are drawn from `min..max`). Also how long a leader
    /// stays in office without hearing from a quorum, and how long a leadership transfer may take.
    pub election_timeout_max: Duration,
    /// How often a leader sends heartbeats.
    pub heartbeat_interval: Duration,
    /// How long a follower waits at most after its host said that nothing more can be heard of its leader
    /// ([`crate::Raft::silent`]). Drawn from the upper three quarters of it, so that the others have noticed too
    /// and do not all campaign at once.
    pub silence_wait_max: Duration,
    /// A leader of which nothing was asked for so long puts its group to sleep, if all have everything and the host can say that
    /// their nodes live ([`crate::Raft::quiesce`]). `None`: never.
    pub idle_after: Option<Duration>,
    /// How many appends may be on the way to one follower.
    pub inflight_count_max: usize,
    /// How many bytes of entries may be on the way to one follower. The last append may exceed it, so that an
    /// entry larger than the window is not stuck for ever.
    pub inflight_bytes_max: u64,
    /// How many bytes of entries one append carries. An entry that is larger travels alone.
    pub append_bytes_max: u64,
    /// How large the data of one proposal may be, in bytes.
    pub proposal_bytes_max: u64,
    /// How many bytes of entries a leader keeps that are not committed yet. Beyond it proposals are refused.
    /// The first one is always taken.
    pub uncommitted_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            election_timeout_min: Duration::from_millis(150),
            election_timeout_max: Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(50),
            silence_wait_max: Duration::from_millis(20),
            idle_after: Some(Duration::from_secs(1)),
            inflight_count_max: 128,
            inflight_bytes_max: 8 << 20,
            append_bytes_max: 1 << 20,
            proposal_bytes_max: 8 << 20,
            uncommitted_bytes_max: 64 << 20,
        }
    }
}

/// Why [`Options`] make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Timeouts are drawn from a range, which must not be empty: equal timeouts split votes for ever.
    #[error("election_timeout_max ({max:?}) must be longer than election_timeout_min ({min:?})")]
    ElectionTimeout {
        /// The shortest timeout.
        min: Duration,
        /// The longest timeout.
        max: Duration,
    },
    /// One lost heartbeat must not cost a leader its office.
    #[error("heartbeat_interval ({interval:?}) must be between 0 and half of election_timeout_min ({min:?})")]
    Heartbeat {
        /// The interval.
        interval: Duration,
        /// The shortest timeout.
        min: Duration,
    },
    /// Who knows that its leader is gone must not wait longer than who does not know.
    #[error("silence_wait_max ({wait:?}) must be between 0 and election_timeout_min ({min:?})")]
    Silence {
        /// The wait.
        wait: Duration,
        /// The shortest timeout.
        min: Duration,
    },
    /// A limit of nothing lets nothing through.
    #[error("{limit} must not be 0")]
    Zero {
        /// The name of the limit.
        limit: &'static str,
    },
}

impl Options {
    /// Checks that the options fit together.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let (min, max) = (self.election_timeout_min, self.election_timeout_max);
        if min >= max {
            return Err(OptionsError::ElectionTimeout { min, max });
        }
        if self.heartbeat_interval.is_zero() || self.heartbeat_interval * 2 > min {
            return Err(OptionsError::Heartbeat { interval: self.heartbeat_interval, min });
        }
        if self.silence_wait_max.is_zero() || self.silence_wait_max > min {
            return Err(OptionsError::Silence { wait: self.silence_wait_max, min });
        }
        let limits = [
            ("inflight_count_max", self.inflight_count_max as u64),
            ("inflight_bytes_max", self.inflight_bytes_max),
            ("append_bytes_max", self.append_bytes_max),
            ("proposal_bytes_max", self.proposal_bytes_max),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max),
        ];
        match limits.into_iter().find(|(_, value)| *value == 0) {
            Some((limit, _)) => Err(OptionsError::Zero { limit }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Options::default().validate(), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let millis = Duration::from_millis;
        let equal = Options { election_timeout_max: millis(150), ..Options::default() };
        assert_eq!(
            equal.validate(),
            Err(OptionsError::ElectionTimeout { min: millis(150), max: millis(150) })
        );
        let slow = Options { heartbeat_interval: millis(80), ..Options::default() };
        assert_eq!(slow.validate(), Err(OptionsError::Heartbeat { interval: millis(80), min: millis(150) }));
        let idle = Options { silence_wait_max: millis(151), ..Options::default() };
        assert_eq!(idle.validate(), Err(OptionsError::Silence { wait: millis(151), min: millis(150) }));
        let closed = Options { append_bytes_max: 0, ..Options::default() };
        assert_eq!(closed.validate(), Err(OptionsError::Zero { limit: "append_bytes_max" }));
    }
}
