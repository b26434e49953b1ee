//! To whom the operations go.
//!
//! All targets are asked over connections that are made before the load begins, each shared by its part of the clients.

pub(crate) mod etcd;
mod flotilla;
mod leaders;
mod redis;

use bytes::Bytes;

use crate::processes::Server;
use crate::recorder::Failed;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Flotilla through its SDK: routed by key, pipelined.
    Flotilla,
    /// Flotilla by one unary gRPC call per operation, to whichever endpoint: a node or a router, which forwards.
    FlotillaUnary,
    /// Flotilla by one unary gRPC call per operation, to the leader of the key's shard; the endpoints are all nodes.
    FlotillaUnaryLeaders,
    /// etcd by one unary gRPC call per operation (that is how its clients work).
    Etcd,
    /// One Redis, not replicated.
    Redis,
}

impl Name {
    /// By which names its servers are found among the processes.
    pub(crate) const fn servers(self) -> &'static [&'static str] {
        match self {
            Self::Flotilla | Self::FlotillaUnary | Self::FlotillaUnaryLeaders => &["kvnode", "kvrouter"],
            Self::Etcd => &["etcd"],
            Self::Redis => &["redis-server"],
        }
    }
}

/// A connection, which many clients share.
#[derive(Clone, Debug)]
pub(crate) enum Connection {
    Flotilla(flotilla::Sdk),
    FlotillaUnary(flotilla::Unary),
    FlotillaUnaryLeaders(leaders::Leaders),
    Etcd(etcd::Etcd),
    Redis(redis::Redis),
}

/// Where a connection leads.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: Name,
    pub(crate) endpoints: Vec<String>,
    /// Flotilla: everything goes through the endpoints, which are routers.
    pub(crate) through_routers: bool,
    /// The server processes whose CPU time counts; not known: those of this machine that have the target's names.
    pub(crate) servers: Option<Vec<Server>>,
}

impl Connection {
    /// Makes a connection; they take turns at the endpoints where a connection leads to one only.
    pub(crate) async fn open(place: &Place, number: usize) -> Result<Self, String> {
        let endpoint = &place.endpoints[number % place.endpoints.len()];
        Ok(match place.name {
            Name::Flotilla => {
                Self::Flotilla(flotilla::Sdk::open(&place.endpoints, place.through_routers).await?)
            }
            Name::FlotillaUnary => Self::FlotillaUnary(flotilla::Unary::open(endpoint).await?),
            Name::FlotillaUnaryLeaders => {
                Self::FlotillaUnaryLeaders(leaders::Leaders::open(&place.endpoints, number).await?)
            }
            Name::Etcd => Self::Etcd(etcd::Etcd::open(endpoint).await?),
            Name::Redis => Self::Redis(redis::Redis::open(endpoint).await?),
        })
    }

    /// To one node, connected when it is used and again whenever it breaks.
    pub(crate) fn lazy(name: Name, endpoint: &str) -> Result<Self, String> {
        match name {
            Name::FlotillaUnary => flotilla::Unary::lazy(endpoint).map(Self::FlotillaUnary),
            Name::Etcd => etcd::Etcd::lazy(endpoint).map(Self::Etcd),
            other => Err(format!("{other:?} is no single node")),
        }
    }

    /// Reads a key, linearizably where the target can. Whether it was there.
    pub(crate) async fn read(&self, key: Bytes) -> Result<bool, Failed> {
        match self {
            Self::Flotilla(it) => it.read(key).await,
            Self::FlotillaUnary(it) => it.read(key).await,
            Self::FlotillaUnaryLeaders(it) => it.read(key).await,
            Self::Etcd(it) => it.read(key).await,
            Self::Redis(it) => it.read(key).await,
        }
    }

    /// Writes a key.
    pub(crate) async fn write(&self, key: Bytes, value: Bytes) -> Result<(), Failed> {
        match self {
            Self::Flotilla(it) => it.write(key, value).await,
            Self::FlotillaUnary(it) => it.write(key, value).await,
            Self::FlotillaUnaryLeaders(it) => it.write(key, value).await,
            Self::Etcd(it) => it.write(key, value).await,
            Self::Redis(it) => it.write(key, value).await,
        }
    }

    /// Reads so many records in the order of the keys. How many there were.
    pub(crate) async fn scan(&self, from: Bytes, records: u64) -> Result<u64, Failed> {
        match self {
            Self::Flotilla(it) => it.scan(from, records).await,
            Self::FlotillaUnary(it) => it.scan(from, records).await,
            Self::FlotillaUnaryLeaders(_) => {
                Err(Failed::Refused("a scan goes to all shards, not to one leader".to_owned()))
            }
            Self::Etcd(it) => it.scan(from, records).await,
            Self::Redis(_) => Err(Failed::Refused("Redis has no ordered scan".to_owned())),
        }
    }
}
