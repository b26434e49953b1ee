//! One Redis that promises as much as a single server can: its log is synced before each answer. No snapshots beside the log,
//! which would only slow it down.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::process::{Blueprint, Sign};
use super::{Blueprints, address, ports};

pub(super) fn plan(program: PathBuf, folder: &Path) -> Result<Blueprints, String> {
    let taken = ports::take(1)?;
    let port = taken[0];
    let words = [
        ("--port", port.to_string()),
        ("--bind", "127.0.0.1".to_owned()),
        ("--appendonly", "yes".to_owned()),
        ("--appendfsync", "always".to_owned()),
        ("--save", String::new()),
        ("--daemonize", "no".to_owned()),
    ];
    let words = words.into_iter().flat_map(|(flag, value)| [OsString::from(flag), OsString::from(value)]);
    let blueprint = Blueprint {
        name: "redis".to_owned(),
        program,
        args: words.chain([OsString::from("--dir"), folder.into()]).collect(),
        log: folder.join("redis.log"),
        sign: Sign::RedisRead(address(port)),
    };
    Ok(Blueprints { blueprints: vec![blueprint], nodes: vec![address(port)], router: None })
}
