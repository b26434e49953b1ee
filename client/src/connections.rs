//! One connection per address, made when first needed, shared by all operations.
//!
//! A connection is made before anything is sent over it, so that a failure to connect is known for what it is: surely not
//! executed. After a connection broke it is dropped here and made anew; left to itself the channel would reconnect in the
//! middle of a later request, and a refusal then could not be told from a loss.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flotilla_tls::{Tls, Whom, connect};
use tokio::time::{Instant, timeout};
use tonic::transport::{Channel, Endpoint};

/// How often an idle or silent connection is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How long it may take to say so. Longer than an attempt: a machine under load answers late, and a connection that is given
/// up loses everything under way on it. Who is silent is left by the attempt's timeout long before.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(4);

/// How much may be sent ahead of us on one stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// … and on all streams of a connection: the most that HTTP/2 can say, so that only the streams' own bounds count. With less,
/// streams that nobody reads at the moment (a merge that waits for another shard, a slow reader of a scan) use up what the others
/// need. The merge then waits for a page that cannot come for ever, in every new attempt too.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// A connection that may be given back as broken.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    made: Instant,
}

/// All connections of a client.
#[derive(Debug)]
pub(crate) struct Connections {
    connect_timeout: Duration,
    tls: Option<Tls>,
    berths: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Berth>>>>,
}

#[derive(Debug, Default)]
struct Berth {
    connection: Option<Connection>,
    failed: Option<(Instant, String)>,
}

impl Connections {
    pub(crate) const fn new(connect_timeout: Duration, tls: Option<Tls>) -> Self {
        Self { connect_timeout, tls, berths: Mutex::new(BTreeMap::new()) }
    }

    /// The connection to this address, made now if there is none. Fails with what people should read.
    pub(crate) async fn get(&self, address: &str) -> Result<Connection, String> {
        let asked = Instant::now();
        let berth = self.berth(address);
        let mut berth = berth.lock().await;
        if let Some(connection) = &berth.connection {
            return Ok(connection.clone());
        }
        // Many wait for one dead address: the failure that they waited for is theirs too. Else each would wait out its own
        // timeout, one after the other.
        if let Some((at, reason)) = &berth.failed
            && *at >= asked
        {
            return Err(reason.clone());
        }
        match self.connect(address).await {
            Ok(channel) => {
                let connection = Connection { channel, made: Instant::now() };
                berth.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(reason) => {
                berth.failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    /// This connection broke: the next one to need the address makes a new one.
    pub(crate) async fn forget(&self, address: &str, broken: &Connection) {
        let berth = self.berth(address);
        let mut berth = berth.lock().await;
        if berth.connection.as_ref().is_some_and(|present| present.made == broken.made) {
            berth.connection = None;
        }
    }

    fn berth(&self, address: &str) -> Arc<tokio::sync::Mutex<Berth>> {
        let mut berths = self.berths.lock().unwrap_or_else(PoisonError::into_inner);
        match berths.get(address) {
            Some(berth) => Arc::clone(berth),
            None => Arc::clone(berths.entry(address.to_owned()).or_default()),
        }
    }

    async fn connect(&self, address: &str) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| format!("{address}: {error}"))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let connecting = connect(endpoint, self.tls.as_ref(), Whom::Server);
        match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(format!("{address}: {}", innermost(&error))),
            Err(_) => Err(format!("{address}: no connection within {} ms", self.connect_timeout.as_millis())),
        }
    }
}

/// The reason behind the reasons: "transport error" helps nobody.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
