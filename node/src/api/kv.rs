//! The `Kv` service: one file per verb.

use std::sync::Arc;

use flotilla_proto::v1::kv_server::Kv;
use flotilla_proto::v1::{
    CompareAndSwapRequest, CompareAndSwapResponse, DeleteRequest, DeleteResponse, GetRequest, GetResponse,
    PipelineRequest, PutRequest, PutResponse, ScanRequest, TxnRequest, TxnResponse,
};
use tonic::{Request, Response, Status, Streaming};

use super::compare_and_swap::CompareAndSwap;
use super::delete::Delete;
use super::front::Front;
use super::get::Get;
use super::pipeline::{Results, pipeline};
use super::put::Put;
use super::scan::{self, Pages};
use super::txn::Txn;

/// The `Kv` service of a node.
#[derive(Clone, Debug)]
pub struct KvService(pub Arc<Front>);

#[tonic::async_trait]
impl Kv for KvService {
    type PipelineStream = Results;

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Results>, Status> {
        Ok(Response::new(pipeline(&self.0, request.into_inner())))
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
