//! A cluster of etcd as its documents start one; everything that is not an address has etcd's own default.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::process::{Blueprint, Sign};
use super::{Blueprints, address, ports};
use crate::target::etcd;

/// How long members may take to agree on who leads, once they answer reads.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn plan(program: PathBuf, folder: &Path, nodes: u16) -> Result<Blueprints, String> {
    let taken = ports::take(2 * usize::from(nodes))?;
    let (clients, peers) = taken.split_at(usize::from(nodes));
    let url = |port: u16| format!("http://{}", address(port));
    let members: Vec<String> =
        peers.iter().enumerate().map(|(at, peer)| format!("n{}={}", at + 1, url(*peer))).collect();
    let blueprints = clients.iter().zip(peers).enumerate().map(|(at, (client, peer))| {
        let name = format!("n{}", at + 1);
        let flags = [
            ("--name", name.clone()),
            ("--listen-client-urls", url(*client)),
            ("--advertise-client-urls", url(*client)),
            ("--listen-peer-urls", url(*peer)),
            ("--initial-advertise-peer-urls", url(*peer)),
            ("--initial-cluster", members.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
        ];
        let words = flags.into_iter().flat_map(|(flag, value)| [OsString::from(flag), OsString::from(value)]);
        Blueprint {
            name: format!("etcd's member {}", at + 1),
            program: program.clone(),
            args: words.chain([OsString::from("--data-dir"), folder.join(&name).into()]).collect(),
            log: folder.join(format!("{name}.log")),
            sign: Sign::EtcdRead(address(*client)),
        }
    });
    let blueprints = blueprints.collect();
    let nodes = clients.iter().map(|port| address(*port)).collect();
    Ok(Blueprints { blueprints, nodes, router: None })
}

/// Which of these members leads.
pub(crate) async fn leader(nodes: &[String]) -> Result<usize, String> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        for (at, node) in nodes.iter().enumerate() {
            if etcd::leads(node).await.unwrap_or(false) {
                return Ok(at);
            }
        }
        if Instant::now() > give_up {
            return Err("no member of etcd says that it leads".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
