//! What is out of service, one series each: it vanishes with its cause.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use flotilla_daemon::metrics::{Registry, Scope};
use flotilla_topology::ShardId;
use flotilla_wal::Quarantined;

/// The series `kv_shard_quarantined`.
#[derive(Debug)]
pub(super) struct QuarantineSeries {
    registry: Registry,
    shown: Mutex<BTreeMap<ShardId, (Quarantined, Scope)>>,
}

impl QuarantineSeries {
    pub(super) fn new(registry: &Registry) -> Self {
        Self { registry: registry.clone(), shown: Mutex::default() }
    }

    /// Shows exactly these.
    pub(super) fn show(&self, all: &BTreeMap<ShardId, Quarantined>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|shard, (known, _)| all.get(shard) == Some(known));
        for (shard, out) in all {
            shown.entry(*shard).or_insert_with(|| {
                let scope = self.registry.scope();
                let labels = [
                    ("shard", shard.0.to_string()),
                    ("segment", out.at.segment.to_string()),
                    ("offset", out.at.offset.to_string()),
                ];
                scope.gauge("kv_shard_quarantined", &labels).set(1.0);
                (*out, scope)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_raft::ReplicaId;
    use flotilla_wal::RotAt;

    use super::*;

    #[test]
    fn what_is_out_of_service_is_shown_as_long_as_it_is() {
        let registry = Registry::new();
        let series = QuarantineSeries::new(&registry);
        let lines = || {
            let text = registry.render();
            text.lines().filter(|line| line.starts_with("kv_shard_q")).map(str::to_owned).collect::<Vec<_>>()
        };
        let out = Quarantined { replica: ReplicaId(3), at: RotAt { segment: 2, offset: 8192 } };
        series.show(&BTreeMap::from([(ShardId(7), out)]));
        assert_eq!(lines(), ["kv_shard_quarantined{shard=\"7\",segment=\"2\",offset=\"8192\"} 1"]);
        series.show(&BTreeMap::new());
        assert_eq!(lines(), Vec::<String>::new());
    }
}
