//! The requests of one operation as something that can be sent, again and again, until answered.

use std::time::Duration;

use flotilla_proto::limits::MESSAGE_BYTES_MAX;
use flotilla_proto::v1;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::txn;

/// One unary method with its request.
pub(crate) trait Call: Sync {
    /// What it is answered with.
    type Answer: Send;

    /// Makes one attempt.
    fn send(
        &self,
        channel: Channel,
        timeout: Duration,
    ) -> impl Future<Output = Result<Reply<Self::Answer>, Status>> + Send;

    /// The stamp of this answer, if the shard's leader gave it.
    fn stamp(_answer: &Self::Answer) -> Option<&v1::Stamp> {
        None
    }

    /// The same as an operation of a pipeline; nothing: it only goes by itself.
    fn operation(&self) -> Option<Operation> {
        None
    }

    /// What such an operation was answered with. Nothing: that is no answer to it.
    fn reply(_outcome: Outcome) -> Option<Reply<Self::Answer>> {
        None
    }

    /// Its keys and values.
    fn bytes(&self) -> usize {
        0
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    Answer(T),
    Redirect(v1::Redirect),
    /// Neither: a node of a later release, or a broken one.
    Nothing,
}

/// A request with our patience in its headers, so that the other side need not work longer than we wait.
pub(crate) fn request<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

macro_rules! unary {
    ($client:ident, $method:ident, $request:ident, $result:ident, $outcome:path, { $($more:tt)* }) => {
        impl Call for v1::$request {
            type Answer = v1::$result;

            async fn send(&self, channel: Channel, timeout: Duration) -> Result<Reply<v1::$result>, Status> {
                let mut client = $client(channel);
                let response = client.$method(request(self.clone(), timeout)).await?;
                Ok(Reply::from(response.into_inner().outcome))
            }

            $($more)*
        }

        impl From<Option<$outcome>> for Reply<v1::$result> {
            fn from(outcome: Option<$outcome>) -> Self {
                use $outcome as Said;
                match outcome {
                    Some(Said::Result(result)) => Self::Answer(result),
                    Some(Said::Redirect(redirect)) => Self::Redirect(redirect),
                    None => Self::Nothing,
                }
            }
        }
    };
}

/// A method of `Kv` that is also an operation of a pipeline.
macro_rules! piped {
    ($method:ident, $variant:ident, $request:ident, $result:ident, $outcome:path, $stamp:expr, $bytes:expr) => {
        unary!(kv, $method, $request, $result, $outcome, {
            fn stamp(answer: &v1::$result) -> Option<&v1::Stamp> {
                let stamp: fn(&v1::$result) -> Option<&v1::Stamp> = $stamp;
                stamp(answer)
            }

            fn operation(&self) -> Option<Operation> {
                Some(Operation::$variant(self.clone()))
            }

            fn reply(outcome: Outcome) -> Option<Reply<v1::$result>> {
                match outcome {
                    Outcome::$variant(response) => Some(Reply::from(response.outcome)),
                    _ => None,
                }
            }

            fn bytes(&self) -> usize {
                let bytes: fn(&v1::$request) -> usize = $bytes;
                bytes(self)
            }
        });
    };
}

// A stale answer carries its lag and may come from any replica; all others come from the leader.
piped!(
    get,
    Get,
    GetRequest,
    GetResult,
    v1::get_response::Outcome,
    |it| match it.lag {
        None => it.stamp.as_ref(),
        Some(_) => None,
    },
    |it| it.key.len()
);
piped!(put, Put, PutRequest, PutResult, v1::put_response::Outcome, |it| it.stamp.as_ref(), |it| it.key.len()
    + it.value.len());
piped!(
    delete,
    Delete,
    DeleteRequest,
    DeleteResult,
    v1::delete_response::Outcome,
    |it| it.stamp.as_ref(),
    |it| it.key.len()
);
piped!(
    compare_and_swap,
    CompareAndSwap,
    CompareAndSwapRequest,
    CompareAndSwapResult,
    v1::compare_and_swap_response::Outcome,
    |it| it.stamp.as_ref(),
    |it| it.key.len() + it.value.len()
);
piped!(txn, Txn, TxnRequest, TxnResult, v1::txn_response::Outcome, |it| it.stamp.as_ref(), txn::bytes);
unary!(cluster, get_map, GetMapRequest, ClusterMap, v1::get_map_response::Outcome, {});
unary!(
    cluster,
    transfer_leader,
    TransferLeaderRequest,
    TransferLeaderResult,
    v1::transfer_leader_response::Outcome,
    {}
);

/// Keys and values over this connection.
pub(crate) fn kv(channel: Channel) -> v1::kv_client::KvClient<Channel> {
    kv_within(channel, MESSAGE_BYTES_MAX)
}

/// Keys and values over this connection, in messages of at most so many bytes.
pub(crate) fn kv_within(channel: Channel, bytes_max: usize) -> v1::kv_client::KvClient<Channel> {
    v1::kv_client::KvClient::new(channel)
        .max_decoding_message_size(bytes_max)
        .max_encoding_message_size(bytes_max)
}

/// The fleet over this connection.
pub(crate) fn cluster(channel: Channel) -> v1::cluster_client::ClusterClient<Channel> {
    v1::cluster_client::ClusterClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
