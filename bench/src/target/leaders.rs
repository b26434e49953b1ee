//! Flotilla by unary calls that go to the leader of the key's shard: what a thin client does that follows redirects.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use flotilla_proto::v1::kv_client::KvClient;
use flotilla_proto::v1::{self, RouteMode};
use flotilla_topology::{self as topology, Slot};
use tonic::transport::{Channel, Endpoint};

use super::flotilla::refused;
use crate::recorder::Failed;

/// There are so many slots.
const SLOTS: usize = topology::SLOTS as usize;

/// More redirects than these in a row: there is no leader just now.
const REDIRECTS_MAX: usize = 8;

/// One channel to each node, and who led each slot's shard last.
#[derive(Clone, Debug)]
pub(crate) struct Leaders {
    nodes: Arc<[(String, KvClient<Channel>)]>,
    leaders: Arc<[AtomicUsize]>,
}

impl Leaders {
    /// Until it learns better, it asks this one of the nodes.
    pub(super) async fn open(endpoints: &[String], number: usize) -> Result<Self, String> {
        let mut nodes = Vec::new();
        for endpoint in endpoints {
            let channel = Endpoint::from_shared(format!("http://{endpoint}"))
                .map_err(|error| error.to_string())?
                .tcp_nodelay(true)
                .connect()
                .await
                .map_err(|error| format!("{endpoint}: {error}"))?;
            nodes.push((endpoint.clone(), KvClient::new(channel)));
        }
        let first = number % nodes.len().max(1);
        let leaders = (0..SLOTS).map(|_| AtomicUsize::new(first)).collect();
        Ok(Self { nodes: nodes.into(), leaders })
    }

    pub(super) async fn read(&self, key: Bytes) -> Result<bool, Failed> {
        for _ in 0..REDIRECTS_MAX {
            let route_mode = RouteMode::Redirect.into();
            let request = v1::GetRequest { key: key.clone(), route_mode, ..v1::GetRequest::default() };
            let answer = self.client(&key).get(request).await.map_err(refused)?.into_inner();
            match answer.outcome {
                Some(v1::get_response::Outcome::Result(result)) => return Ok(result.record.is_some()),
                Some(v1::get_response::Outcome::Redirect(redirect)) => self.learn(&key, &redirect)?,
                None => return Err(Failed::Refused("an empty answer".to_owned())),
            }
        }
        Err(Failed::Refused(format!("{REDIRECTS_MAX} redirects in a row")))
    }

    pub(super) async fn write(&self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        for _ in 0..REDIRECTS_MAX {
            let (key, value, route_mode) = (key.clone(), value.clone(), RouteMode::Redirect.into());
            let mut client = self.client(&key);
            let request = v1::PutRequest { key: key.clone(), value, route_mode, ..v1::PutRequest::default() };
            let answer = client.put(request).await.map_err(refused)?.into_inner();
            match answer.outcome {
                Some(v1::put_response::Outcome::Result(_)) => return Ok(()),
                Some(v1::put_response::Outcome::Redirect(redirect)) => self.learn(&key, &redirect)?,
                None => return Err(Failed::Refused("an empty answer".to_owned())),
            }
        }
        Err(Failed::Refused(format!("{REDIRECTS_MAX} redirects in a row")))
    }

    fn client(&self, key: &[u8]) -> KvClient<Channel> {
        let node = self.leaders[slot(key)].load(Ordering::Relaxed);
        self.nodes[node].1.clone()
    }

    fn learn(&self, key: &[u8], redirect: &v1::Redirect) -> Result<(), Failed> {
        let node = self.nodes.iter().position(|(address, _)| *address == redirect.leader_addr);
        let unknown = || Failed::Refused(format!("led by {:?}, which is no endpoint", redirect.leader_addr));
        self.leaders[slot(key)].store(node.ok_or_else(unknown)?, Ordering::Relaxed);
        Ok(())
    }
}

fn slot(key: &[u8]) -> usize {
    usize::from(Slot::of(key).number()) % SLOTS
}
