//! The gRPC face of a node towards other nodes.
//!
//! It is served from the first moment, because a fleet is founded through it; streams and snapshots are answered with
//! UNAVAILABLE until [`PeerService::open`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use flotilla_proto::v1;
use flotilla_proto::v1::raft_server::Raft;
use tonic::{Request, Response, Status, Streaming};

use super::acceptor::{self, Answers};
use super::snapshot;
use super::switchboard::Transport;
use crate::bootstrap::Door;

/// What an [`Announcements`] returns.
pub type Announcement = Pin<Box<dyn Future<Output = Result<v1::AnnounceReply, Status>> + Send>>;

/// Takes the addresses that another node announces, and sees to it that the map states them.
pub type Announcements = Arc<dyn Fn(v1::AnnounceRequest) -> Announcement + Send + Sync>;

/// Serves the peer address. Clones serve the same node.
#[derive(Clone)]
pub struct PeerService {
    door: Door,
    opened: Arc<OnceLock<(Transport, Announcements)>>,
}

impl PeerService {
    /// A service that answers for the founding of a fleet only.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self { door, opened: Arc::default() }
    }

    /// The node runs: streams, snapshots and announcements are served. Only the first call counts.
    pub fn open(&self, transport: Transport, announcements: Announcements) {
        let _ = self.opened.set((transport, announcements));
    }

    fn opened(&self) -> Result<&(Transport, Announcements), Status> {
        self.opened.get().ok_or_else(|| Status::unavailable("this node is still starting"))
    }
}

#[tonic::async_trait]
impl Raft for PeerService {
    type FramesStream = Answers;

    async fn frames(&self, request: Request<Streaming<v1::PeerFrame>>) -> Result<Response<Answers>, Status> {
        let (transport, _) = self.opened()?;
        let from = request.remote_addr().map_or_else(String::new, |address| address.to_string());
        acceptor::accept(&transport.shared, request.into_inner(), &from).await.map(Response::new)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Result<Response<v1::SnapshotReply>, Status> {
        let (transport, _) = self.opened()?;
        snapshot::receive(&transport.shared, request.into_inner()).await.map(Response::new)
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeReply>, Status> {
        self.door.probe(request.into_inner()).await.map(Response::new)
    }

    async fn adopt(&self, request: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptReply>, Status> {
        self.door.adopt(request.into_inner()).await.map(Response::new)
    }

    async fn announce(
        &self,
        request: Request<v1::AnnounceRequest>,
    ) -> Result<Response<v1::AnnounceReply>, Status> {
        let (_, announcements) = self.opened()?;
        announcements(request.into_inner()).await.map(Response::new)
    }
}

impl fmt::Debug for PeerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerService").field("opened", &self.opened.get().is_some()).finish_non_exhaustive()
    }
}
