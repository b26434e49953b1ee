//! The fleet of `deploy/docker/compose.yaml`: three nodes and two routers in containers on a network of their own. Prometheus and
//! Grafana stay away, because their images are somebody else's.
//!
//! Everything of it is removed when it is dropped, also when the story fails. What a killed test left behind is removed by the
//! next one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::images::{self, docker, succeed};
use crate::texts::path;
use crate::tools::{run, words};

/// The first part of the names of projects and images, before the process id.
const PREFIX: &str = "flotilla-test-";

/// The label by which compose knows its own.
const LABEL: &str = "com.docker.compose.project";

/// Longer than anything here takes on a machine that is busy with other things; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at containers, which cannot call us.
const PAUSE: Duration = Duration::from_millis(200);

/// The services of ours.
pub const SERVICES: [&str; 5] = ["node1", "node2", "node3", "router1", "router2"];

/// How many shards the compose file asks for, the meta shard included.
const SHARDS: u64 = 9;

/// A running project.
#[derive(Debug)]
pub struct Compose {
    /// `docker compose` or the older `docker-compose`.
    tool: Vec<&'static str>,
    project: String,
    image: String,
    /// The routers' ports on this machine: client addresses, then HTTP.
    ports: [u16; 4],
    /// The container of each service.
    containers: BTreeMap<String, String>,
}

impl Compose {
    /// Builds the image and starts the fleet.
    ///
    /// # Errors
    /// The reason why there can be none here.
    pub fn start() -> Result<Self, String> {
        let release = images::possible()?;
        let tool = [vec!["docker", "compose"], vec!["docker-compose"]]
            .into_iter()
            .find(|tool| run(command(tool).arg("version")).is_ok_and(|output| output.status.success()));
        let tool = tool.ok_or("neither docker compose nor docker-compose runs")?;
        sweep();
        let project = format!("{PREFIX}{}", std::process::id());
        let image = format!("{project}:latest");
        // Held together, so that they differ.
        let held = [(); 4].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let ports = held.map(|held| held.local_addr().unwrap().port());
        let mut fleet = Self { tool, project, image, ports, containers: BTreeMap::new() };
        images::build(&release, &fleet.image);
        succeed(fleet.compose().args(["up", "-d", "--no-build"]).args(SERVICES));
        fleet.containers = fleet.find_containers();
        Ok(fleet)
    }

    fn compose(&self) -> Command {
        let mut command = command(&self.tool);
        command.env("FLOTILLA_IMAGE", &self.image);
        let names = ["ROUTER1_PORT", "ROUTER2_PORT", "ROUTER1_HTTP_PORT", "ROUTER2_HTTP_PORT"];
        command.envs(names.into_iter().zip(self.ports.map(|port| port.to_string())));
        command.args(["-p", &self.project, "-f", &path("deploy/docker/compose.yaml")]);
        command
    }

    /// The image.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The routers' client addresses on this machine.
    pub fn routers(&self) -> [String; 2] {
        [self.ports[0], self.ports[1]].map(|port| format!("127.0.0.1:{port}"))
    }

    fn find_containers(&self) -> BTreeMap<String, String> {
        let filter = format!("label={LABEL}={}", self.project);
        let format = "{{.Label \"com.docker.compose.service\"}} {{.ID}}";
        let found = docker(&["ps", "--filter", &filter, "--format", format]);
        let named = found.lines().map(|line| line.split_once(' ').unwrap());
        named.map(|(service, id)| (service.to_string(), id.to_string())).collect()
    }

    /// The container of a service.
    pub fn container(&self, service: &str) -> &str {
        self.containers.get(service).unwrap_or_else(|| panic!("{service} is not among {:?}", self.containers))
    }

    /// The network that they are on.
    fn network(&self) -> String {
        format!("{}_default", self.project)
    }

    /// Takes a service off the network; it goes on running.
    pub fn disconnect(&self, service: &str) {
        docker(&["network", "disconnect", &self.network(), self.container(service)]);
    }

    /// Puts it back, under its name; its address may be another one.
    pub fn connect(&self, service: &str) {
        docker(&["network", "connect", "--alias", service, &self.network(), self.container(service)]);
    }

    /// SIGTERM, and a start in the same container.
    pub fn restart(&self, service: &str) {
        docker(&["restart", "-t", "15", self.container(service)]);
    }

    /// What its health check says.
    pub fn health(&self, service: &str) -> String {
        docker(&["inspect", "--format", "{{.State.Health.Status}}", self.container(service)])
    }

    /// Waits until the health check of a service is content.
    pub async fn healthy(&self, service: &str) {
        let look = || (self.health(service) == "healthy").then_some(());
        self.until(&format!("{service} is healthy"), look).await;
    }

    /// Waits until all replicas of all shards are the same, by their digests.
    pub async fn converged(&self) {
        for shard in 0..SHARDS {
            let same = || self.same(shard).then_some(());
            self.until(&format!("the replicas of shard {shard} are the same"), same).await;
        }
    }

    fn same(&self, shard: u64) -> bool {
        let shard = shard.to_string();
        let ask = ["exec", self.container("node1"), "kvctl", "--output", "json", "shard", "show", &shard];
        let output = run(Command::new("docker").args(ask)).unwrap();
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let replicas = shown["replicas"].as_array().map_or(0, Vec::len);
        replicas == 3 && shown["digests"] == "equal"
    }

    async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = run(self.compose().args(["logs", "--tail", "40"]));
            eprintln!("{}", logs.map_or_else(|error| error, |output| words(&output)));
        }
        let down = run(self.compose().args(["down", "-v", "--remove-orphans", "-t", "1"]));
        if !down.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("{down:?}");
        }
        // The bases stay.
        drop(run(Command::new("docker").args(["image", "rm", "--force", &self.image])));
    }
}

fn command(tool: &[&'static str]) -> Command {
    let mut command = Command::new(tool[0]);
    command.args(&tool[1..]);
    command
}

/// Removes what killed tests left.
fn sweep() {
    let format = format!("{{{{.Label \"{LABEL}\"}}}}");
    let ours = docker(&["ps", "-a", "--filter", &format!("label={LABEL}"), "--format", &format]);
    let mut projects: Vec<&str> = ours.lines().filter(|project| is_left(project)).collect();
    projects.dedup();
    for project in projects {
        let filter = format!("label={LABEL}={project}");
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-f", "-v"][..]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
        ] {
            let found = docker(&[list, &["--filter", &filter]].concat());
            if !found.is_empty() {
                docker(&[remove, &found.lines().collect::<Vec<_>>()].concat());
            }
        }
    }
}

/// Whether a project is of a test process that is gone.
fn is_left(project: &str) -> bool {
    let pid = project.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}
