//! A fleet of ours: nodes, and perhaps a router, by the flags that users have.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::process::{Blueprint, Sign};
use super::{Blueprints, address, ports};

/// `kvctl` is node and router too, and its children end with their parent.
const WHILE_STDIN_OPEN: &str = "--while-stdin-open";

/// Client, peer and HTTP port of each node, then the router's two.
const PORTS_PER_PROCESS: usize = 3;

pub(super) fn plan(
    program: PathBuf,
    folder: &Path,
    nodes: u16,
    shards: u32,
    replicas: u16,
    router: bool,
) -> Result<Blueprints, String> {
    let taken = ports::take(PORTS_PER_PROCESS * (usize::from(nodes) + 1))?;
    let [clients, peers, https] = [0, 1, 2].map(|kind| {
        taken.chunks_exact(PORTS_PER_PROCESS).map(|chunk| address(chunk[kind])).collect::<Vec<_>>()
    });
    let count = usize::from(nodes);
    // As `kvctl dev` does, and as whoever puts several nodes on one machine should.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / count.max(1)).max(1).to_string();
    let init: Vec<String> = (0..count).map(|at| format!("{}={}", at + 1, peers[at])).collect();
    let mut blueprints = Vec::new();
    for at in 0..count {
        let name = format!("n{}", at + 1);
        let mut args = vec![OsString::from("kvnode"), WHILE_STDIN_OPEN.into()];
        args.extend(words(&[
            ("--id", (at + 1).to_string()),
            ("--client-addr", clients[at].clone()),
            ("--peer-addr", peers[at].clone()),
            ("--http-addr", https[at].clone()),
            ("--init", init.join(",")),
            ("--shards", shards.to_string()),
            ("--replicas", replicas.to_string()),
            ("--threads", threads.clone()),
        ]));
        args.extend([OsString::from("--data-dir"), folder.join(&name).into()]);
        blueprints.push(Blueprint {
            name: format!("flotilla's node {}", at + 1),
            program: program.clone(),
            args,
            log: folder.join(format!("{name}.log")),
            sign: Sign::Readyz(https[at].clone()),
        });
    }
    if router {
        let mut args = vec![OsString::from("kvrouter"), WHILE_STDIN_OPEN.into()];
        args.extend(words(&[
            ("--client-addr", clients[count].clone()),
            ("--http-addr", https[count].clone()),
            ("--nodes", clients[..count].join(",")),
            ("--threads", threads),
        ]));
        blueprints.push(Blueprint {
            name: "flotilla's router".to_owned(),
            program,
            args,
            log: folder.join("router.log"),
            sign: Sign::Readyz(https[count].clone()),
        });
    }
    let router = router.then(|| clients[count].clone());
    Ok(Blueprints { blueprints, nodes: clients[..count].to_vec(), router })
}

/// A node that joins a member, and where it takes clients.
pub(super) fn joiner(
    program: PathBuf,
    folder: &Path,
    id: usize,
    member: &str,
) -> Result<(Blueprint, String), String> {
    let [client, peer, http] = ports::take(PORTS_PER_PROCESS)?
        .into_iter()
        .map(address)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "a port is missing".to_owned())?;
    let name = format!("n{id}");
    let mut args = vec![OsString::from("kvnode"), WHILE_STDIN_OPEN.into()];
    args.extend(words(&[
        ("--id", id.to_string()),
        ("--client-addr", client.clone()),
        ("--peer-addr", peer),
        ("--http-addr", http.clone()),
        ("--join", member.to_owned()),
        ("--threads", "1".to_owned()),
    ]));
    args.extend([OsString::from("--data-dir"), folder.join(&name).into()]);
    let blueprint = Blueprint {
        name: format!("flotilla's node {id}"),
        program,
        args,
        log: folder.join(format!("{name}.log")),
        sign: Sign::Readyz(http),
    };
    Ok((blueprint, client))
}

fn words(flags: &[(&str, String)]) -> Vec<OsString> {
    flags.iter().flat_map(|(flag, value)| [OsString::from(flag), OsString::from(value)]).collect()
}
