//! What a node tells a client, in REDIRECT mode: the synchronous part of a node's front. The words for refusals are the
//! node's own (`node/src/api/refusals.rs`), and what they mean to a client is decided by the SDK.

use flotilla_client::dispatch::Failure;
use flotilla_node::api::refusals;
use flotilla_node::host::{Answer, Refusal};
use flotilla_raft::Term;
use flotilla_store::Outcome;
use flotilla_topology::{ClusterMap, NodeId, Route, ShardId};

use super::{HeardAnswer, Question, Said};

/// The shard that a question is for, by the map.
pub fn shard_of(map: &ClusterMap, question: &Question) -> ShardId {
    map.shard_of(question.slot)
}

/// What the client that asked is told.
pub fn said(map: &ClusterMap, node: NodeId, question: &Question, answer: Answer) -> Said {
    let shard = shard_of(map, question);
    let redirect = |term: Term, leader: Option<NodeId>| {
        let leader = leader.and_then(|node| Some((node, map.nodes.get(&node)?.client_addr.clone())));
        Said::Redirect(Route { slot: question.slot, shard, epoch: map.epoch, term, leader })
    };
    let status = match answer {
        Answer::Refused(Refusal::NotLeader { term, leader, .. }) => return redirect(term, leader),
        Answer::Refused(Refusal::NotHosted { .. }) => {
            return redirect(Term::default(), map.preference(shard).find(|other| *other != node));
        }
        Answer::Refused(refusal) => refusals::refused(shard, &refusal),
        Answer::WrongSlot(..) | Answer::Written(_, Outcome::WrongSlot { .. }) => refusals::wrong_slot(shard),
        Answer::Written(_, Outcome::Refused(refused)) => refusals::not_again(shard, refused),
        answer => match HeardAnswer::of(node, question, answer) {
            Some(heard) => return Said::Answer(Box::new(heard)),
            None => panic!("{node} answered {question:?} with what is no answer to it"),
        },
    };
    Said::Failed(Failure::from_status(&status))
}
