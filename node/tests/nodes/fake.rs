//! A node that does as it is told, and remembers what it was asked.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use flotilla_proto::v1::kv_server::{Kv, KvServer};
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use flotilla_proto::v1::{self, PipelineRequest, PipelineResponse, PipelineResult, RouteMode};
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What it does with those who open a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It lets them in when it is told to, and then answers everything.
    AnswerWhenLetIn,
    /// It takes operations and says nothing.
    Nothing,
}

/// A fake node.
pub struct Fake {
    book: Arc<Book>,
    /// Of its own: when it ends, so do all connections, as if the process had been killed.
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Debug)]
struct Book {
    does: Does,
    knocked: watch::Sender<bool>,
    open: watch::Sender<bool>,
    /// How many operations came in each message.
    messages: Mutex<Vec<usize>>,
    keys: Mutex<Vec<String>>,
    asked: watch::Sender<bool>,
}

impl Fake {
    /// A fake at this port.
    pub async fn start(port: u16, does: Does) -> Self {
        let book = Arc::new(Book {
            does,
            knocked: watch::Sender::new(false),
            open: watch::Sender::new(does == Does::Nothing),
            messages: Mutex::default(),
            keys: Mutex::default(),
            asked: watch::Sender::new(false),
        });
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = KvServer::new(FakeNode(Arc::clone(&book)));
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            drop(
                tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await,
            );
        });
        Self { book, runtime: Some(runtime) }
    }

    /// Somebody wants to open a pipeline.
    pub async fn knocked(&self) {
        self.book.knocked.subscribe().wait_for(|knocked| *knocked).await.unwrap();
    }

    /// Lets in who knocked, and whoever will.
    pub fn let_in(&self) {
        self.book.open.send_replace(true);
    }

    /// An operation has come.
    pub async fn asked(&self) {
        self.book.asked.subscribe().wait_for(|asked| *asked).await.unwrap();
    }

    /// Ends it in the middle of everything.
    pub fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub fn messages(&self) -> usize {
        self.book.messages.lock().unwrap().len()
    }

    pub fn keys(&self) -> Vec<String> {
        self.book.keys.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.die();
    }
}

#[derive(Clone, Debug)]
struct FakeNode(Arc<Book>);

impl FakeNode {
    fn take(&self, message: PipelineRequest) -> Vec<PipelineResult> {
        self.0.messages.lock().unwrap().push(message.operations.len());
        let mut results = Vec::new();
        for operation in message.operations {
            let Some(Operation::Put(put)) = operation.operation else {
                panic!("only puts are forwarded here")
            };
            assert_eq!(put.route_mode(), RouteMode::Redirect, "it would be forwarded twice");
            self.0.keys.lock().unwrap().push(String::from_utf8(put.key.to_vec()).unwrap());
            let result = v1::put_response::Outcome::Result(v1::PutResult { version: 1, stamp: None });
            let outcome = Some(Outcome::Put(v1::PutResponse { outcome: Some(result) }));
            results.push(PipelineResult { id: operation.id, outcome });
        }
        self.0.asked.send_replace(true);
        results
    }
}

type Pages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;

fn alone<T>() -> Result<Response<T>, Status> {
    panic!("nothing goes by itself")
}

#[tonic::async_trait]
impl Kv for FakeNode {
    type PipelineStream = ReceiverStream<Result<PipelineResponse, Status>>;
    type ScanStream = Pages;

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        self.0.knocked.send_replace(true);
        self.0.open.subscribe().wait_for(|open| *open).await.unwrap();
        let (sender, results) = mpsc::channel(16);
        let (node, mut messages) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let results = node.take(message);
                if node.0.does == Does::AnswerWhenLetIn {
                    // The node that asked may have ended.
                    drop(sender.send(Ok(PipelineResponse { results })).await);
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(results)))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        alone()
    }

    async fn put(&self, _: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        alone()
    }

    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteResponse>, Status> {
        alone()
    }

    async fn compare_and_swap(
        &self,
        _: Request<v1::CompareAndSwapRequest>,
    ) -> Result<Response<v1::CompareAndSwapResponse>, Status> {
        alone()
    }

    async fn txn(&self, _: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        alone()
    }

    async fn scan(&self, _: Request<v1::ScanRequest>) -> Result<Response<Pages>, Status> {
        alone()
    }
}
