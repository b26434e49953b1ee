//! etcd, by the calls of its own clients: `Range` and `Put`.

use bytes::Bytes;
use tonic::transport::{Channel, Endpoint};

use crate::recorder::Failed;

#[allow(missing_docs, unused_qualifications, clippy::all)]
mod wire {
    tonic::include_proto!("etcdserverpb");
}

use wire::kv_client::KvClient;
use wire::{PutRequest, RangeRequest};

/// One channel, one call per operation.
#[derive(Clone, Debug)]
pub(crate) struct Etcd(KvClient<Channel>);

impl Etcd {
    pub(super) async fn open(endpoint: &str) -> Result<Self, String> {
        let channel = Endpoint::from_shared(format!("http://{endpoint}"))
            .map_err(|error| error.to_string())?
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|error| format!("{endpoint}: {error}"))?;
        Ok(Self(KvClient::new(channel)))
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

/// etcd does not say whether a failed call was executed.
fn unknown(status: &tonic::Status) -> Failed {
    Failed::Unknown(status.to_string())
}
