//! The follower's side.

use std::sync::Arc;

use flotilla_proto::{PROTOCOL_VERSION, v1};
use flotilla_raft::{Message, ReplicaId, Rpc, SnapshotMeta, Term};
use flotilla_store::WriteBatch;
use flotilla_store::snapshot::Writer;
use flotilla_topology::{NodeId, ShardId};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::storage::ClusterId;
use crate::transport::codec;
use crate::transport::event::{BatchSink, PeerEvent, SnapshotOffer, Stage};
use crate::transport::switchboard::Shared;
use crate::transport::voucher::Voucher;

/// Who sends what to whom.
#[derive(Clone, Debug)]
struct Header {
    node: NodeId,
    shard: ShardId,
    from: ReplicaId,
    to: ReplicaId,
    term: Term,
    meta: SnapshotMeta,
}

/// Takes in one snapshot.
pub(in crate::transport) async fn receive(
    shared: &Arc<Shared>,
    mut chunks: Streaming<v1::SnapshotChunk>,
    voucher: &Voucher,
) -> Result<v1::SnapshotReply, Status> {
    let Ok(_permit) = shared.receiving.try_acquire() else {
        return Err(Status::resource_exhausted("this node takes in as many snapshots as it may"));
    };
    let mut ended = shared.ended();
    let mut first = next(shared, &mut chunks).await?;
    if let Some(header) = &first.header {
        voucher.check(header.from_node)?;
    }
    let header = check(shared, first.header.take()).map_err(Status::failed_precondition)?;
    let stage = offer(shared, &header).await.map_err(Status::failed_precondition)?;
    let mut report = Report { shared, shard: header.shard, generation: stage.generation, snapshot: None };
    let staged = tokio::select! {
        staged = take_in(shared, first, chunks, &header, stage) => staged,
        _ = ended.wait_for(|ended| *ended) => Err("this node shuts down".to_string()),
    };
    match staged {
        Ok(()) => {
            let Header { shard, from, to, term, meta, .. } = header;
            tracing::info!(%shard, last = %meta.last, "staged a snapshot");
            report.snapshot = Some(Message { from, to, term, rpc: Rpc::InstallSnapshot { meta } });
            Ok(v1::SnapshotReply { staged: true, reason: String::new() })
        }
        Err(reason) => {
            tracing::warn!(shard = %header.shard, from = %header.node, %reason, "a snapshot was not staged");
            Ok(v1::SnapshotReply { staged: false, reason })
        }
    }
}

/// However a stream with a stage ends (its future may be dropped in mid-air when the connection breaks), the host is told.
struct Report<'a> {
    shared: &'a Shared,
    shard: ShardId,
    generation: u64,
    snapshot: Option<Message>,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        let (shard, generation, snapshot) = (self.shard, self.generation, self.snapshot.take());
        (self.shared.events)(PeerEvent::SnapshotStaged { shard, generation, snapshot });
    }
}

async fn next(
    shared: &Shared,
    chunks: &mut Streaming<v1::SnapshotChunk>,
) -> Result<v1::SnapshotChunk, Status> {
    let chunk = timeout(shared.options.snapshot_idle_timeout, chunks.message()).await;
    let chunk = chunk.map_err(|_| Status::deadline_exceeded("no chunk in time"))??;
    chunk.ok_or_else(|| Status::invalid_argument("the stream ended before the last chunk"))
}

fn check(shared: &Shared, header: Option<v1::SnapshotHeader>) -> Result<Header, String> {
    let header = header.ok_or("the first chunk has no header")?;
    if header.protocol_version != PROTOCOL_VERSION {
        return Err(format!("protocol version {}, not {PROTOCOL_VERSION}", header.protocol_version));
    }
    let ours = shared.doorman.identity();
    let cluster = header.cluster.map(|cluster| ClusterId(cluster.into()));
    if cluster != Some(ours.cluster) {
        return Err("it is of another cluster".to_string());
    }
    if header.to_node != ours.node.0 {
        return Err(format!("wanted node {}, but this is node {}", header.to_node, ours.node.0));
    }
    Ok(Header {
        node: NodeId(header.from_node),
        shard: ShardId(header.shard),
        from: ReplicaId(header.from),
        to: ReplicaId(header.to),
        term: Term(header.term),
        meta: codec::decode_meta(header.meta).map_err(|error| error.to_string())?,
    })
}

/// Asks the host where to put it.
async fn offer(shared: &Shared, header: &Header) -> Result<Stage, String> {
    let (answer, answered) = oneshot::channel();
    let Header { node, shard, from, to, term, meta } = header.clone();
    let offer = SnapshotOffer { node, shard, from, to, term, meta, answer };
    (shared.events)(PeerEvent::SnapshotOffered(offer));
    let answered = timeout(shared.options.snapshot_idle_timeout, answered).await;
    let refused = || "the replica does not want it".to_string();
    answered.map_err(|_| "the replica does not answer".to_string())?.map_err(|_| refused())?
}

async fn take_in(
    shared: &Shared,
    first: v1::SnapshotChunk,
    mut chunks: Streaming<v1::SnapshotChunk>,
    header: &Header,
    mut stage: Stage,
) -> Result<(), String> {
    let mut writer = Writer::new(header.shard, stage.generation);
    let mut chunk = first;
    let mut expected = 0;
    loop {
        if chunk.sequence != expected {
            return Err(format!("chunk {} came where chunk {expected} should", chunk.sequence));
        }
        expected += 1;
        let last = chunk.last;
        shared.traffic.received(chunk.data.len());
        let batch = writer.chunk(chunk.data).map_err(|error| error.to_string())?;
        commit(shared, &mut stage.sink, batch).await?;
        if last {
            break;
        }
        chunk = next(shared, &mut chunks).await.map_err(|status| status.message().to_string())?;
    }
    let (batch, meta) = writer.finish().map_err(|error| error.to_string())?;
    if meta != header.meta {
        return Err(format!("it holds the state of {meta}, but its header says {}", header.meta));
    }
    commit(shared, &mut stage.sink, batch).await
}

/// Has one batch committed, and waits for that: the bound of this stream's memory.
async fn commit(shared: &Shared, sink: &mut BatchSink, batch: WriteBatch) -> Result<(), String> {
    if batch.is_empty() {
        return Ok(());
    }
    let (committed, done) = oneshot::channel();
    sink(batch, committed);
    let done = timeout(shared.options.snapshot_idle_timeout, done).await;
    done.map_err(|_| "the base does not keep up".to_string())?
        .map_err(|_| "the base is closed".to_string())?
}
