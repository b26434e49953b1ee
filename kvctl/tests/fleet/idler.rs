//! A node that says that it is up, and never does anything: what waits for it can wait for ever. It notes what it is asked.

use std::sync::{Arc, Mutex};

use flotilla_proto::v1;
use flotilla_proto::v1::raft_server::Raft;
use tonic::{Request, Response, Status, Streaming};

/// The peer service of such a node. Clones are the same node.
#[derive(Clone, Debug, Default)]
pub struct Idler(Arc<Mutex<Vec<&'static str>>>);

type Answer<T> = Result<Response<T>, Status>;

impl Idler {
    /// What it was asked, in this order.
    pub fn heard(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    fn never<T>(&self, asked: &'static str) -> Answer<T> {
        self.0.lock().unwrap().push(asked);
        Err(Status::unavailable("it does nothing"))
    }
}

#[tonic::async_trait]
impl Raft for Idler {
    type FramesStream = futures_util::stream::Pending<Result<v1::PeerFrame, Status>>;

    async fn frames(&self, _: Request<Streaming<v1::PeerFrame>>) -> Answer<Self::FramesStream> {
        self.never("frames")
    }

    async fn snapshot(&self, _: Request<Streaming<v1::SnapshotChunk>>) -> Answer<v1::SnapshotReply> {
        self.never("snapshot")
    }

    async fn probe(&self, _: Request<v1::ProbeRequest>) -> Answer<v1::ProbeReply> {
        self.never("probe")
    }

    async fn adopt(&self, _: Request<v1::AdoptRequest>) -> Answer<v1::AdoptReply> {
        self.never("adopt")
    }

    async fn announce(&self, _: Request<v1::AnnounceRequest>) -> Answer<v1::AnnounceReply> {
        self.never("announce")
    }

    async fn join(&self, _: Request<v1::JoinRequest>) -> Answer<v1::JoinReply> {
        self.never("join")
    }

    async fn inspect(&self, _: Request<v1::InspectRequest>) -> Answer<v1::InspectReply> {
        self.0.lock().unwrap().push("inspect");
        Ok(Response::new(v1::InspectReply::default()))
    }

    async fn change_members(&self, _: Request<v1::ChangeMembersRequest>) -> Answer<v1::ChangeMembersReply> {
        self.never("change_members")
    }

    async fn hand_over(&self, _: Request<v1::HandOverRequest>) -> Answer<v1::HandOverReply> {
        self.never("hand_over")
    }
}
