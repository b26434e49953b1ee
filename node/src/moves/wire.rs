//! What is asked and answered for moves, and its protobuf.

use std::collections::BTreeSet;

use flotilla_proto::v1;
use flotilla_proto::v1::change_members_request::Change as WireChange;
use flotilla_raft::{Change, Index, Leave, ProgressKind, ReplicaId, Term};

use crate::controller::{FollowerSeen, ReplicaSeen};
use crate::transport::codec::{WireError, decode_configuration};

/// What a replica says of itself.
///
/// # Errors
/// Its members make no sense.
pub fn decode_seen(status: &v1::ReplicaStatus) -> Result<ReplicaSeen, WireError> {
    let configuration = status.configuration.clone().unwrap_or_default();
    let follower = |it: &v1::FollowerStatus| {
        let state = match it.progress() {
            v1::Progress::Probe => ProgressKind::Probe,
            v1::Progress::Replicate => ProgressKind::Replicate,
            v1::Progress::Snapshot => ProgressKind::Snapshot,
        };
        let seen = FollowerSeen { lag: it.lag, state, active: it.active, bytes_sent: it.snapshot_bytes_sent };
        (ReplicaId(it.replica), seen)
    };
    Ok(ReplicaSeen {
        replica: ReplicaId(status.replica),
        term: Term(status.term),
        leads: status.role() == v1::Role::Leader,
        configuration: decode_configuration(&configuration)?,
        configuration_index: Index(status.configuration_index),
        settled: status.configuration_settled,
        followers: status.followers.iter().map(follower).collect(),
        bytes: status.bytes,
    })
}

/// A change of members, for the wire. Nothing: leaving a joint configuration is the leader's own business.
pub(super) fn encode_change(change: &Change) -> Option<WireChange> {
    let ids = |replicas: &BTreeSet<ReplicaId>| replicas.iter().map(|replica| replica.0).collect::<Vec<_>>();
    Some(match change {
        Change::AddLearners(replicas) => WireChange::AddLearners(v1::ReplicaIds { replicas: ids(replicas) }),
        Change::RemoveLearners(replicas) => {
            WireChange::RemoveLearners(v1::ReplicaIds { replicas: ids(replicas) })
        }
        Change::Enter { promote, demote, remove, .. } => WireChange::Enter(v1::EnterJoint {
            promote: ids(promote),
            demote: ids(demote),
            remove: ids(remove),
        }),
        Change::Leave => return None,
    })
}

/// What [`encode_change`] made.
pub(super) fn decode_change(change: WireChange) -> Change {
    let set = |ids: Vec<u64>| ids.into_iter().map(ReplicaId).collect::<BTreeSet<_>>();
    match change {
        WireChange::AddLearners(it) => Change::AddLearners(set(it.replicas)),
        WireChange::RemoveLearners(it) => Change::RemoveLearners(set(it.replicas)),
        WireChange::Enter(v1::EnterJoint { promote, demote, remove }) => Change::Enter {
            promote: set(promote),
            demote: set(demote),
            remove: set(remove),
            leave: Leave::Auto,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_survive_the_wire() {
        let set = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect::<BTreeSet<_>>();
        let enter =
            Change::Enter { promote: set(&[4]), demote: set(&[2]), remove: set(&[1, 3]), leave: Leave::Auto };
        for change in [Change::AddLearners(set(&[4, 5])), Change::RemoveLearners(set(&[4])), enter] {
            assert_eq!(encode_change(&change).map(decode_change), Some(change));
        }
        assert_eq!(encode_change(&Change::Leave), None);
    }

    #[test]
    fn members_out_of_order_are_refused() {
        let configuration = v1::Configuration { voters: vec![2, 1], ..v1::Configuration::default() };
        let status = v1::ReplicaStatus { configuration: Some(configuration), ..v1::ReplicaStatus::default() };
        assert!(matches!(decode_seen(&status), Err(WireError::Order)));
    }
}
