//! Connections to the other nodes' client addresses, for requests that are forwarded.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flotilla_proto::status;
use flotilla_proto::v1::cluster_client::ClusterClient;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_topology::ShardId;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A node that does not answer a connection attempt for so long is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection is asked for a sign of life this often while requests are under way …
const ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// … and given up when the sign does not come for so long.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// One channel per address, made when it is first needed. A channel connects again by itself, and resolves its host
/// again each time.
#[derive(Debug, Default)]
pub(super) struct Backends {
    channels: Mutex<HashMap<String, Channel>>,
    message_bytes_max: usize,
}

impl Backends {
    /// No connections yet. Messages may have so many bytes, both ways.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self { channels: Mutex::default(), message_bytes_max }
    }

    /// The `Kv` service at an address.
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
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE_INTERVAL)
            .keep_alive_timeout(ALIVE_TIMEOUT)
            .connect_lazy();
        channels.insert(address.to_string(), channel.clone());
        Ok(channel)
    }
}

/// What a forwarded request's status says to the one who asked us: our own detail is passed on; a connection that was
/// never made means "surely not executed"; everything else is ambiguous.
pub(super) fn passed_on(shard: ShardId, failure: Status) -> Status {
    if status::detail(&failure).is_some() {
        return failure;
    }
    if never_connected(&failure) {
        return status::unavailable(Some(shard.0), 50, format!("the leader of {shard} cannot be reached"));
    }
    status::unknown(
        Some(shard.0),
        format!("the connection to the leader of {shard} broke: {}", failure.message()),
    )
}

/// Whether the request never left, because there was no connection to send it on.
pub(super) fn never_connected(failure: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = failure.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
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

    #[tokio::test]
    async fn a_connection_that_was_never_made_is_definite() {
        // Bound and dropped: nobody listens there now.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let backends = Backends::new(1 << 20);
        let failure = backends.kv(&address).unwrap().get(v1::GetRequest::default()).await.unwrap_err();
        assert!(never_connected(&failure), "{failure:?}");
        let told = passed_on(ShardId(1), failure);
        assert_eq!(told.code(), Code::Unavailable);
        assert!(status::definite(&told));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_ambiguous() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Take something of the request, then hang up.
                stream.readable().await.unwrap();
                drop(stream);
            }
        });
        let backends = Backends::new(1 << 20);
        let failure = backends.kv(&address).unwrap().get(v1::GetRequest::default()).await.unwrap_err();
        let told = passed_on(ShardId(1), failure);
        assert_eq!(told.code(), Code::Unknown);
        assert!(!status::definite(&told));
        server.abort();
    }
}
