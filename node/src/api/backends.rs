//! The way to the other nodes' client addresses, for requests that are forwarded.
//!
//! Operations on keys travel together: all that goes to one node at the same time shares the pipeline to it, whoever asked.
//! What is seldom asked (the map, a transfer of leadership), and scans, go by themselves.
//!
//! What it does not do: choose the node. That is `front.rs`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_client::dispatch::{Failure, Verdict};
use flotilla_client::{Courier, CourierOptions, Undelivered};
use flotilla_proto::status;
use flotilla_proto::v1::ErrorDetail;
use flotilla_proto::v1::cluster_client::ClusterClient;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_tls::{Tls, Whom, connect_lazy};
use flotilla_topology::ShardId;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::refusals;

/// A node that does not answer a connection attempt for so long is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A node that does not agree to a pipeline for so long gets nothing. Longer than a busy machine takes to say so.
const OPENING_TIMEOUT: Duration = Duration::from_secs(1);
/// How many bytes may be on their way to other nodes. More is refused, as what finds an inbox full.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;
/// A connection is asked for a sign of life this often while requests are under way …
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// … and given up when the sign does not come for so long.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The connections to other nodes, made when they are first needed.
#[derive(Debug)]
pub(super) struct Backends {
    courier: Courier,
    /// One channel per address, for what goes by itself. A channel connects again by itself, and resolves its host again
    /// each time.
    channels: Mutex<HashMap<String, Channel>>,
    message_bytes_max: usize,
    tls: Option<Tls>,
}

/// The request did not leave.
#[derive(Debug, thiserror::Error)]
#[error("the request did not leave")]
struct NotSent;

impl Backends {
    /// No connections yet; encrypted ones where there are credentials. Messages may have so many bytes, both ways.
    pub(super) fn new(message_bytes_max: usize, tls: Option<Tls>) -> Self {
        let courier = Courier::new(&CourierOptions {
            connect_timeout: CONNECT_TIMEOUT,
            opening_timeout: OPENING_TIMEOUT,
            under_way_bytes_max: UNDER_WAY_BYTES_MAX,
            message_bytes_max,
            tls: tls.clone(),
        });
        Self { courier, channels: Mutex::default(), message_bytes_max, tls }
    }

    /// Has an operation of so many bytes executed at an address. The status says truthfully whether it may have been.
    pub(super) async fn carry(
        &self,
        shard: ShardId,
        address: &str,
        operation: Operation,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<Outcome, Status> {
        let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let carried = self.courier.carry(address, operation, bytes, patience).await;
        carried.map_err(|undelivered| match undelivered {
            Undelivered::Full => refusals::forwards_full(shard),
            Undelivered::Failed(failure) => {
                let late = deadline.is_some_and(|deadline| deadline <= Instant::now());
                status_of(shard, failure, late)
            }
        })
    }

    /// The `Kv` service at an address, for scans.
    pub(super) fn kv(&self, address: &str) -> Result<KvClient<Channel>, Status> {
        let client = KvClient::new(self.channel(address)?);
        Ok(client
            .max_decoding_message_size(self.message_bytes_max)
            .max_encoding_message_size(self.message_bytes_max))
    }

    /// The `Cluster` service at an address.
    pub(super) fn cluster(&self, address: &str) -> Result<ClusterClient<Channel>, Status> {
        let client = ClusterClient::new(self.channel(address)?);
        Ok(client
            .max_decoding_message_size(self.message_bytes_max)
            .max_encoding_message_size(self.message_bytes_max))
    }

    fn channel(&self, address: &str) -> Result<Channel, Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            status::unavailable(None, 0, format!("the map names {address:?}, which is no address: {error}"))
        })?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE_INTERVAL)
            .keep_alive_timeout(ALIVE_TIMEOUT);
        let channel = connect_lazy(&endpoint, self.tls.as_ref(), Whom::Server);
        channels.insert(address.to_string(), channel.clone());
        Ok(channel)
    }
}

/// What a failed attempt says to the one who asked us: a refusal of the other node is passed on with its hints; where no node
/// spoke, it is known whether the operation had left.
fn status_of(shard: ShardId, failure: Failure, late: bool) -> Status {
    let Failure { definite, verdict, retry_after, code, message, shard_time_ms } = failure;
    let Some(code) = code else {
        return match (late, definite) {
            (true, _) => refusals::too_late(shard, definite),
            (false, true) => {
                let mut status = refusals::unreachable(shard, &message);
                status.set_source(Arc::new(NotSent));
                status
            }
            (false, false) => refusals::broken(shard, &message),
        };
    };
    let detail = ErrorDetail {
        definite,
        retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        shard: Some(shard.0),
        field: if let Verdict::Invalid { field } = verdict { field } else { String::new() },
        shard_time_ms: shard_time_ms.unwrap_or_default(),
    };
    status::with_detail(code, message, &detail)
}

/// What the status of a request that went by itself says to the one who asked us: our own detail is passed on; a connection
/// that was never made means "surely not executed"; everything else is ambiguous.
pub(super) fn passed_on(shard: ShardId, failure: Status) -> Status {
    if status::detail(&failure).is_some() {
        return failure;
    }
    if never_connected(&failure) {
        return refusals::unreachable(shard, "no connection");
    }
    refusals::broken(shard, failure.message())
}

/// Whether the request never left, because there was no connection to send it on.
pub(super) fn never_connected(failure: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = failure.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() || error.is::<NotSent>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use flotilla_proto::v1;
    use tonic::Code;

    use super::*;

    const SHARD: ShardId = ShardId(1);

    fn get() -> Operation {
        Operation::Get(v1::GetRequest { key: "ship".into(), ..v1::GetRequest::default() })
    }

    /// Nobody listens there.
    fn nobody() -> String {
        let bound_and_dropped = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        bound_and_dropped.local_addr().unwrap().to_string()
    }

    /// Who takes connections and something of each request, then hangs up.
    async fn rude() -> (String, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.readable().await.unwrap();
                drop(stream);
            }
        });
        (address, server)
    }

    #[tokio::test]
    async fn a_connection_that_was_never_made_is_definite() {
        let address = nobody();
        let backends = Backends::new(1 << 20, None);
        let failure = backends.carry(SHARD, &address, get(), 4, None).await.unwrap_err();
        assert!(never_connected(&failure), "{failure:?}");
        assert_eq!((failure.code(), status::definite(&failure)), (Code::Unavailable, true));

        let mut alone = backends.cluster(&address).unwrap();
        let failure = alone.get_map(v1::GetMapRequest::default()).await.unwrap_err();
        assert!(never_connected(&failure), "{failure:?}");
        let told = passed_on(SHARD, failure);
        assert_eq!((told.code(), status::definite(&told)), (Code::Unavailable, true));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_ambiguous_for_what_had_left() {
        let (address, server) = rude().await;
        let backends = Backends::new(1 << 20, None);
        let mut alone = backends.cluster(&address).unwrap();
        let failure = alone.get_map(v1::GetMapRequest::default()).await.unwrap_err();
        let told = passed_on(SHARD, failure);
        assert_eq!((told.code(), status::definite(&told)), (Code::Unknown, false));
        // On a lane nothing leaves before the other side has agreed.
        let failure = backends.carry(SHARD, &address, get(), 4, None).await.unwrap_err();
        assert_eq!((failure.code(), status::definite(&failure)), (Code::Unavailable, true));
        server.abort();
    }

    #[test]
    fn a_refusal_of_the_other_node_is_passed_on_with_its_hints() {
        let detail = ErrorDetail {
            definite: true,
            retry_after_ms: 40,
            shard: Some(SHARD.0),
            field: "value".into(),
            shard_time_ms: 77,
        };
        let refusal = status::with_detail(Code::InvalidArgument, "too long", &detail);
        let told = status_of(SHARD, Failure::from_status(&refusal), true);
        assert_eq!((told.code(), told.message()), (Code::InvalidArgument, "too long"));
        assert_eq!(status::detail(&told), Some(detail));
    }

    #[test]
    fn where_no_node_spoke_it_is_known_whether_the_operation_had_left() {
        let told = |failure, late| status_of(SHARD, failure, late);
        let cases = [
            (told(Failure::not_sent("x"), false), Code::Unavailable, true),
            (told(Failure::not_sent("x"), true), Code::DeadlineExceeded, true),
            (told(Failure::lost("x"), false), Code::Unknown, false),
            (told(Failure::lost("x"), true), Code::DeadlineExceeded, false),
        ];
        for (status, code, definite) in cases {
            assert_eq!((status.code(), status::definite(&status)), (code, definite), "{status:?}");
        }
    }

    #[tokio::test]
    async fn too_much_on_its_way_is_refused_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let backends = Backends::new(1 << 20, None);
        // Nobody says anything on these connections.
        let large = backends.carry(SHARD, &address, get(), UNDER_WAY_BYTES_MAX, None);
        let small = backends.carry(SHARD, &address, get(), 4, None);
        let told = tokio::select! {
            biased;
            told = large => panic!("the first is refused: {told:?}"),
            told = small => told.unwrap_err(),
        };
        assert_eq!((told.code(), status::definite(&told)), (Code::ResourceExhausted, true));
    }
}
