//! Pipelines of a fake node: each operation is played as its own method, and answered by itself.

use super::*;
use flotilla_proto::status;
use flotilla_proto::v1::kv_server::Kv;
use flotilla_proto::v1::pipeline_operation::Operation;
use flotilla_proto::v1::pipeline_result::Outcome;
use tonic::Streaming;

pub type Results = ReceiverStream<Result<v1::PipelineResponse, Status>>;

/// What a node does with those who open a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manners {
    /// It takes operations.
    #[default]
    Open,
    /// It has never heard of pipelines.
    Unheard,
    /// It says nothing at all.
    Silent,
}

/// Opens a pipeline.
pub async fn open(node: FakeNode, messages: Streaming<v1::PipelineRequest>) -> Result<Results, Status> {
    let manners = *node.sea.manners.lock().unwrap();
    match manners {
        Manners::Open => {}
        Manners::Unheard => return Err(Status::unimplemented("what is a pipeline?")),
        Manners::Silent => std::future::pending().await,
    }
    let (sender, results) = mpsc::channel(16);
    tokio::spawn(serve(node, messages, sender));
    Ok(ReceiverStream::new(results))
}

type Sender = mpsc::Sender<Result<v1::PipelineResponse, Status>>;

async fn serve(node: FakeNode, mut messages: Streaming<v1::PipelineRequest>, sender: Sender) {
    // Those under way end with the pipeline.
    let mut under_way = JoinSet::new();
    while let Ok(Some(message)) = messages.message().await {
        node.sea.messages.lock().unwrap().push(message.operations.len());
        for operation in message.operations {
            let (node, sender) = (node.clone(), sender.clone());
            under_way.spawn(async move {
                assert!(operation.timeout_ms > 0, "the client always says how long it waits");
                let outcome = play(&node, operation.operation.unwrap()).await;
                let outcome = Some(outcome.unwrap_or_else(|status| Outcome::Failure(failure(&status))));
                let results = vec![v1::PipelineResult { id: operation.id, outcome }];
                // The client may be gone.
                let _ = sender.send(Ok(v1::PipelineResponse { results })).await;
            });
        }
    }
}

async fn play(node: &FakeNode, operation: Operation) -> Result<Outcome, Status> {
    Ok(match operation {
        Operation::Get(it) => Outcome::Get(node.get(Request::new(it)).await?.into_inner()),
        Operation::Put(it) => Outcome::Put(node.put(Request::new(it)).await?.into_inner()),
        Operation::Delete(it) => Outcome::Delete(node.delete(Request::new(it)).await?.into_inner()),
        Operation::CompareAndSwap(it) => {
            Outcome::CompareAndSwap(node.compare_and_swap(Request::new(it)).await?.into_inner())
        }
        Operation::Txn(it) => Outcome::Txn(node.txn(Request::new(it)).await?.into_inner()),
    })
}

fn failure(status: &Status) -> v1::PipelineFailure {
    let message = status.message().to_owned();
    v1::PipelineFailure { code: status.code() as i32, message, detail: status::detail(status) }
}
