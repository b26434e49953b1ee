//! Redis, over a connection that pipelines what its clients ask at the same time.

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Client, RedisError};

use crate::recorder::Failed;

/// The library gives up after half a second, which no other target's client does.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Clone)]
pub(crate) struct Redis(MultiplexedConnection);

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redis")
    }
}

impl Redis {
    pub(super) async fn open(endpoint: &str) -> Result<Self, String> {
        let client = Client::open(format!("redis://{endpoint}/")).map_err(|error| error.to_string())?;
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&patient).await;
        connection.map(Self).map_err(|error| format!("{endpoint}: {error}"))
    }

    pub(super) async fn read(&self, key: Bytes) -> Result<bool, Failed> {
        let value: Result<Option<Vec<u8>>, RedisError> = self.0.clone().get(key.as_ref()).await;
        value.map(|value| value.is_some()).map_err(|error| Failed::Unknown(error.to_string()))
    }

    pub(super) async fn write(&self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        let written: Result<(), RedisError> = self.0.clone().set(key.as_ref(), value.as_ref()).await;
        written.map_err(|error| Failed::Unknown(error.to_string()))
    }
}
