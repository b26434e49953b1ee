//! The `Kv` service: one file per verb.

use std::pin::Pin;
use std::sync::Arc;

use flotilla_proto::v1::kv_server::Kv;
use flotilla_proto::v1::{
    self, CompareAndSwapRequest, CompareAndSwapResponse, DeleteRequest, DeleteResponse, GetRequest,
    GetResponse, PutRequest, PutResponse, ScanRequest, TxnRequest, TxnResponse,
};
use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::compare_and_swap::CompareAndSwap;
use super::delete::Delete;
use super::front::Front;
use super::get::Get;
use super::put::Put;
use super::scan::{self, Pages};
use super::txn::Txn;

/// The `Kv` service of a node.
#[derive(Clone, Debug)]
pub struct KvService(pub Arc<Front>);

#[tonic::async_trait]
impl Kv for KvService {
    type PipelineStream = Pin<Box<dyn Stream<Item = Result<v1::PipelineResponse, Status>> + Send>>;

    async fn pipeline(
        &self,
        _: Request<tonic::Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        Err(Status::unimplemented("no pipelines here yet"))
    }

    type ScanStream = Pages;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.0.unary::<Get>(request).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.0.unary::<Put>(request).await
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.0.unary::<Delete>(request).await
    }

    async fn compare_and_swap(
        &self,
        request: Request<CompareAndSwapRequest>,
    ) -> Result<Response<CompareAndSwapResponse>, Status> {
        self.0.unary::<CompareAndSwap>(request).await
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        self.0.unary::<Txn>(request).await
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Result<Response<Pages>, Status> {
        scan::scan(&self.0, request.into_inner()).await
    }
}
