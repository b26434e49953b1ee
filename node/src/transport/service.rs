//! The gRPC face of a node towards other nodes.
//!
//! It is served from the first moment, because a fleet is founded through it; everything else is answered with
//! UNAVAILABLE until [`PeerService::open`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use flotilla_daemon::tls::Gate;
use flotilla_proto::v1;
use flotilla_proto::v1::raft_server::Raft;
use tonic::{Request, Response, Status, Streaming};

use super::acceptor::{self, Answers};
use super::snapshot;
use super::switchboard::Transport;
use super::voucher::Voucher;
use crate::bootstrap::Door;

/// What a [`Clerk`] returns.
pub type Errand<A> = Pin<Box<dyn Future<Output = Result<A, Status>> + Send>>;

/// Answers one kind of question.
pub type Clerk<Q, A> = Arc<dyn Fn(Q) -> Errand<A> + Send + Sync>;

/// Who answers what other nodes ask beside frames, snapshots and the founding.
#[derive(Clone)]
pub struct Clerks {
    /// Takes the addresses that another node announces, and sees to it that the map states them.
    pub announce: Clerk<v1::AnnounceRequest, v1::AnnounceReply>,
    /// Lets a new node into the fleet.
    pub join: Clerk<v1::JoinRequest, v1::JoinReply>,
    /// Says what is seen of replicas here.
    pub inspect: Clerk<v1::InspectRequest, v1::InspectReply>,
    /// Proposes other members of a shard.
    pub change_members: Clerk<v1::ChangeMembersRequest, v1::ChangeMembersReply>,
    /// Gives up the leadership of a shard.
    pub hand_over: Clerk<v1::HandOverRequest, v1::HandOverReply>,
}

/// Serves the peer address. Clones serve the same node.
#[derive(Clone)]
pub struct PeerService {
    door: Door,
    gate: Gate,
    opened: Arc<OnceLock<(Transport, Clerks)>>,
}

impl PeerService {
    /// A service that answers for the founding of a fleet only. Whom the gate asks for a certificate may speak for the node in it,
    /// and for no other.
    #[must_use]
    pub fn new(door: Door, gate: Gate) -> Self {
        Self { door, gate, opened: Arc::default() }
    }

    /// The node runs: everything is served. Only the first call counts.
    pub fn open(&self, transport: Transport, clerks: Clerks) {
        let _ = self.opened.set((transport, clerks));
    }

    fn opened(&self) -> Result<&(Transport, Clerks), Status> {
        self.opened.get().ok_or_else(|| Status::unavailable("this node is still starting"))
    }

    /// For whom the caller of a request may speak.
    fn voucher<T>(&self, request: &Request<T>) -> Voucher {
        Voucher::new(&self.gate, request.extensions().get())
    }

    /// Has one of the clerks answer.
    async fn ask<Q, A>(
        &self,
        clerk: impl Fn(&Clerks) -> &Clerk<Q, A> + Send,
        request: Request<Q>,
    ) -> Result<Response<A>, Status> {
        let answer = clerk(&self.opened()?.1)(request.into_inner());
        answer.await.map(Response::new)
    }
}

#[tonic::async_trait]
impl Raft for PeerService {
    type FramesStream = Answers;

    async fn frames(&self, request: Request<Streaming<v1::PeerFrame>>) -> Result<Response<Answers>, Status> {
        let (transport, _) = self.opened()?;
        let voucher = self.voucher(&request);
        acceptor::accept(&transport.shared, request.into_inner(), &voucher).await.map(Response::new)
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Result<Response<v1::SnapshotReply>, Status> {
        let (transport, _) = self.opened()?;
        let voucher = self.voucher(&request);
        snapshot::receive(&transport.shared, request.into_inner(), &voucher).await.map(Response::new)
    }

    async fn probe(&self, request: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeReply>, Status> {
        self.voucher(&request).check(request.get_ref().from_node)?;
        self.door.probe(request.into_inner()).await.map(Response::new)
    }

    async fn adopt(&self, request: Request<v1::AdoptRequest>) -> Result<Response<v1::AdoptReply>, Status> {
        self.voucher(&request).check(request.get_ref().from_node)?;
        self.door.adopt(request.into_inner()).await.map(Response::new)
    }

    async fn announce(
        &self,
        request: Request<v1::AnnounceRequest>,
    ) -> Result<Response<v1::AnnounceReply>, Status> {
        self.voucher(&request).check(request.get_ref().node)?;
        self.ask(|clerks| &clerks.announce, request).await
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        self.voucher(&request).check(request.get_ref().node)?;
        self.ask(|clerks| &clerks.join, request).await
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectRequest>,
    ) -> Result<Response<v1::InspectReply>, Status> {
        self.voucher(&request).check_any()?;
        self.ask(|clerks| &clerks.inspect, request).await
    }

    async fn change_members(
        &self,
        request: Request<v1::ChangeMembersRequest>,
    ) -> Result<Response<v1::ChangeMembersReply>, Status> {
        self.voucher(&request).check_any()?;
        self.ask(|clerks| &clerks.change_members, request).await
    }

    async fn hand_over(
        &self,
        request: Request<v1::HandOverRequest>,
    ) -> Result<Response<v1::HandOverReply>, Status> {
        self.voucher(&request).check_any()?;
        self.ask(|clerks| &clerks.hand_over, request).await
    }
}

impl fmt::Debug for Clerks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clerks")
    }
}

impl fmt::Debug for PeerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerService").field("opened", &self.opened.get().is_some()).finish_non_exhaustive()
    }
}
