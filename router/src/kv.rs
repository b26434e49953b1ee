//! `Kv`: keys and values, forwarded to the leaders of their shards.

use std::pin::Pin;

use bytes::Bytes;
use flotilla_client::Unanswered;
use flotilla_client::dispatch::Target;
use flotilla_proto::v1::kv_server::Kv;
use flotilla_proto::{status, v1};
use flotilla_topology::{ShardId, Slot};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::door::Door;
use crate::fleet::Fleet;
use crate::statuses::status_of;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct KvService(pub(crate) Fleet);

type Pages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;

/// One request for one key: told the way, or forwarded by this method of the SDK.
macro_rules! forward {
    ($fleet:expr, $request:expr, $method:ident, $response:ident, $outcome:path) => {{
        use $outcome as Outcome;
        let (door, message) = Door::open($fleet, $request)?;
        let target = target(&message.key)?;
        let outcome = match door.redirect(message.route_mode, target)? {
            Some(redirect) => Outcome::Redirect(redirect),
            None => {
                let answered = door.forwarder.$method(message).await;
                Outcome::Result(answered.map_err(|unanswered| status_of(&unanswered))?)
            }
        };
        Ok(Response::new(v1::$response { outcome: Some(outcome) }))
    }};
}

fn target(key: &Bytes) -> Result<Target, Status> {
    if key.is_empty() {
        return Err(status::invalid("key", "the key is empty"));
    }
    Ok(Target::Slot(Slot::of(key)))
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        forward!(&self.0, request, get, GetResponse, v1::get_response::Outcome)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        forward!(&self.0, request, put, PutResponse, v1::put_response::Outcome)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        forward!(&self.0, request, delete, DeleteResponse, v1::delete_response::Outcome)
    }

    async fn compare_and_swap(
        &self,
        request: Request<v1::CompareAndSwapRequest>,
    ) -> Result<Response<v1::CompareAndSwapResponse>, Status> {
        forward!(
            &self.0,
            request,
            compare_and_swap,
            CompareAndSwapResponse,
            v1::compare_and_swap_response::Outcome
        )
    }

    async fn txn(&self, _: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        Err(Status::unimplemented("no transactions here yet"))
    }

    type PipelineStream = Pin<Box<dyn Stream<Item = Result<v1::PipelineResponse, Status>> + Send>>;

    async fn pipeline(
        &self,
        _: Request<tonic::Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        Err(Status::unimplemented("no pipelines here yet"))
    }

    type ScanStream = Pages;

    /// A scan of all shards has no one leader, so `route_mode` only counts for a scan of one.
    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Pages>, Status> {
        use v1::scan_response::Outcome;
        let (door, message) = Door::open(&self.0, request)?;
        let target = Target::Shard(message.shard.map_or(ShardId::META, ShardId));
        let redirect = door.redirect(message.route_mode, target)?;
        if let (Some(_), Some(redirect)) = (message.shard, redirect) {
            let response = v1::ScanResponse { outcome: Some(Outcome::Redirect(redirect)) };
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(response)))));
        }
        let pages = door.forwarder.scan(message).map(|page| match page {
            Ok(page) => Ok(v1::ScanResponse { outcome: Some(Outcome::Result(page)) }),
            Err(error) => Err(status_of(&Unanswered::from(error))),
        });
        Ok(Response::new(Box::pin(pages)))
    }
}
