//! The processes of a local fleet, together.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};

use crate::admin::Admin;
use crate::cli::Common;
use crate::credentials::TlsFlags;
use crate::failure::Failure;
use crate::local::directory::Directory;
use crate::local::process::{NodeProcess, name};
use crate::local::readiness;
use crate::local::shape::{ROUTER, Shape};
use crate::view::Fleet;

/// How long a node may take to end by itself (the contract of `kvnode`); then it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Between two looks at a fleet that is not ready yet. There is nothing to wait for in a process that does not listen yet.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The running nodes of a directory, and the router in front of them if there is one.
#[derive(Debug)]
pub struct LocalFleet {
    directory: Directory,
    program: PathBuf,
    /// In the order of their ids: the router first.
    processes: Vec<NodeProcess>,
    /// Those whose end has been answered by [`LocalFleet::any_end`].
    noticed: BTreeSet<u16>,
}

impl LocalFleet {
    /// Starts all nodes, and with `router` a router at the base port, by running this very program.
    ///
    /// # Errors
    /// [`Failure::Internal`] when a process cannot be started.
    pub fn start(directory: Directory, router: bool) -> Result<Self, Failure> {
        let program = std::env::current_exe();
        let program =
            program.map_err(|error| Failure::Internal(format!("cannot find this program: {error}")))?;
        let mut fleet = Self { directory, program, processes: Vec::new(), noticed: BTreeSet::new() };
        for id in router.then_some(ROUTER).into_iter().chain(fleet.shape().ids()) {
            let process = fleet.spawn(id)?;
            fleet.processes.push(process);
        }
        Ok(fleet)
    }

    /// The fleet's shape.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.directory.shape()
    }

    /// Where it keeps everything.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// All processes, in the order of their ids: the router ([`ROUTER`]), if there is one, before the nodes.
    #[must_use]
    pub fn processes(&self) -> &[NodeProcess] {
        &self.processes
    }

    /// The nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeProcess> {
        self.processes.iter().filter(|process| process.id() != ROUTER)
    }

    /// The router's process.
    #[must_use]
    pub fn router(&self) -> Option<&NodeProcess> {
        self.processes.iter().find(|process| process.id() == ROUTER)
    }

    /// A client of its nodes: `common` with their addresses.
    #[must_use]
    pub fn common(&self, common: &Common) -> Common {
        let shape = self.shape();
        let endpoint = shape.ids().filter_map(|id| shape.client_addr(id).parse().ok()).collect();
        // It is plain, and on loopback.
        Common { endpoint, tls: TlsFlags::default(), ..common.clone() }
    }

    fn spawn(&self, id: u16) -> Result<NodeProcess, Failure> {
        let shape = self.shape();
        let mut args =
            if id == ROUTER { shape.router_args() } else { shape.node_args(id, &self.directory.data(id)) };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        args.extend(["--threads".into(), shape.threads_each(cores).to_string().into()]);
        NodeProcess::start(&self.program, id, args, self.directory.log(id))
    }

    /// Starts a node, or the router, that has ended.
    ///
    /// # Errors
    /// [`Failure::Internal`] when the process cannot be started.
    pub fn restart(&mut self, id: u16) -> Result<(), Failure> {
        let node = self.spawn(id)?;
        let place = self.processes.iter_mut().find(|process| process.id() == id);
        let place = place.ok_or_else(|| Failure::Internal(format!("{} was never started", name(id))))?;
        assert!(place.ended().is_some(), "{} was started twice", name(id));
        *place = node;
        self.noticed.remove(&id);
        Ok(())
    }

    /// Waits until some process ends whose end was not answered yet; for ever when there is none. Safe to cancel.
    pub async fn any_end(&mut self) -> u16 {
        let noticed = &self.noticed;
        let watched = self.processes.iter_mut().filter(|node| !noticed.contains(&node.id()));
        let ends: Vec<_> = watched
            .map(|node| {
                Box::pin(async {
                    node.end().await;
                    node.id()
                })
            })
            .collect();
        let id = if ends.is_empty() { std::future::pending().await } else { select_all(ends).await.0 };
        self.noticed.insert(id);
        id
    }

    /// Waits until every node answers, every shard has a leader, and the router, if there is one, is ready too.
    ///
    /// # Errors
    /// A process ended, or it took longer than `patience`.
    pub async fn ready(&mut self, admin: &Admin, patience: Duration) -> Result<Fleet, Failure> {
        let shape = self.shape();
        let give_up = Instant::now() + patience;
        loop {
            let router = self.router().map(|_| shape.router_http_addr());
            let looked = tokio::select! {
                looked = look(admin, router.as_deref()) => looked,
                id = self.any_end() => return Err(self.lost(id)),
            };
            let missing = match &looked {
                Err(failure) => failure.to_string(),
                Ok((fleet, behind)) => match missing(fleet, shape).or_else(|| behind.clone()) {
                    None => return looked.map(|(fleet, _)| fleet),
                    Some(missing) => missing,
                },
            };
            if Instant::now() > give_up {
                let seconds = patience.as_secs();
                let logs = self.directory.path().display();
                return Err(Failure::Refused(format!(
                    "not ready after {seconds} s: {missing} (logs: {logs}/*.log)"
                )));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                id = self.any_end() => return Err(self.lost(id)),
            }
        }
    }

    /// A process ended that should not have.
    fn lost(&self, id: u16) -> Failure {
        let node = self.processes.iter().find(|process| process.id() == id);
        Failure::Refused(node.map_or_else(|| format!("{} ended", name(id)), NodeProcess::obituary))
    }

    /// Ends all processes: asks, waits, then kills. Answers with the ids of those that had to be killed.
    pub async fn stop(&mut self) -> Vec<u16> {
        self.processes.iter().for_each(NodeProcess::terminate);
        let all = join_all(self.processes.iter_mut().map(NodeProcess::end));
        if tokio::time::timeout(STOP_GRACE, all).await.is_ok() {
            return Vec::new();
        }
        let late: Vec<u16> =
            self.processes.iter().filter(|node| node.ended().is_none()).map(NodeProcess::id).collect();
        self.kill().await;
        late
    }

    /// Ends all processes at once.
    pub async fn kill(&mut self) {
        self.processes.iter().for_each(NodeProcess::kill);
        join_all(self.processes.iter_mut().map(NodeProcess::end)).await;
    }
}

/// The fleet, and what the router at this HTTP address says that it lacks.
async fn look(admin: &Admin, router: Option<&str>) -> Result<(Fleet, Option<String>), Failure> {
    let fleet = admin.fleet().await?;
    let missing = match router {
        None => None,
        Some(address) => readiness::missing(address).await.map(|missing| format!("router: {missing}")),
    };
    Ok((fleet, missing))
}

/// What a fleet still lacks to be ready.
fn missing(fleet: &Fleet, shape: Shape) -> Option<String> {
    if fleet.nodes.len() < usize::from(shape.nodes) {
        return Some(format!("the map names {} of {} nodes", fleet.nodes.len(), shape.nodes));
    }
    let silent = fleet.nodes.iter().find_map(|node| Some((node.id, node.answer.as_ref().err()?)));
    if let Some((id, why)) = silent {
        return Some(format!("node {} does not answer: {why}", id.0));
    }
    let leaderless = fleet.shards.iter().find(|shard| shard.leader.is_none());
    leaderless.map(|shard| format!("shard {} has no leader", shard.id.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples::{map, three_nodes};
    use flotilla_topology::NodeId;

    #[test]
    fn a_fleet_is_ready_when_all_nodes_answer_and_all_shards_are_led() {
        let shape = Shape { nodes: 3, shards: 1, replicas: 3, base_port: 7400 };
        assert_eq!(missing(&Fleet::of(&map(), three_nodes()), shape), None);
        let four = Shape { nodes: 4, ..shape };
        assert_eq!(missing(&Fleet::of(&map(), three_nodes()), four).unwrap(), "the map names 3 of 4 nodes");
        let mut answers = three_nodes();
        answers.insert(NodeId(2), Err("connection refused".to_string()));
        let silent = missing(&Fleet::of(&map(), answers), shape).unwrap();
        assert_eq!(silent, "node 2 does not answer: connection refused");
        let mut answers = three_nodes();
        answers.get_mut(&NodeId(2)).unwrap().as_mut().unwrap().replicas[1].role = 0;
        assert_eq!(missing(&Fleet::of(&map(), answers), shape).unwrap(), "shard 1 has no leader");
    }
}
