//! `Kv`: keys and values, forwarded to the leaders of their shards.

use std::pin::Pin;

use flotilla_client::Unanswered;
use flotilla_client::dispatch::Target;
use flotilla_proto::v1;
use flotilla_proto::v1::kv_server::Kv;
use flotilla_topology::ShardId;
use prost::Message;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::door::{Door, patience};
use crate::fleet::Fleet;
use crate::metrics::{Op, Outcome as Counted};
use crate::pipeline::{self, Results, pass};
use crate::statuses::status_of;
use crate::verbs::{self, Told};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct KvService(pub(crate) Fleet);

type Pages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;

impl KvService {
    /// One request, as an operation of a pipeline.
    async fn pass<M: Message, R: Told, F: Future<Output = Result<R, Status>>>(
        &self,
        op: Op,
        request: Request<M>,
        verb: impl FnOnce(Door, M) -> F,
    ) -> Result<Response<R>, Status> {
        let within = patience(request.metadata());
        pass(&self.0, op, within, request.into_inner(), verb).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        self.pass(Op::Get, request, verbs::get).await
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        self.pass(Op::Put, request, verbs::put).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        self.pass(Op::Delete, request, verbs::delete).await
    }

    async fn compare_and_swap(
        &self,
        request: Request<v1::CompareAndSwapRequest>,
    ) -> Result<Response<v1::CompareAndSwapResponse>, Status> {
        self.pass(Op::Cas, request, verbs::compare_and_swap).await
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        self.pass(Op::Txn, request, verbs::txn).await
    }

    type PipelineStream = Results;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Results>, Status> {
        Ok(Response::new(pipeline::serve(self.0.clone(), request.into_inner())))
    }

    type ScanStream = Pages;

    /// A scan of all shards has no one leader, so `route_mode` only counts for a scan of one.
    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Pages>, Status> {
        use v1::scan_response::Outcome;
        let count = self.0.counting(Op::Scan);
        let (door, message) = Door::open_for(&self.0, request)?;
        let target = Target::Shard(message.shard.map_or(ShardId::META, ShardId));
        let redirect = door.redirect(message.route_mode, target)?;
        if let (Some(_), Some(redirect)) = (message.shard, redirect) {
            count.answered(&Counted::Redirected);
            let response = v1::ScanResponse { outcome: Some(Outcome::Redirect(redirect)) };
            return Ok(Response::new(Box::pin(tokio_stream::once(Ok(response)))));
        }
        // Counted page by page: a scan may last as long as its reader likes.
        let fleet = self.0.clone();
        let pages = door.forwarder.scan(message).map(move |page| {
            let count = fleet.counting(Op::Scan);
            let page = page.map_err(|error| status_of(&Unanswered::from(error)));
            count.answered(&page.as_ref().map_or_else(|failure| failure.into(), |_| Counted::Ok));
            Ok(v1::ScanResponse { outcome: Some(Outcome::Result(page?)) })
        });
        Ok(Response::new(Box::pin(pages)))
    }
}
