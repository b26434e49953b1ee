//! The leader's side.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_proto::{PROTOCOL_VERSION, v1};
use flotilla_raft::{LogId, SnapshotMeta};
use flotilla_store::View;
use flotilla_store::snapshot::Reader;
use flotilla_tls::Whom;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status};

use super::SnapshotError;
use crate::host::SnapshotJob;
use crate::transport::codec;
use crate::transport::connection::connect;
use crate::transport::switchboard::Shared;

/// How many chunks wait between the reader thread and the network.
const CHUNKS_WAITING_MAX: usize = 2;

/// Streams a snapshot; returns the position of its last entry once the follower has staged it.
pub(in crate::transport) async fn send<V: View>(
    shared: &Arc<Shared>,
    job: SnapshotJob<V>,
) -> Result<LogId, SnapshotError> {
    let mut ended = shared.ended();
    tokio::select! {
        sent = stream(shared, job) => sent,
        _ = ended.wait_for(|ended| *ended) => Err(SnapshotError::Shutdown),
    }
}

async fn stream<V: View>(shared: &Arc<Shared>, job: SnapshotJob<V>) -> Result<LogId, SnapshotError> {
    // The semaphore is never closed.
    let waiting = shared.traffic.wait();
    let Ok(_permit) = shared.sending.acquire().await else { return Err(SnapshotError::Shutdown) };
    drop(waiting);
    let peer = shared.peer(job.node).ok_or(SnapshotError::Unknown(job.node))?;
    let options = &shared.options;
    let tls = options.tls.as_ref();
    let channel = connect(&peer.address(), Whom::Node(job.node), options.patience(), tls).await?;
    let header = Header {
        identity_node: shared.doorman.identity().node.0,
        cluster: shared.doorman.identity().cluster.0,
        to_node: job.node.0,
        shard: job.shard.0,
        from: job.from.0,
        to: job.to.0,
        term: job.term.0,
    };
    let (chunks, to_send) = mpsc::channel(CHUNKS_WAITING_MAX);
    let (moved, moving) = watch::channel(0_u64);
    let (tell, told) = oneshot::channel();
    let bytes_max = options.snapshot_chunk_bytes_max;
    let counted = shared.snapshots.begin(job.shard, job.to);
    tokio::task::spawn_blocking(move || {
        let read = read(job, header, bytes_max, &chunks);
        // Before the chunks end: whoever sees the stream end can learn why. Nobody listens any more: so be it.
        let _ = tell.send(read);
        drop(chunks);
    });
    let limit = options.message_bytes_max();
    let mut client =
        RaftClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit);
    let (budget, traffic) = (Arc::clone(&shared.budget), Arc::clone(&shared.traffic));
    let chunks = ReceiverStream::new(to_send).then(move |chunk| {
        let (budget, bytes) = (Arc::clone(&budget), chunk.data.len());
        async move {
            budget.wait_for(bytes).await;
            chunk
        }
    });
    // Counted as they leave, after they waited: what is told of a move goes on as fast as the move does.
    let chunks = chunks.inspect(move |chunk| {
        traffic.sent(chunk.data.len());
        counted.add(chunk.data.len());
        moved.send_modify(|chunks| *chunks += 1);
    });
    let call = client.snapshot(chunks);
    let replied = while_moving(call, moving, options.snapshot_idle_timeout).await?;
    judge(replied.map(Response::into_inner), told).await
}

/// The reply, provided that chunks go out until all are read, and that it comes soon after.
async fn while_moving<T>(
    call: impl Future<Output = T>,
    mut moving: watch::Receiver<u64>,
    idle: Duration,
) -> Result<T, SnapshotError> {
    tokio::pin!(call);
    loop {
        let patience = timeout(idle, moving.changed());
        tokio::select! {
            replied = &mut call => return Ok(replied),
            moved = patience => match moved {
                Ok(Ok(())) => {}
                // All is read: what is left is the reply.
                Ok(Err(_)) => break,
                Err(_) => return Err(SnapshotError::Idle(idle)),
            },
        }
    }
    timeout(idle, call).await.map_err(|_| SnapshotError::Idle(idle))
}

/// What came of the stream, from what the receiver replied and what the reader thread met.
async fn judge(
    replied: Result<v1::SnapshotReply, Status>,
    mut read: oneshot::Receiver<Result<Option<SnapshotMeta>, SnapshotError>>,
) -> Result<LogId, SnapshotError> {
    // Why it could not be read is why the stream broke. A reader that still reads has met nothing.
    let reading = match (&replied, read.try_recv()) {
        (_, Ok(read)) => read?,
        (Ok(v1::SnapshotReply { staged: true, .. }), Err(_)) => {
            read.await.map_err(|_| SnapshotError::Broken("the reader thread ended".to_string()))??
        }
        (_, Err(_)) => None,
    };
    match (replied, reading) {
        (Ok(v1::SnapshotReply { staged: true, .. }), Some(meta)) => Ok(meta.last),
        (Ok(reply), _) => Err(SnapshotError::Refused(reply.reason)),
        (Err(status), _) => match status.code() {
            Code::FailedPrecondition | Code::ResourceExhausted => {
                Err(SnapshotError::Refused(status.message().to_string()))
            }
            _ => Err(SnapshotError::Broken(status.message().to_string())),
        },
    }
}

/// What the first chunk says beside its position.
#[derive(Clone, Copy, Debug)]
struct Header {
    identity_node: u64,
    cluster: u128,
    to_node: u64,
    shard: u64,
    from: u64,
    to: u64,
    term: u64,
}

impl Header {
    fn encode(self, meta: &SnapshotMeta) -> v1::SnapshotHeader {
        v1::SnapshotHeader {
            cluster: Some(self.cluster.into()),
            from_node: self.identity_node,
            to_node: self.to_node,
            shard: self.shard,
            from: self.from,
            to: self.to,
            term: self.term,
            meta: Some(codec::encode_meta(meta)),
            protocol_version: PROTOCOL_VERSION,
        }
    }
}

/// Reads all chunks on a thread that may block. Returns what the snapshot stands for; `None` if the receiver lost interest first.
fn read<V: View>(
    job: SnapshotJob<V>,
    header: Header,
    bytes_max: usize,
    chunks: &mpsc::Sender<v1::SnapshotChunk>,
) -> Result<Option<SnapshotMeta>, SnapshotError> {
    let mut reader = Reader::new(job.view, job.shard)?.ok_or(SnapshotError::Empty)?;
    let meta = reader.meta();
    let mut header = Some(header.encode(&meta));
    let mut sequence = 0;
    let mut next = reader.next_chunk(bytes_max)?;
    while let Some(data) = next {
        // One ahead, so that the last chunk can say that it is the last.
        next = reader.next_chunk(bytes_max)?;
        let chunk = v1::SnapshotChunk { header: header.take(), sequence, data, last: next.is_none() };
        if chunks.blocking_send(chunk).is_err() {
            return Ok(None);
        }
        sequence += 1;
    }
    Ok(Some(meta))
}
