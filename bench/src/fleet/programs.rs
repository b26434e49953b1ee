//! Which binaries there are: by flag, beside this program, or in the PATH.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ours: `kvctl`, which is node and router too.
    Flotilla,
    /// `etcd`.
    Etcd,
    /// `redis-server`.
    Redis,
}

impl Kind {
    /// The program, and the flag that names another place of it.
    const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Flotilla => ("kvctl", "--kvctl"),
            Self::Etcd => ("etcd", "--etcd"),
            Self::Redis => ("redis-server", "--redis-server"),
        }
    }
}

/// The binaries, as the flags have them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Programs {
    /// The binary of Flotilla's servers [default: kvctl beside kvbench, else in the PATH]
    #[arg(long, value_name = "FILE")]
    kvctl: Option<PathBuf>,
    /// The binary of etcd's servers [default: etcd in the PATH]
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// The binary of Redis [default: redis-server in the PATH]
    #[arg(long, value_name = "FILE")]
    redis_server: Option<PathBuf>,
}

impl Programs {
    /// Where the binary is, or why its target is left out.
    pub(crate) fn get(&self, kind: Kind) -> Result<PathBuf, String> {
        let given = match kind {
            Kind::Flotilla => &self.kvctl,
            Kind::Etcd => &self.etcd,
            Kind::Redis => &self.redis_server,
        };
        let (name, flag) = kind.program();
        if let Some(given) = given {
            let found = given.is_file().then(|| given.clone());
            return found.ok_or_else(|| format!("{flag} {}: no such file", given.display()));
        }
        let own = std::env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).filter(|_| kind == Kind::Flotilla);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = beside.map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
        let found = places.find_map(|place| Some(place.join(name)).filter(|program| program.is_file()));
        found.ok_or_else(|| format!("no {name} found: {flag} names it"))
    }

    /// The flags that were given and are files that do not exist.
    pub(crate) fn check(&self) -> Result<(), String> {
        let given = [
            (Kind::Flotilla, self.kvctl.is_some()),
            (Kind::Etcd, self.etcd.is_some()),
            (Kind::Redis, self.redis_server.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).try_for_each(|(kind, _)| self.get(kind).map(drop))
    }

    /// What the binary says of its version, in one line.
    pub(crate) fn version(&self, kind: Kind) -> Option<String> {
        let output = Command::new(self.get(kind).ok()?).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next()?.trim().to_owned();
        Some(match kind {
            Kind::Redis => line.split(" sha=").next()?.to_owned(),
            Kind::Flotilla | Kind::Etcd => line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_binary_must_exist_and_its_flag_is_named() {
        let programs = Programs { etcd: Some("/nowhere/etcd".into()), ..Programs::default() };
        assert_eq!(programs.get(Kind::Etcd).unwrap_err(), "--etcd /nowhere/etcd: no such file");
        assert_eq!(programs.check().unwrap_err(), "--etcd /nowhere/etcd: no such file");
        let shell = Programs { kvctl: Some("/bin/sh".into()), ..Programs::default() };
        assert_eq!(shell.get(Kind::Flotilla), Ok("/bin/sh".into()));
        assert_eq!(shell.check(), Ok(()));
    }
}
