//! Carries a node through the founding of its fleet: asks the others what the machine wants asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flotilla_tls::Tls;
use flotilla_topology::{ClusterMap, NodeId, NodeInfo, PlanError, plan_initial};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::{Adoption, Confirmation, Introduction};
use super::door::{Door, Inner};
use super::error::BootstrapError;
use super::machine::Errand;
use crate::storage::{Chance, ClusterId, DirectoryError, DirectoryId, Founding, Membership};
use crate::transport::{Addresses, Backoff, Patience};

/// How a node with an empty directory comes into a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstStart {
    /// With what a new fleet is founded.
    pub init: Option<Founding>,
    /// The client address of a member of the fleet to be joined.
    pub join: Option<String>,
}

/// The times of a founding.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long one call to another node may take, connecting included.
    pub call_timeout: Duration,
    /// The wait before others are asked again; it doubles …
    pub backoff_min: Duration,
    /// … up to this.
    pub backoff_max: Duration,
    /// With what the calls are encrypted; nothing: they are not.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(2),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            tls: None,
        }
    }
}

impl Options {
    pub(super) const fn patience(&self) -> Patience {
        Patience {
            connect: self.call_timeout,
            keepalive_interval: self.call_timeout,
            keepalive_timeout: self.call_timeout,
        }
    }
}

/// A node of a founded fleet.
#[derive(Clone, Debug)]
pub struct Founded {
    /// The fleet's cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its directory.
    pub directory: DirectoryId,
    /// With what the fleet was founded.
    pub founding: Founding,
    /// The first cluster map, equal on all nodes. It says where the replicas of shard 0, and of all others, live.
    pub genesis: ClusterMap,
}

/// Whether these flags can found a fleet with this node in it.
pub(super) fn check_flags(node: NodeId, founding: &Founding) -> Result<(), BootstrapError> {
    if !founding.nodes.contains_key(&node) {
        return Err(BootstrapError::NotNamed { node });
    }
    // What the nodes will advertise is not known yet: only the numbers and the peer addresses are judged.
    let any = |id: NodeId| {
        let address = founding.nodes.get(&id).map(|named| named.peer_addr.clone()).unwrap_or_default();
        Addresses { client: address.clone(), peer: address.clone(), http: address }
    };
    plan(ClusterId(0), founding, any)?;
    Ok(())
}

/// Returns when the fleet of this node is founded: at once if its directory says so.
///
/// # Errors
/// The node must not start; the text says why.
///
/// # Panics
/// The directory says that the fleet is founded, but the door that was made from it does not know the map: a bug.
pub async fn found(door: &Door, chance: &mut dyn Chance) -> Result<Founded, BootstrapError> {
    let inner = &door.0;
    let stamp = inner.directory.stamp();
    let seed = stamp.directory.0 ^ inner.directory.boot().id.0;
    let mut backoff = Backoff::new(inner.options.backoff_min, inner.options.backoff_max, seed);
    let mut waiting = Waiting::default();
    loop {
        if let Some(address) =
            inner.join.as_deref().filter(|_| inner.directory.stamp().membership == Membership::Blank)
        {
            super::join::join(inner, address).await?;
        }
        let errand = inner.machine().errand();
        match errand {
            Errand::Run => return finish(inner),
            Errand::Draw => {
                let cluster = ClusterId(chance.draw().map_err(DirectoryError::Chance)?);
                blocking(inner, move |inner| {
                    let mut machine = inner.machine();
                    let membership = machine.draw(cluster);
                    inner.write(&mut machine, membership, None)
                })
                .await?;
                tracing::info!(%cluster, "drew the id of a new cluster");
            }
            Errand::Found(cluster, confirmed) => {
                found_now(inner, cluster, confirmed).await?;
            }
            Errand::Probe(_) | Errand::Adopt(..) => {
                let before = errand.clone();
                ask_all(inner, errand, &mut waiting).await?;
                if inner.machine().errand() == before {
                    // Either end of the pause will do.
                    let _ = timeout(backoff.next(), inner.changed.notified()).await;
                } else {
                    backoff.reset();
                }
            }
        }
    }
}

/// All nodes have confirmed: makes the map of the fleet, and this node one of it.
async fn found_now(
    inner: &Arc<Inner>,
    cluster: ClusterId,
    confirmed: BTreeMap<NodeId, Confirmation>,
) -> Result<(), BootstrapError> {
    let stamp = inner.directory.stamp();
    let Some(founding) = stamp.membership.founding() else {
        panic!("{}: founds {cluster} without a founding", stamp.node)
    };
    let stated = |id: NodeId| match confirmed.get(&id) {
        Some(confirmation) => confirmation.addresses.clone(),
        None => inner.addresses.clone(),
    };
    let map = plan(cluster, founding, stated)?;
    let map = Bytes::from(map.encode());
    blocking(inner, move |inner| {
        let mut machine = inner.machine();
        let membership = machine.founding_done();
        inner.write(&mut machine, membership, Some(map))
    })
    .await?;
    tracing::info!(%cluster, nodes = founding.nodes.len(), "founded the fleet");
    // Whoever misses this asks for it.
    confirmed.keys().for_each(|node| inner.hand_map(*node));
    Ok(())
}

/// The genesis map. The peer addresses are those of the flags: all nodes were reached there.
fn plan(
    cluster: ClusterId,
    founding: &Founding,
    stated: impl Fn(NodeId) -> Addresses,
) -> Result<ClusterMap, PlanError> {
    let info = |id: NodeId, peer_addr: &str| {
        let Addresses { client, http, .. } = stated(id);
        NodeInfo { client_addr: client, peer_addr: peer_addr.to_string(), http_addr: http }
    };
    let nodes = founding.nodes.iter().map(|(id, named)| (*id, info(*id, &named.peer_addr))).collect();
    plan_initial(cluster.0, nodes, u64::from(founding.shards), founding.replicas as usize)
}

fn finish(inner: &Inner) -> Result<Founded, BootstrapError> {
    let stamp = inner.directory.stamp();
    let map = inner.machine().genesis().cloned();
    let (Some(cluster), Some(founding), Some(map)) =
        (stamp.membership.cluster(), stamp.membership.founding(), map)
    else {
        panic!("{}: runs without a founding: {:?}", stamp.node, stamp.membership)
    };
    let genesis = ClusterMap::decode(&map).map_err(|error| BootstrapError::Genesis {
        path: inner.directory.path().to_owned(),
        what: format!("cannot be read: {error}"),
    })?;
    let (node, directory) = (stamp.node, stamp.directory);
    Ok(Founded { cluster, node, directory, founding: founding.clone(), genesis })
}

/// What one node answered.
enum Heard {
    Introduction(Result<Introduction, String>),
    Confirmation(Result<Confirmation, String>),
}

/// Asks all nodes of an errand at once, and returns when all have answered, or when another node changed what this one is.
async fn ask_all(inner: &Arc<Inner>, errand: Errand, waiting: &mut Waiting) -> Result<(), BootstrapError> {
    let mut calls = JoinSet::new();
    let (peers, cluster) = match errand {
        Errand::Probe(peers) => (peers, None),
        Errand::Adopt(cluster, peers) => (peers, Some(cluster)),
        other => unreachable!("{other:?} asks nobody"),
    };
    for peer in peers {
        let inner = Arc::clone(inner);
        calls.spawn(async move { (peer, ask(&inner, peer, cluster).await) });
    }
    let mut silent = BTreeMap::new();
    loop {
        let joined = tokio::select! {
            joined = calls.join_next() => joined,
            () = inner.changed.notified() => return Ok(()),
        };
        // A call that panicked is a call without an answer.
        let Some(joined) = joined else { break };
        let Ok((peer, heard)) = joined else { continue };
        match heard {
            Heard::Introduction(Ok(it)) => inner.machine().introduced(peer, &it)?,
            Heard::Confirmation(Ok(it)) => inner.machine().confirmed(peer, it)?,
            Heard::Introduction(Err(why)) | Heard::Confirmation(Err(why)) => {
                silent.insert(peer, why);
            }
        }
    }
    waiting.say(silent);
    Ok(())
}

async fn ask(inner: &Inner, peer: NodeId, cluster: Option<ClusterId>) -> Heard {
    let address =
        inner.machine().founding().and_then(|it| it.nodes.get(&peer)).map(|it| it.peer_addr.clone());
    let Some(address) = address else { return Heard::Introduction(Err("not named".to_string())) };
    match cluster {
        None => Heard::Introduction(inner.ask_introduction(peer, &address).await),
        Some(cluster) => {
            let from = inner.directory.stamp().node;
            let adoption = Adoption { cluster, from, to: peer, map: None };
            Heard::Confirmation(inner.ask_adoption(&address, adoption).await)
        }
    }
}

/// Says for whom this node waits, and why: once, and again when that changes.
#[derive(Default)]
struct Waiting {
    said: BTreeMap<NodeId, String>,
}

impl Waiting {
    fn say(&mut self, silent: BTreeMap<NodeId, String>) {
        for (node, why) in &silent {
            if self.said.get(node) != Some(why) {
                tracing::info!(%node, %why, "waiting for a node of the new fleet");
            }
        }
        self.said = silent;
    }
}

/// Runs what blocks on the disk where that harms nobody.
pub(super) async fn blocking(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Inner) -> Result<(), BootstrapError> + Send + 'static,
) -> Result<(), BootstrapError> {
    let inner = Arc::clone(inner);
    match tokio::task::spawn_blocking(move || work(&inner)).await {
        Ok(done) => done,
        Err(error) => panic!("the founding stopped in mid-write: {error}"),
    }
}
