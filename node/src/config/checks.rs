//! What no flag can say alone.

use super::{Config, ConfigError};

/// What each stream of a snapshot needs of the budget: a chunk of 1 MiB in 4 s. One on which nothing moves for 20 s is given up.
const SNAPSHOT_BYTES_PER_SECOND_MIN: u64 = 256 << 10;

/// Bytes of a command beside its keys and values; generous.
const COMMAND_OVERHEAD_BYTES: u64 = 1 << 10;

impl Config {
    pub(super) fn check_limits(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        // The base's keys have 17 bytes in front of ours, and a base key has 16 bits for its length.
        bounds("--key-bytes-max", limits.key_bytes_max.0, 1, 32 << 10)?;
        bounds("--value-bytes-max", limits.value_bytes_max.0, 1, 64 << 20)?;
        let least = limits.key_bytes_max.0 + limits.value_bytes_max.0 + COMMAND_OVERHEAD_BYTES;
        bounds("--batch-bytes-max", limits.batch_bytes_max.0, least, 128 << 20)?;
        let memory = &self.memory;
        let batch = limits.batch_bytes_max.0;
        at_least("--inbox-bytes-max", memory.inbox_bytes_max.0, batch)?;
        at_least("--peer-inbox-bytes-max", memory.peer_inbox_bytes_max.0, batch)?;
        at_least("--proposed-bytes-max", memory.proposed_bytes_max.0, batch)?;
        at_least("--flush-bytes", memory.flush_bytes.0, 4 << 10)?;
        if memory.snapshot_bytes_per_second.0 > 0 {
            let least = SNAPSHOT_BYTES_PER_SECOND_MIN * u64::from(memory.snapshots_max);
            at_least("--snapshot-bytes-per-second", memory.snapshot_bytes_per_second.0, least)?;
        }
        at_least("--overlay-bytes-max", memory.overlay_bytes_max.0, 2 * batch)
    }

    pub(super) fn check_timing(&self) -> Result<(), ConfigError> {
        let timing = &self.timing;
        let (min, max) = (timing.election_timeout_min_ms, timing.election_timeout_max_ms);
        if max <= min {
            return Err(ConfigError(format!(
                "--election-timeout-max-ms: {max} is not more than --election-timeout-min-ms {min}"
            )));
        }
        if timing.heartbeat_interval_ms * 2 > min {
            let beat = timing.heartbeat_interval_ms;
            return Err(ConfigError(format!(
                "--heartbeat-interval-ms: {beat} is more than half of --election-timeout-min-ms {min}"
            )));
        }
        if timing.beat_interval_ms * 3 > min {
            // An answer may wait for the next beat: the newest that a node has is up to two intervals old, and who sleeps would be
            // woken between two of them.
            let beat = timing.beat_interval_ms;
            return Err(ConfigError(format!(
                "--beat-interval-ms: {beat} is more than a third of --election-timeout-min-ms {min}"
            )));
        }
        if timing.idle_after_ms > 0 && timing.support_ms > min {
            // A sleeper whose leader is silent, but to whom it is still bound, could neither wake nor sleep.
            let support = timing.support_ms;
            return Err(ConfigError(format!(
                "--support-ms: {support} is more than --election-timeout-min-ms {min}, which needs --idle-after-ms 0"
            )));
        }
        Ok(())
    }

    pub(super) fn check_first_start(&self) -> Result<(), ConfigError> {
        let init = &self.first_start.init;
        if init.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<_> = init.iter().map(|member| member.node).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigError(format!("--init: node {} is named twice", twice[0].0)));
        }
        if !ids.contains(&self.id) {
            return Err(ConfigError(format!("--init: this node, --id {}, is not among them", self.id.0)));
        }
        let replicas = self.first_start.replicas;
        if replicas as usize > ids.len() {
            return Err(ConfigError(format!(
                "--replicas: {replicas} replicas cannot live on {} different nodes",
                ids.len()
            )));
        }
        Ok(())
    }
}

fn bounds(flag: &str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    at_least(flag, value, min)?;
    if value > max {
        return Err(ConfigError(format!("{flag}: {value} bytes are more than {max}")));
    }
    Ok(())
}

fn at_least(flag: &str, value: u64, min: u64) -> Result<(), ConfigError> {
    if value < min {
        return Err(ConfigError(format!(
            "{flag}: {value} bytes are less than {min}, which the other limits need"
        )));
    }
    Ok(())
}
