//! Arguments, environment and file become one configuration.
//!
//! The arguments and the environment are read first. What the file says of a flag that neither of them set is then
//! added to the arguments, and all of it is read again: so the file's values go through the very same checks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command};

use super::{ConfigError, Settings};

/// What the arguments asked for.
#[derive(Debug)]
pub enum Parsed<S> {
    /// To run.
    Run(Box<S>),
    /// To print this text (`--help`, `--version`) and end.
    Print(String),
}

/// Reads arguments (the program's name first), environment and file.
///
/// # Errors
/// One line that names what is wrong.
pub fn parse<S: Settings>(args: impl IntoIterator<Item = OsString>) -> Result<Parsed<S>, ConfigError> {
    parse_layers(args).map_err(|ConfigError(line)| ConfigError(printable(&line)))
}

fn parse_layers<S: Settings>(args: impl IntoIterator<Item = OsString>) -> Result<Parsed<S>, ConfigError> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    // The file may hold what must be there: nothing is required in the first pass.
    let relaxed = command::<S>().mut_args(|arg| arg.required(false));
    let first = match relaxed.try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) if is_text(&error) => return Ok(Parsed::Print(error.render().to_string())),
        Err(error) => return Err(one_line(&error)),
    };
    if let Some(file) = first.get_one::<PathBuf>("config") {
        args.extend(from_file(file, &first, &command::<S>())?);
    }
    let matches = command::<S>().try_get_matches_from(&args).map_err(|error| one_line(&error))?;
    let settings = S::from_arg_matches(&matches).map_err(|error| one_line(&error))?;
    settings.check()?;
    Ok(Parsed::Run(Box::new(settings)))
}

/// The program's flags, each with its name in the environment.
fn command<S: Settings>() -> Command {
    S::command().mut_args(|arg| match arg.get_long() {
        Some(long) => {
            let name = format!("{}{}", S::ENVIRONMENT, long.replace('-', "_").to_uppercase());
            arg.env(name)
        }
        None => arg,
    })
}

fn is_text(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// What follows clap's message: advice that we do not give.
const ADVICE: [&str; 3] = ["\n\n  tip: ", "\n\nUsage: ", "\n\nFor more information"];

/// A wrong command line, in one line: what [`parse`] says of it, for commands beside the flags of a server.
#[must_use]
pub fn refusal(error: &clap::Error) -> ConfigError {
    ConfigError(printable(&one_line(error).0))
}

/// Clap's message without its advice, in one line. It is not cut at the first empty line: that may stand in a value, and what
/// names the flag stands behind it.
fn one_line(error: &clap::Error) -> ConfigError {
    let text = error.render().to_string();
    let end = ADVICE.iter().filter_map(|advice| text.find(advice)).min().unwrap_or(text.len());
    let lines = text[..end].lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    ConfigError(line.strip_prefix("error: ").unwrap_or(&line).to_string())
}

/// A line that stays one, and that moves no cursor, whatever a name or a value holds.
fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for letter in line.chars() {
        if letter.is_control() { out.extend(letter.escape_default()) } else { out.push(letter) }
    }
    out
}

/// The arguments that a file adds: its flags that neither the command line nor the environment set.
fn from_file(file: &Path, first: &ArgMatches, command: &Command) -> Result<Vec<OsString>, ConfigError> {
    let place = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| ConfigError(format!("--config: {place} cannot be read: {error}")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        let message = error.message().replace('\n', " ");
        ConfigError(format!("--config: {place}, line {line}: {message}"))
    })?;
    let mut added = Vec::new();
    for (name, value) in &table {
        let wrong = |what: &str| ConfigError(format!("--config: {place}: {name}: {what}"));
        let long = name.replace('_', "-");
        let named = command.get_arguments().find(|arg| arg.get_long() == Some(&long) && long != "config");
        let arg = named.ok_or_else(|| wrong("there is no such flag"))?;
        let source = first.value_source(arg.get_id().as_str());
        if matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            continue;
        }
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        match (is_switch, value) {
            (true, toml::Value::Boolean(true)) => added.push(format!("--{long}").into()),
            (true, toml::Value::Boolean(false)) => {}
            (true, _) => return Err(wrong("expected true or false")),
            (false, value) => {
                let text = plain(value).ok_or_else(|| wrong("expected text, a number, or a list of them"))?;
                added.push(format!("--{long}={text}").into());
            }
        }
    }
    Ok(added)
}

/// A TOML value as the text of an argument.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(items) => Some(items.iter().map(plain).collect::<Option<Vec<_>>>()?.join(",")),
        _ => None,
    }
}
