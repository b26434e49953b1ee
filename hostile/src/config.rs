//! Flags and configuration file of a node. (The environment is not tried here: it belongs to the whole process. Its values
//! go through the same parsers.)

use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use flotilla_node::config::{self, HostPort, Parsed};
use flotilla_topology::NodeInfo;
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Pieces that end with a zero byte: the file, then the arguments. Without a file the first one is empty.
pub(crate) fn enter(bytes: &[u8]) -> bool {
    let mut pieces = bytes.split(|byte| *byte == 0);
    let file = pieces.next().unwrap_or_default();
    let mut args = vec![OsString::from("kvnode")];
    // Another file would be one of this machine, and a device among them has no end.
    args.extend(
        pieces.filter(|arg| !arg.starts_with(b"--config")).map(|arg| OsString::from_vec(arg.to_vec())),
    );
    let parsed = if file.is_empty() { config::parse(args) } else { with_file(file, args) };
    match parsed {
        Ok(Parsed::Run(config)) => {
            assert!(config.id.0 > 0, "there is no node 0");
            assert!(config.limits.key_bytes_max.0 > 0);
            let addresses = &config.addresses;
            let text = |advertised: &Option<HostPort>, bound: &HostPort| {
                advertised.as_ref().unwrap_or(bound).to_string()
            };
            let info = NodeInfo {
                client_addr: text(&addresses.advertise_client_addr, &addresses.client_addr),
                peer_addr: text(&addresses.advertise_peer_addr, &addresses.peer_addr),
                http_addr: addresses.http_addr.to_string(),
            };
            assert_eq!(info.validate(config.id), Ok(()), "no cluster map would take such an address");
            true
        }
        Ok(Parsed::Print(text)) => !text.is_empty(),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty() && !line.chars().any(char::is_control), "it is no line: {line:?}");
            false
        }
    }
}

fn with_file(file: &[u8], mut args: Vec<OsString>) -> Result<Parsed, config::ConfigError> {
    DIRECTORY.with(|directory| {
        let directory = directory.get_or_init(|| {
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary directory: {error}"))
        });
        let path = directory.path().join("node.toml");
        std::fs::write(&path, file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        args.insert(1, "--config".into());
        args.insert(2, path.into());
        config::parse(args)
    })
}
