//! One operation of a pipeline: any of the verbs, as its unary method would take it.

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_topology::{ClusterMap, ShardId};
use tokio::time::Instant;
use tonic::Status;

use crate::api::compare_and_swap::CompareAndSwap;
use crate::api::delete::Delete;
use crate::api::front::{Front, Leader, Routed, Verb};
use crate::api::get::Get;
use crate::api::put::Put;
use crate::api::refusals;
use crate::api::txn::Txn;
use crate::config::Limits;
use crate::host::{Answer, Token};
use crate::metrics::{Op, Outcome as Counted};
use crate::runtime::Input;

/// One line per verb: the name is that of its type, and of its variants on the wire.
macro_rules! verbs {
    ($($verb:ident),+) => {
        /// An operation within all limits.
        #[derive(Clone, Debug)]
        pub(super) enum Parsed {
            $($verb($verb)),+
        }

        /// What is left to know of an operation once its worker has it: how to tell its client the answer.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Kind {
            $($verb),+
        }

        impl Parsed {
            /// Bytes become types here, once. What is refused is counted.
            pub(super) fn parse(front: &Front, operation: Option<Operation>) -> Result<Self, Status> {
                Self::of(&front.limits, operation).map_err(|(op, refusal)| {
                    if let Some(op) = op {
                        front.ops().unplaced().count(op, Counted::Invalid);
                    }
                    refusal
                })
            }

            /// An operation, or why it is none, and of which kind it would have been.
            fn of(limits: &Limits, operation: Option<Operation>) -> Result<Self, (Option<Op>, Status)> {
                match operation {
                    $(Some(Operation::$verb(asked)) => $verb::parse(limits, asked)
                        .map(Self::$verb)
                        .map_err(|refusal| (Some($verb::OP), refusal)),)+
                    None => Err((None, refusals::no_such_operation())),
                }
            }

            pub(super) const fn kind(&self) -> Kind {
                match self {
                    $(Self::$verb(_) => Kind::$verb),+
                }
            }

            pub(super) fn key(&self) -> &Bytes {
                match self {
                    $(Self::$verb(verb) => verb.key()),+
                }
            }

            /// How much room it takes in an inbox, in bytes.
            pub(super) fn bytes(&self) -> usize {
                match self {
                    $(Self::$verb(verb) => verb.bytes()),+
                }
            }

            pub(super) fn route_mode(&self) -> v1::RouteMode {
                match self {
                    $(Self::$verb(verb) => verb.route_mode()),+
                }
            }

            /// What our worker is asked.
            pub(super) fn input(self, shard: ShardId, token: Token) -> Input {
                match self {
                    $(Self::$verb(verb) => verb.input(shard, token)),+
                }
            }

            /// Who leads, where that is another node for all that is known here.
            pub(super) fn led_elsewhere(&self, front: &Front, shard: ShardId) -> Option<Leader> {
                match self {
                    $(Self::$verb(verb) => front.led_elsewhere(shard, verb)),+
                }
            }

            /// Has it served by the node that leads, until the deadline.
            pub(super) async fn pass_on(
                &self,
                front: &Front,
                map: &ClusterMap,
                shard: ShardId,
                leader: Leader,
                deadline: Option<Instant>,
            ) -> Result<Outcome, Status> {
                match self {
                    $(Self::$verb(verb) => {
                        let routed = front.pass_on(map, shard, leader, verb, deadline).await?;
                        Ok(Outcome::$verb($verb::response(routed)))
                    }),+
                }
            }
        }

        impl Kind {
            /// How it is counted.
            pub(super) const fn op(self) -> Op {
                match self {
                    $(Self::$verb => $verb::OP),+
                }
            }

            /// What our worker's answer means, counted. The inner error names who leads instead.
            pub(super) fn answered(
                self,
                front: &Front,
                shard: ShardId,
                answer: Answer,
            ) -> Result<Result<Outcome, Leader>, Status> {
                match self {
                    $(Self::$verb => {
                        let told = |result| Outcome::$verb($verb::response(Routed::Done(result)));
                        Ok(front.answered::<$verb>(shard, answer)?.map(told))
                    }),+
                }
            }

            /// Another node leads.
            pub(super) fn elsewhere(self, redirect: v1::Redirect) -> Outcome {
                match self {
                    $(Self::$verb => Outcome::$verb($verb::response(Routed::Elsewhere(redirect)))),+
                }
            }
        }
    };
}

verbs!(Get, Put, Delete, CompareAndSwap, Txn);

/// What a node with these limits makes of an operation before it asks any shard: the key that says which shard that would
/// be.
///
/// # Errors
/// The refusal that the client gets.
pub fn examine(limits: &Limits, operation: Option<Operation>) -> Result<Bytes, Status> {
    let parsed = Parsed::of(limits, operation).map_err(|(_, refusal)| refusal)?;
    Ok(parsed.key().clone())
}
