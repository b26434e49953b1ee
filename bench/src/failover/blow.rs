//! How the node that leads most lanes is struck.

use serde::Serialize;

use crate::fleet::Process;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Blow {
    /// SIGKILL: its connections break at once
    Kill,
    /// SIGTERM: it may move its leaders first
    Term,
    /// SIGSTOP, and SIGCONT when all lanes are written again: its connections stay, and nobody answers
    Stop,
}

impl Blow {
    pub(super) const ALL: [Self; 3] = [Self::Kill, Self::Term, Self::Stop];

    pub(super) const fn signal(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Term => "SIGTERM",
            Self::Stop => "SIGSTOP",
        }
    }

    pub(super) fn strike(self, process: &mut Process) {
        match self {
            Self::Kill => process.kill(),
            Self::Term => process.signal(rustix::process::Signal::TERM),
            Self::Stop => process.signal(rustix::process::Signal::STOP),
        }
    }

    /// Afterwards: the node serves again, or will.
    pub(super) fn mend(self, process: &mut Process) -> Result<(), String> {
        match self {
            Self::Stop => {
                process.signal(rustix::process::Signal::CONT);
                Ok(())
            }
            Self::Kill => process.restart(),
            Self::Term => {
                process.wait()?;
                process.restart()
            }
        }
    }
}
