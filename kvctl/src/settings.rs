//! Where a flag's value comes from: the command line beats the environment, the environment beats the settings file, the
//! file beats the default.
//!
//! Both are laid under clap's own description of the commands, so that no flag can be forgotten: the flag `--nodes` of
//! `kvctl dev` is `KVCTL_DEV_NODES` in the environment, and `nodes` in the table `[dev]` of the file. A key of the file
//! that is no flag is an error: a misspelt setting must not be ignored.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};
use toml::{Table, Value};

use crate::cli::Cli;
use crate::failure::one_line;

/// Why there is no command to run.
#[derive(Debug)]
pub enum Refusal {
    /// `--help` or `--version`: print it to stdout, and all is well.
    Help(clap::Error),
    /// A group of commands without the command: the help goes to stderr.
    Nothing(clap::Error),
    /// The words are no command: one line that names the flag.
    Usage(String),
    /// The settings file is wrong: one line that names the setting.
    Settings(String),
}

/// Reads the command line over the environment, over the settings file.
///
/// # Errors
/// What was asked is no command, or some value is wrong.
pub fn parse(args: &[OsString]) -> Result<Cli, Refusal> {
    let mut command = with_environment(Cli::command(), "KVCTL");
    if let Some(path) = settings_file(args) {
        command = with_file(command, &path).map_err(Refusal::Settings)?;
    }
    let matches = command.try_get_matches_from(args).map_err(refusal)?;
    Cli::from_arg_matches(&matches).map_err(refusal)
}

/// The settings file, which must be known before the command line can be read in full.
fn settings_file(args: &[OsString]) -> Option<PathBuf> {
    let mut words = args.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os("KVCTL_CONFIG").map(PathBuf::from)
}

/// Names the environment variable of every flag of this command and those below it, and lets values look like numbers.
fn with_environment(mut command: Command, prefix: &str) -> Command {
    for id in flags(&command) {
        command = command.mut_arg(&id, |arg| {
            let name = format!("{prefix}_{}", variable(arg.get_long().unwrap_or(&id)));
            // `--limit -1` is a wrong value of --limit, not an unknown flag.
            let takes_value = arg.get_action().takes_values();
            arg.env(name).hide_env_values(true).allow_negative_numbers(takes_value)
        });
    }
    for name in below(&command) {
        let prefix = format!("{prefix}_{}", variable(&name));
        command = command.mut_subcommand(name, |below| with_environment(below, &prefix));
    }
    command
}

/// A flag's or command's name as part of an environment variable.
fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Names of the flags that a command has of its own (clap adds `help` and `version` later).
fn flags(command: &Command) -> Vec<String> {
    let flags = command.get_arguments().filter(|arg| arg.get_long().is_some());
    flags.map(|arg| arg.get_id().to_string()).collect()
}

/// Names of the commands below a command.
fn below(command: &Command) -> Vec<String> {
    command.get_subcommands().map(|command| command.get_name().to_string()).collect()
}

/// Lays the file's values under the flags, as their defaults.
fn with_file(command: Command, path: &Path) -> Result<Command, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("--config {}: cannot read it: {error}", path.display()))?;
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| format!("{}: {}", path.display(), one_line(&error.to_string())))?;
    with_table(command, &table, "").map_err(|error| format!("{}: {error}", path.display()))
}

/// Lays one table under one command. `at` is the table's name with a dot, or empty.
fn with_table(mut command: Command, table: &Table, at: &str) -> Result<Command, String> {
    for (key, value) in table {
        let name = format!("{at}{key}");
        if let Value::Table(inner) = value {
            let known = command.find_subcommand(key).cloned();
            let laid = with_table(
                known.ok_or(format!("{name}: there is no such command"))?,
                inner,
                &format!("{name}."),
            )?;
            command = command.mut_subcommand(key, |_| laid);
            continue;
        }
        let flag =
            command.get_arguments().find(|arg| arg.get_long() == Some(key) && key != "config").cloned();
        let flag = flag.ok_or(format!("{name}: there is no such setting"))?;
        let words = words(value)
            .ok_or(format!("{name}: expected text, a number, true, false, or a list of these"))?;
        check(&flag, &words).map_err(|error| format!("{name}: {error}"))?;
        // clap refuses a required flag with a default.
        command = command.mut_arg(flag.get_id().clone(), |flag| flag.required(false).default_values(words));
    }
    Ok(command)
}

/// A setting's value as words of a command line.
fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Integer(number) => Some(vec![number.to_string()]),
        Value::Float(number) => Some(vec![number.to_string()]),
        Value::Boolean(truth) => Some(vec![truth.to_string()]),
        Value::Array(values) => {
            values.iter().map(words).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Whether the flag would take these words on the command line. clap itself does not check defaults.
fn check(flag: &Arg, words: &[String]) -> Result<(), String> {
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        let truth = words.len() == 1 && matches!(words[0].as_str(), "true" | "false");
        return if truth { Ok(()) } else { Err("expected true or false".to_string()) };
    }
    let long = flag.get_long().unwrap_or_default().to_string();
    let alone = Command::new("kvctl").no_binary_name(true).disable_help_flag(true).disable_version_flag(true);
    let tried = alone
        .arg(flag.clone().global(false).required(true).env(None::<&str>))
        .try_get_matches_from(words.iter().map(|word| format!("--{long}={word}")));
    tried.map(|_| ()).map_err(|error| first_paragraph(&error))
}

/// What clap's complaint comes to.
fn refusal(error: clap::Error) -> Refusal {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refusal::Help(error),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Refusal::Nothing(error),
        _ => Refusal::Usage(complaint(&error)),
    }
}

/// clap's complaint on one line: what is wrong, and its tip where it has one.
fn complaint(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let tip = text.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
    let tip = tip.map(|tip| format!(" ({tip})")).unwrap_or_default();
    format!("{}{tip}", first_paragraph(error))
}

/// The first paragraph of clap's complaint, on one line, without its "error: ".
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    one_line(paragraph.strip_prefix("error: ").unwrap_or(paragraph))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command as Verb;

    fn parse_words(words: &[&str]) -> Result<Cli, Refusal> {
        let args: Vec<OsString> =
            std::iter::once("kvctl").chain(words.iter().copied()).map(OsString::from).collect();
        parse(&args)
    }

    fn refused(words: &[&str]) -> String {
        match parse_words(words) {
            Err(Refusal::Usage(line) | Refusal::Settings(line)) => line,
            other => panic!("{words:?} was not refused as wrong usage: {other:?}"),
        }
    }

    fn parse_under(file: &str, words: &[&str]) -> Result<Cli, Refusal> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kvctl.toml");
        std::fs::write(&path, file).unwrap();
        let config = path.to_str().unwrap().to_string();
        let words: Vec<&str> = words.iter().copied().chain(["--config", &config]).collect();
        parse_words(&words)
    }

    #[test]
    fn clap_finds_no_fault_with_the_description() {
        with_environment(Cli::command(), "KVCTL").debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let cli = parse_words(&["status"]).unwrap();
        let endpoints: Vec<&str> = cli.common.endpoint.iter().map(|endpoint| endpoint.as_str()).collect();
        assert_eq!(endpoints, crate::cli::DEFAULT_ENDPOINTS);
        assert_eq!(cli.common.timeout.to_string(), "5s");
        assert_eq!(cli.common.output, crate::console::Format::Table);
    }

    #[test]
    fn endpoints_may_be_repeated_and_stand_anywhere() {
        let cli = parse_words(&["get", "k", "--endpoint", "a:1,b:2", "--endpoint=c:3", "--output", "json"])
            .unwrap();
        let endpoints: Vec<&str> = cli.common.endpoint.iter().map(|endpoint| endpoint.as_str()).collect();
        assert_eq!(endpoints, ["a:1", "b:2", "c:3"]);
        assert_eq!(cli.common.output, crate::console::Format::Json);
    }

    #[test]
    fn a_wrong_value_is_one_line_that_names_the_flag() {
        let cases: [(&[&str], &str); 8] = [
            (&["status", "--timeout", "soon"], "--timeout"),
            (&["status", "--endpoint", "7400"], "--endpoint"),
            (&["status", "--output", "xml"], "--output"),
            (&["scan", "--limit", "-1"], "--limit"),
            (&["cas", "k", "v"], "--version"),
            (&["dev", "--nodes", "0"], "--nodes"),
            (&["shard", "transfer-leader", "1"], "--to"),
            (&["put", "k", "v", "--tll", "5s"], "--tll"),
        ];
        for (words, flag) in cases {
            let line = refused(words);
            assert!(line.contains(flag) && !line.contains('\n'), "{words:?}: {line:?}");
        }
        assert!(
            refused(&["put", "k", "v", "--tll", "5s"]).contains("'--ttl'"),
            "clap's tip belongs on the line"
        );
        assert!(refused(&["putt"]).contains("putt"));
        assert!(refused(&["get"]).contains("<KEY>"));
    }

    #[test]
    fn help_and_version_are_no_errors() {
        assert!(matches!(parse_words(&["--help"]), Err(Refusal::Help(_))));
        assert!(matches!(parse_words(&["--version"]), Err(Refusal::Help(_))));
        assert!(matches!(parse_words(&["shard", "show", "--help"]), Err(Refusal::Help(_))));
        assert!(matches!(parse_words(&["shard"]), Err(Refusal::Nothing(_))));
        assert!(parse_words(&["--timeout", "9s"]).unwrap().command.is_none());
    }

    #[test]
    fn the_file_lies_under_the_flags() {
        let file = "endpoint = [\"a:1\", \"b:2\"]\ntimeout = \"7s\"\n[dev]\nnodes = 5\n[scan]\nreverse = true\n[cas]\nversion = 9\n";
        let cli = parse_under(file, &["dev", "--timeout", "9s"]).unwrap();
        assert_eq!(cli.common.endpoint.len(), 2);
        assert_eq!(cli.common.timeout.to_string(), "9s");
        assert!(matches!(cli.command, Some(Verb::Dev(dev)) if dev.nodes == Some(5)));
        assert!(
            matches!(parse_under(file, &["scan"]).unwrap().command, Some(Verb::Scan(scan)) if scan.reverse)
        );
        assert!(
            matches!(parse_under(file, &["cas", "k", "v"]).unwrap().command, Some(Verb::Cas(cas)) if cas.version == 9)
        );
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let cases = [
            ("endpont = \"a:1\"", "endpont: there is no such setting"),
            ("[dev]\nnodes = 0", "dev.nodes: "),
            ("[dev]\nnodes = \"many\"", "dev.nodes: "),
            ("[deff]\nnodes = 3", "deff: there is no such command"),
            ("[scan]\nreverse = 3", "scan.reverse: expected true or false"),
            ("timeout = 5", "timeout: "),
            ("config = \"x\"", "config: there is no such setting"),
            ("a = ", "kvctl.toml: "),
        ];
        for (file, expected) in cases {
            match parse_under(file, &["status"]) {
                Err(Refusal::Settings(line)) => {
                    assert!(line.contains(expected) && !line.contains('\n'), "{file:?}: {line:?}");
                }
                other => panic!("{file:?} was not refused: {other:?}"),
            }
        }
        assert!(
            refused(&["status", "--config", "/nowhere/kvctl.toml"]).contains("--config /nowhere/kvctl.toml")
        );
    }

    #[test]
    fn every_flag_has_its_variable() {
        let command = with_environment(Cli::command(), "KVCTL");
        let named = |path: &[&str], flag: &str| {
            let at = path.iter().fold(&command, |at, name| at.find_subcommand(name).unwrap());
            let arg = at.get_arguments().find(|arg| arg.get_long() == Some(flag)).unwrap();
            arg.get_env().unwrap().to_str().unwrap().to_string()
        };
        assert_eq!(named(&[], "endpoint"), "KVCTL_ENDPOINT");
        assert_eq!(named(&["dev"], "base-port"), "KVCTL_DEV_BASE_PORT");
        assert_eq!(named(&["shard", "transfer-leader"], "to"), "KVCTL_SHARD_TRANSFER_LEADER_TO");
    }
}
