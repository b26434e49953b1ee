//! etcd, by the calls of its own clients: `Range` and `Put`; and `Status`, which says who leads.

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use crate::recorder::Failed;

#[allow(missing_docs, unused_qualifications, clippy::all)]
mod wire {
    tonic::include_proto!("etcdserverpb");
}

use wire::kv_client::KvClient;
use wire::maintenance_client::MaintenanceClient;
use wire::{PutRequest, RangeRequest, StatusRequest};

/// One channel, one call per operation.
#[derive(Clone, Debug)]
pub(crate) struct Etcd(KvClient<Channel>);

impl Etcd {
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
        let request = RangeRequest { key, ..RangeRequest::default() };
        let answer = self.0.clone().range(request).await.map_err(|status| unknown(&status))?;
        Ok(!answer.into_inner().kvs.is_empty())
    }

    pub(super) async fn write(&self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        self.0.clone().put(PutRequest { key, value }).await.map(drop).map_err(|status| unknown(&status))
    }

    pub(super) async fn scan(&self, from: Bytes, records: u64) -> Result<u64, Failed> {
        // A range end of one zero byte stands for "to the last key".
        let range_end = Bytes::from_static(&[0]);
        let limit = i64::try_from(records).unwrap_or(i64::MAX);
        let request = RangeRequest { key: from, range_end, limit, ..RangeRequest::default() };
        let answer = self.0.clone().range(request).await.map_err(|status| unknown(&status))?;
        Ok(answer.into_inner().kvs.len() as u64)
    }
}

/// Whether this member leads, by its own word.
pub(crate) async fn leads(endpoint: &str) -> Result<bool, String> {
    let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let status = MaintenanceClient::new(channel).status(StatusRequest {}).await;
    let status = status.map_err(|status| status.to_string())?.into_inner();
    Ok(status.header.is_some_and(|header| header.member_id == status.leader))
}

/// etcd does not say whether a failed call was executed.
fn unknown(status: &tonic::Status) -> Failed {
    Failed::Unknown(status.to_string())
}

fn connection(endpoint: &str) -> Result<Endpoint, String> {
    let made = Endpoint::from_shared(format!("http://{endpoint}")).map_err(|error| error.to_string())?;
    Ok(made.tcp_nodelay(true))
}
