//! `kvctl completion SHELL`: a completion script on stdout.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::console::Console;
use crate::failure::Failure;

/// Arguments of `kvctl completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell; for bash: source <(kvctl completion bash)
    #[arg(value_name = "SHELL", value_enum)]
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// stdout fails.
pub fn run(args: &CompletionArgs, console: &mut Console) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kvctl", &mut script);
    console.bytes(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kvctl", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("transfer-leader") && script.contains("base-port"), "{shell}");
        }
    }
}
