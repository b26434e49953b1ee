//! Flotilla: through its SDK, or by unary calls like those of any gRPC client.

use std::time::Duration;

use bytes::Bytes;
use flotilla_client::{Client, Error, ScanRange};
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::{status, v1};
use futures_util::StreamExt;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::recorder::Failed;

/// An operation fails when it has taken so long: patience for whatever happens to the fleet meanwhile.
const DEADLINE: Duration = Duration::from_secs(10);

/// The SDK, straight to the leaders or through routers.
#[derive(Clone, Debug)]
pub(crate) struct Sdk(Client);

impl Sdk {
    pub(super) async fn open(endpoints: &[String], through_routers: bool) -> Result<Self, String> {
        let builder = Client::builder(endpoints.iter().cloned());
        let builder = builder.deadline(DEADLINE).through_endpoints(through_routers);
        builder.build().await.map(Self).map_err(|error| error.to_string())
    }

    pub(super) async fn read(&self, key: Bytes) -> Result<bool, Failed> {
        self.0.get(key).await.map(|value| value.is_some()).map_err(failed)
    }

    pub(super) async fn write(&self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        self.0.put(key, value).await.map(drop).map_err(failed)
    }

    pub(super) async fn scan(&self, from: Bytes, records: u64) -> Result<u64, Failed> {
        let mut scan = self.0.scan(ScanRange { from, limit: Some(records), ..ScanRange::default() });
        let mut seen = 0;
        while let Some(record) = scan.next().await {
            record.map_err(failed)?;
            seen += 1;
        }
        Ok(seen)
    }
}

fn failed(error: Error) -> Failed {
    match error {
        Error::Unknown { .. } => Failed::Unknown(error.to_string()),
        Error::Invalid { .. } | Error::NotExecuted { .. } => Failed::Refused(error.to_string()),
    }
}

/// One channel, one call per operation, in PROXY mode.
#[derive(Clone, Debug)]
pub(crate) struct Unary(KvClient<Channel>);

impl Unary {
    pub(super) async fn open(endpoint: &str) -> Result<Self, String> {
        let channel =
            connection(endpoint)?.connect().await.map_err(|error| format!("{endpoint}: {error}"))?;
        Ok(Self(KvClient::new(channel)))
    }

    /// Connects when it is used, and again whenever it breaks.
    pub(super) fn lazy(endpoint: &str) -> Result<Self, String> {
        Ok(Self(KvClient::new(connection(endpoint)?.connect_lazy())))
    }

    pub(super) async fn read(&self, key: Bytes) -> Result<bool, Failed> {
        let request = v1::GetRequest { key, ..v1::GetRequest::default() };
        let answer = self.0.clone().get(request).await.map_err(refused)?.into_inner();
        match answer.outcome {
            Some(v1::get_response::Outcome::Result(result)) => Ok(result.record.is_some()),
            other => Err(Failed::Refused(format!("no result: {other:?}"))),
        }
    }

    pub(super) async fn write(&self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        let request = v1::PutRequest { key, value, ..v1::PutRequest::default() };
        let answer = self.0.clone().put(request).await.map_err(refused)?.into_inner();
        match answer.outcome {
            Some(v1::put_response::Outcome::Result(_)) => Ok(()),
            other => Err(Failed::Refused(format!("no result: {other:?}"))),
        }
    }

    pub(super) async fn scan(&self, from: Bytes, limit: u64) -> Result<u64, Failed> {
        let request = v1::ScanRequest { from, limit, ..v1::ScanRequest::default() };
        let mut pages = self.0.clone().scan(request).await.map_err(refused)?.into_inner();
        let mut seen = 0;
        while let Some(page) = pages.message().await.map_err(refused)? {
            if let Some(v1::scan_response::Outcome::Result(page)) = page.outcome {
                seen += page.records.len() as u64;
            }
        }
        Ok(seen)
    }
}

pub(super) fn refused(failure: Status) -> Failed {
    if status::definite(&failure) {
        Failed::Refused(failure.to_string())
    } else {
        Failed::Unknown(failure.to_string())
    }
}

fn connection(endpoint: &str) -> Result<Endpoint, String> {
    let made = Endpoint::from_shared(format!("http://{endpoint}")).map_err(|error| error.to_string())?;
    Ok(made.tcp_nodelay(true))
}
