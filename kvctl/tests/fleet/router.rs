//! A router in front of a fleet: started, killed, started again at the same address.

use std::time::Duration;

use flotilla_client::Client;
use flotilla_proto::v1::RouteMode;
use tempfile::TempDir;

use crate::patience::until;
use crate::process::Process;
use crate::questions::{self, get};
use crate::stage::{Fleet, Ports};

/// A router's process.
#[derive(Debug)]
pub struct Router {
    ports: Ports,
    args: Vec<String>,
    folder: TempDir,
    process: Process,
}

impl Router {
    /// Starts a router of this fleet, and waits until it serves.
    pub async fn start(fleet: &Fleet) -> Self {
        let ports = Ports::free();
        let nodes: Vec<String> = fleet.ids().into_iter().map(|id| fleet.address(id)).collect();
        let flags = [
            ("--nodes", nodes.join(",")),
            ("--client-addr", ports.client_addr()),
            ("--http-addr", ports.http_addr()),
        ];
        let args: Vec<String> =
            flags.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]).collect();
        let folder = tempfile::Builder::new().prefix("flotilla-router-").tempdir().unwrap();
        let process = Process::start_as("kvrouter", &args, &folder.path().join("log"));
        let mut router = Self { ports, args, folder, process };
        router.ready().await;
        router
    }

    /// Its client address.
    pub fn address(&self) -> String {
        self.ports.client_addr()
    }

    /// SIGKILL, and a new one at the same address.
    pub async fn replace(&mut self) {
        self.kill();
        self.restart().await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again at the same address.
    pub async fn restart(&mut self) {
        self.process = Process::start_as("kvrouter", &self.args, &self.folder.path().join("log"));
        self.ready().await;
    }

    async fn ready(&mut self) {
        let address = self.address();
        until("the router serves", async || {
            assert!(self.process.ended().is_none(), "the router ended: {}", self.process.words());
            let channel = questions::connect(&address).await?;
            questions::kv(channel).get(get("anything", RouteMode::Proxy)).await.ok()
        })
        .await;
    }

    /// A client that knows only the router.
    pub async fn client(&self, deadline: Duration) -> Client {
        let builder = Client::builder([self.address()]).through_endpoints(true);
        builder.deadline(deadline).build().await.unwrap()
    }
}
