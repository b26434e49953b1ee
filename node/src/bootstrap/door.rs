//! Answers the other nodes: who this one is, and whether it will be of their cluster.
//!
//! Served from the first moment and for ever: a node that slept through the founding asks the others for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flotilla_proto::v1;
use flotilla_proto::v1::raft_client::RaftClient;
use flotilla_tls::Whom;
use flotilla_topology::{ClusterMap, NodeId};
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::{Request, Status};

use super::answer::{self, Adoption, Confirmation, Introduction};
use super::driver::{FirstStart, Options};
use super::error::{BootstrapError, Difference};
use super::machine::{Decision, Machine};
use crate::storage::{DataDirectory, DirectoryError, Founding, Membership};
use crate::transport::{Addresses, connect, explained};

/// Answers for one node. Clones answer for the same.
#[derive(Clone)]
pub struct Door(pub(super) Arc<Inner>);

/// What the door and the driver share.
pub(super) struct Inner {
    pub(super) directory: Arc<DataDirectory>,
    pub(super) addresses: Addresses,
    pub(super) options: Options,
    /// Through whom the node comes into its fleet, if its directory is empty.
    pub(super) join: Option<String>,
    machine: Mutex<Machine>,
    /// Another node changed what this one is.
    pub(super) changed: Notify,
    /// The nodes that are being handed the map now.
    handing: Mutex<BTreeSet<NodeId>>,
}

impl Door {
    /// The door of the node that this directory belongs to. `first` counts only while the directory is blank.
    ///
    /// # Errors
    /// The flags cannot found a fleet, differ from those of an interrupted first start, or say nothing; or the genesis
    /// map of a founded directory is missing.
    pub fn new(
        directory: Arc<DataDirectory>,
        addresses: Addresses,
        first: FirstStart,
        options: Options,
    ) -> Result<Self, BootstrapError> {
        let stamp = directory.stamp();
        let path = directory.path().to_owned();
        match &stamp.membership {
            Membership::Founded { .. } => {}
            Membership::Promised { founding, .. } => {
                let flags = first.init.as_ref();
                if let Some(difference) = flags.and_then(|flags| Difference::between(flags, founding)) {
                    return Err(BootstrapError::OtherFlags { path, difference });
                }
            }
            Membership::Blank => match (&first.init, &first.join) {
                (Some(founding), _) => super::driver::check_flags(stamp.node, founding)?,
                (None, Some(_)) => {}
                (None, None) => return Err(BootstrapError::NoFirstStart { path }),
            },
        }
        let genesis = if stamp.membership.is_founded() { Some(read_genesis(&directory)?) } else { None };
        // Who begins a fleet joins none.
        let join = first.join.filter(|_| first.init.is_none());
        let machine = Machine::new(stamp.node, stamp.directory, stamp.membership, genesis, first.init);
        let machine = Mutex::new(machine);
        let handing = Mutex::default();
        Ok(Self(Arc::new(Inner {
            directory,
            addresses,
            options,
            join,
            machine,
            changed: Notify::new(),
            handing,
        })))
    }

    /// The cluster map names these nodes now: an empty directory under one of their ids will be told so.
    pub fn know_nodes(&self, nodes: BTreeSet<NodeId>) {
        self.0.machine().know(nodes);
    }

    /// Says who this node is, and hands the genesis map to a node of the founding that missed it.
    ///
    /// # Errors
    /// None today; gRPC wants one.
    pub(crate) async fn probe(&self, request: v1::ProbeRequest) -> Result<v1::ProbeReply, Status> {
        let asking = NodeId(request.from_node);
        let (introduction, hands_map) = {
            let machine = self.0.machine();
            (machine.introduce(asking), machine.hands_map_to(asking))
        };
        if hands_map {
            self.0.hand_map(asking);
        }
        Ok(introduction.into())
    }

    /// Makes this node one of a cluster, if it may be, and says what it is.
    ///
    /// # Errors
    /// It may not be, or its disk failed.
    pub(crate) async fn adopt(&self, request: v1::AdoptRequest) -> Result<v1::AdoptReply, Status> {
        let decoded = answer::decode_adoption(request);
        let (adoption, founding) = decoded.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let inner = Arc::clone(&self.0);
        // On a thread that may block: it syncs the disk.
        let adopted = tokio::task::spawn_blocking(move || inner.adopt(&adoption, &founding)).await;
        adopted.map_err(|error| Status::internal(error.to_string()))?.map(Into::into)
    }
}

impl Inner {
    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(&self, adoption: &Adoption, founding: &Founding) -> Result<Confirmation, Status> {
        // Held while the disk syncs: what is decided must still be right when it is durable.
        let mut machine = self.machine();
        match machine.asked(adoption, founding) {
            Decision::Confirm => {}
            Decision::Refuse(why) => {
                tracing::warn!(from = %adoption.from, cluster = %adoption.cluster, %why, "refused to be of a cluster");
                return Err(Status::failed_precondition(why));
            }
            Decision::Write(membership, map) => {
                self.write(&mut machine, membership, map)
                    .map_err(|error| Status::internal(error.to_string()))?;
                self.changed.notify_one();
            }
        }
        Ok(machine.confirmation(self.addresses.clone()))
    }

    /// Makes a membership durable, the genesis map before it: a founded stamp without a map would be a node that can never start.
    pub(super) fn write(
        &self,
        machine: &mut Machine,
        membership: Membership,
        map: Option<Bytes>,
    ) -> Result<(), BootstrapError> {
        let genesis = match map {
            None => None,
            Some(map) => {
                let nodes = nodes_of(&self.directory, &map)?;
                self.directory.write_genesis(&map)?;
                Some((map, nodes))
            }
        };
        self.directory.become_member(membership.clone())?;
        machine.written(membership, genesis);
        Ok(())
    }

    /// Hands the genesis map to a node of the founding, on a task of its own; once at a time.
    pub(super) fn hand_map(self: &Arc<Self>, to: NodeId) {
        let prepared = {
            let machine = self.machine();
            let address = machine.founding().and_then(|it| it.nodes.get(&to)).map(|it| it.peer_addr.clone());
            let cluster = machine.membership().cluster();
            match (address, cluster, machine.genesis()) {
                (Some(address), Some(cluster), Some(map)) => {
                    let from = self.directory.stamp().node;
                    Some((address, Adoption { cluster, from, to, map: Some(map.clone()) }))
                }
                _ => None,
            }
        };
        let Some((address, adoption)) = prepared else { return };
        if !self.handing.lock().unwrap_or_else(PoisonError::into_inner).insert(to) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            // It asks again if this fails.
            match inner.ask_adoption(&address, adoption).await {
                Ok(_) => tracing::debug!(%to, "handed the genesis map"),
                Err(why) => tracing::debug!(%to, %why, "could not hand the genesis map"),
            }
            inner.handing.lock().unwrap_or_else(PoisonError::into_inner).remove(&to);
        });
    }

    /// Asks a node to be of a cluster.
    pub(super) async fn ask_adoption(
        &self,
        address: &str,
        adoption: Adoption,
    ) -> Result<Confirmation, String> {
        let founding = self.machine().founding().cloned();
        let founding = founding.ok_or_else(|| "this node has no founding".to_string())?;
        let to = adoption.to;
        let request = answer::encode_adoption(adoption, &founding);
        let reply =
            self.call(to, address, async |mut client| client.adopt(Request::new(request)).await).await;
        let reply = reply.map_err(|status| status.message().to_string())?;
        Confirmation::try_from(reply).map_err(|error| error.to_string())
    }

    /// Asks a node who it is.
    pub(super) async fn ask_introduction(&self, node: NodeId, address: &str) -> Result<Introduction, String> {
        let stamp = self.directory.stamp();
        let request = v1::ProbeRequest { from_node: stamp.node.0, directory: Some(stamp.directory.0.into()) };
        let reply =
            self.call(node, address, async |mut client| client.probe(Request::new(request)).await).await;
        let reply = reply.map_err(|status| status.message().to_string())?;
        Introduction::try_from(reply).map_err(|error| error.to_string())
    }

    /// Asks a node, and nobody else who may answer at its address.
    pub(super) async fn call<T>(
        &self,
        node: NodeId,
        address: &str,
        call: impl AsyncFnOnce(RaftClient<tonic::transport::Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, Status> {
        let patience = self.options.patience();
        let work = async {
            let channel = connect(address, Whom::Node(node), patience, self.options.tls.as_ref()).await;
            let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
            match call(RaftClient::new(channel)).await {
                Err(status) => Err(explained(address, status, self.options.tls.as_ref()).await),
                answer => answer,
            }
        };
        let answered = timeout(self.options.call_timeout, work).await;
        answered.map_err(|_| Status::deadline_exceeded("no answer in time"))?.map(tonic::Response::into_inner)
    }
}

/// The genesis map of a founded directory, and the nodes that it names.
fn read_genesis(directory: &DataDirectory) -> Result<(Bytes, BTreeSet<NodeId>), BootstrapError> {
    let Some(map) = directory.genesis()? else {
        let path = directory.path().to_owned();
        return Err(BootstrapError::Genesis { path, what: "is missing".to_string() });
    };
    let nodes = nodes_of(directory, &map)?;
    Ok((map, nodes))
}

fn nodes_of(directory: &DataDirectory, map: &Bytes) -> Result<BTreeSet<NodeId>, BootstrapError> {
    let decoded = ClusterMap::decode(map).map_err(|error| BootstrapError::Genesis {
        path: directory.path().to_owned(),
        what: format!("cannot be read: {error}"),
    })?;
    Ok(decoded.nodes.keys().copied().collect())
}

impl From<BootstrapError> for Status {
    fn from(error: BootstrapError) -> Self {
        match error {
            BootstrapError::Directory(DirectoryError::OtherCluster { .. }) => {
                Self::failed_precondition(error.to_string())
            }
            _ => Self::internal(error.to_string()),
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&*self.0.machine()).finish()
    }
}
