//! The wire: gRPC services and messages of package `flotilla.v1`, and the typed detail of every error.
//!
//! The `.proto` files under `proto/proto/flotilla/v1/` are the source; they are compiled by `protox` when this crate is
//! built. Users talk to [`v1::kv_client::KvClient`] and [`v1::cluster_client::ClusterClient`] on a client address; nodes
//! talk to each other through [`v1::raft_client::RaftClient`] on a peer address.
//!
//! Reading order: `routing.proto` (whom to ask), `kv.proto`, `cluster.proto`, `raft.proto` (messages of replicas),
//! `peer.proto` (what carries them), [`status`] (what an error says), [`limits`], [`codec`] (what keeps them before anything
//! is decoded).
//!
//! What it does not do: it decides nothing and converts nothing but 128-bit ids. Bytes become the types of the upper
//! floors at the edges: peer messages in the node, the cluster map in the client.

pub mod codec;
pub mod id128;
pub mod limits;
pub mod status;

/// Package `flotilla.v1`, generated.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::unwrap_used, clippy::expect_used)]
pub mod v1 {
    tonic::include_proto!("flotilla.v1");
}

/// The descriptors of package `flotilla.v1` and of what it imports: an encoded `google.protobuf.FileDescriptorSet`, for
/// server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("flotilla.v1");

/// The version of the talk between nodes. A Hello with another one is refused.
pub const PROTOCOL_VERSION: u32 = 1;
