//! `kvctl dev`: a whole fleet on this machine, until Ctrl-C.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flotilla_daemon::table::{Align, Table};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::admin::Admin;
use crate::cli::Common;
use crate::console::Console;
use crate::failure::Failure;
use crate::local::directory::{self, Directory, Wanted};
use crate::local::fleet::LocalFleet;
use crate::local::interrupt::Interrupts;
use crate::local::process::name;
use crate::local::{invocation, ports};

/// How long the fleet may take to elect all leaders. A cold disk syncs slowly.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// Between the end of a node and its next start: long enough to watch the others go on without it.
const RESTART_PAUSE: Duration = Duration::from_secs(3);

/// A node that ends so often in a row, each time within [`STEADY`], is not started again.
const STRIKES_MAX: u32 = 5;

/// A node that ran so long is sound, whatever ended it.
const STEADY: Duration = Duration::from_secs(10);

/// Arguments of `kvctl dev`.
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// How many nodes [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    pub nodes: Option<u16>,
    /// How many shards, besides the meta shard [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub shards: Option<u32>,
    /// How many replicas of each shard [default: 3, or as many as there are nodes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    pub replicas: Option<u16>,
    /// Data and logs; kept, and used again at the next start [default: ~/.local/state/flotilla/dev-PORT]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The router listens on PORT and PORT+80 (HTTP), node i on PORT+100+i (clients), PORT+200+i (peers), PORT+300+i (HTTP) [default: 7400]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub base_port: Option<u16>,
    /// Leave a process that ended alone, instead of starting it again after 3 s
    #[arg(long)]
    pub no_restart: bool,
}

/// Starts the fleet and looks after it until it is asked to end.
///
/// # Errors
/// Wrong numbers, ports or directory in use, a node that does not start, or stdout fails.
pub async fn run(args: &DevArgs, common: &Common, console: &mut Console) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let directory = open(args)?;
    if let Err(taken) = ports::check(directory.shape()) {
        directory.abandon();
        return Err(taken);
    }
    console.note(&opening(&directory));
    let mut fleet = LocalFleet::start(directory, true)?;
    let admin = Admin::new(&fleet.common(common));
    let ready = tokio::select! {
        ready = fleet.ready(&admin, READY_PATIENCE) => ready.map(|_| true),
        () = interrupts.next() => Ok(false),
    };
    let ended = match ready {
        Ok(true) => attend(args, &mut fleet, &mut interrupts, console).await,
        Ok(false) => Ok(()),
        Err(failure) => Err(failure),
    };
    stop(&mut fleet, &mut interrupts, console).await;
    ended
}

fn open(args: &DevArgs) -> Result<Directory, Failure> {
    let wanted =
        Wanted { nodes: args.nodes, shards: args.shards, replicas: args.replicas, base_port: args.base_port };
    let path = match &args.dir {
        Some(path) => path.clone(),
        None => directory::default_path(args.base_port.unwrap_or(7400))?,
    };
    Directory::open(&path, wanted)
}

/// Said before anything is started.
fn opening(directory: &Directory) -> String {
    let shape = directory.shape();
    let age = if directory.is_new() { "a new fleet" } else { "the fleet that was left" };
    format!("starting {} nodes and a router: {age} in {}", shape.nodes, directory.path().display())
}

/// Says that all is ready, then keeps it so.
async fn attend(
    args: &DevArgs,
    fleet: &mut LocalFleet,
    interrupts: &mut Interrupts,
    console: &mut Console,
) -> Result<(), Failure> {
    if console.json_wanted() {
        console.json(&document(fleet))?;
    } else {
        console.text(&page(fleet))?;
    }
    console.flush()?;
    let mut nursery = Nursery::new(fleet, Instant::now());
    loop {
        let due = nursery.next();
        tokio::select! {
            () = interrupts.next() => return Ok(()),
            id = fleet.any_end() => {
                let end = fleet.processes().iter().find(|node| node.id() == id).map(|node| node.obituary());
                let again = !args.no_restart && nursery.ended(id, Instant::now());
                let plan = if again { "starting it again in 3 s" } else { "not started again" };
                console.note(&format!("{}; {plan}", end.unwrap_or_default()));
            }
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                for id in nursery.take_due(Instant::now()) {
                    fleet.restart(id)?;
                    console.note(&format!("{} started again", name(id)));
                }
            }
        }
    }
}

/// Ends all processes; a second Ctrl-C does so at once.
async fn stop(fleet: &mut LocalFleet, interrupts: &mut Interrupts, console: &mut Console) {
    console.note("stopping all processes (Ctrl-C again to kill them)");
    let killed = tokio::select! {
        killed = fleet.stop() => Some(killed),
        () = interrupts.next() => None,
    };
    match killed {
        None => fleet.kill().await,
        Some(killed) if killed.is_empty() => {}
        Some(killed) => {
            let names: Vec<String> = killed.into_iter().map(name).collect();
            console.note(&format!("{} did not end within 10 s and had to be killed", names.join(", ")));
        }
    }
    let path = fleet.directory().path().display();
    console.note(&format!("stopped; data and logs stay in {path}"));
}

/// Which processes are to be started again, and when.
struct Nursery {
    started: BTreeMap<u16, Instant>,
    strikes: BTreeMap<u16, u32>,
    due: BTreeMap<u16, Instant>,
}

impl Nursery {
    fn new(fleet: &LocalFleet, now: Instant) -> Self {
        let started = fleet.processes().iter().map(|process| (process.id(), now)).collect();
        Self { started, strikes: BTreeMap::new(), due: BTreeMap::new() }
    }

    /// A node ended. Answers whether it will be started again.
    fn ended(&mut self, id: u16, now: Instant) -> bool {
        let strikes = self.strikes.entry(id).or_default();
        let steady = self.started.get(&id).is_some_and(|at| now.duration_since(*at) >= STEADY);
        *strikes = if steady { 1 } else { *strikes + 1 };
        let again = *strikes <= STRIKES_MAX;
        if again {
            self.due.insert(id, now + RESTART_PAUSE);
        }
        again
    }

    fn next(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }

    /// The nodes whose time has come.
    fn take_due(&mut self, now: Instant) -> Vec<u16> {
        let ids: Vec<u16> = self.due.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in &ids {
            self.due.remove(id);
            self.started.insert(*id, now);
        }
        ids
    }
}

/// What to know and what to try.
fn page(fleet: &LocalFleet) -> String {
    let shape = fleet.shape();
    let mut table = Table::new(&[
        ("NODE", Align::Right),
        ("PID", Align::Right),
        ("CLIENT", Align::Left),
        ("PEER", Align::Left),
        ("HTTP", Align::Left),
    ]);
    if let Some(router) = fleet.router() {
        let cells = ["router".to_string(), router.pid().to_string(), shape.router_addr()];
        table.row(cells.into_iter().chain(["-".to_string(), shape.router_http_addr()]).collect());
    }
    for node in fleet.nodes() {
        let id = node.id();
        let cells = [id.to_string(), node.pid().to_string()];
        table.row(
            cells
                .into_iter()
                .chain([shape.client_addr(id), shape.peer_addr(id), shape.http_addr(id)])
                .collect(),
        );
    }
    let (program, flags) = (invocation::program(), invocation::endpoint_flags(shape));
    format!(
        "\n{}\nready: {} shards and the meta shard, {} replicas each; data and logs in\n{}\n\n\
         Try, in another terminal:\n\n  {program} put greeting hello{flags}\n  {program} get greeting{flags}\n  \
         {program} status{flags}\n\nCtrl-C stops them all. The data stays for the next start.\n",
        table.render(),
        shape.shards,
        shape.replicas,
        fleet.directory().path().display(),
    )
}

fn document(fleet: &LocalFleet) -> Value {
    let shape = fleet.shape();
    let nodes = fleet.nodes().map(|node| {
        let id = node.id();
        json!({
            "node": id,
            "pid": node.pid(),
            "client_addr": shape.client_addr(id),
            "peer_addr": shape.peer_addr(id),
            "http_addr": shape.http_addr(id),
        })
    });
    let router = fleet.router().map(|router| {
        json!({
            "pid": router.pid(),
            "client_addr": shape.router_addr(),
            "http_addr": shape.router_http_addr(),
        })
    });
    json!({
        "dir": fleet.directory().path().display().to_string(),
        "shards": shape.shards,
        "replicas": shape.replicas,
        "router": router,
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_cannot_stand_is_given_up_and_a_steady_one_is_not() {
        let mut now = Instant::now();
        let mut nursery =
            Nursery { started: [(1, now)].into(), strikes: BTreeMap::new(), due: BTreeMap::new() };
        for _ in 0..STRIKES_MAX {
            assert!(nursery.ended(1, now));
            assert_eq!(nursery.take_due(now), Vec::<u16>::new());
            now += RESTART_PAUSE;
            assert_eq!(nursery.take_due(now), [1]);
        }
        assert!(!nursery.ended(1, now));
        assert_eq!(nursery.next(), None);
        nursery.started.insert(1, now);
        assert!(nursery.ended(1, now + STEADY));
    }
}
