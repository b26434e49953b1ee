//! Arguments, environment and file become one configuration.
//!
//! The arguments and the environment are read first. What the file says of a flag that neither of them set is then
//! added to the arguments, and all of it is read again: so the file's values go through the very same checks.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::{Config, ConfigError};

/// What the arguments asked for.
#[derive(Debug)]
pub enum Parsed {
    /// To run.
    Run(Box<Config>),
    /// To print this text (`--help`, `--version`) and end.
    Print(String),
}

/// Reads arguments (the program's name first), environment and file.
///
/// # Errors
/// One line that names what is wrong.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, ConfigError> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    // The file may hold what must be there: nothing is required in the first pass.
    let relaxed = Config::command().mut_args(|arg| arg.required(false));
    let first = match relaxed.try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) if is_text(&error) => return Ok(Parsed::Print(error.render().to_string())),
        Err(error) => return Err(one_line(&error)),
    };
    if let Some(file) = first.get_one::<std::path::PathBuf>("config") {
        args.extend(from_file(file, &first)?);
    }
    let matches = Config::command().try_get_matches_from(&args).map_err(|error| one_line(&error))?;
    let config = Config::from_arg_matches(&matches).map_err(|error| one_line(&error))?;
    config.check()?;
    Ok(Parsed::Run(Box::new(config)))
}

fn is_text(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// The first paragraph of clap's message, in one line.
fn one_line(error: &clap::Error) -> ConfigError {
    let text = error.render().to_string();
    let paragraph = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    let line = paragraph.collect::<Vec<_>>().join(" ");
    ConfigError(line.strip_prefix("error: ").unwrap_or(&line).to_string())
}

/// The arguments that a file adds: its flags that neither the command line nor the environment set.
fn from_file(file: &Path, first: &ArgMatches) -> Result<Vec<OsString>, ConfigError> {
    let place = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| ConfigError(format!("--config: {place} cannot be read: {error}")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        let message = error.message().replace('\n', " ");
        ConfigError(format!("--config: {place}, line {line}: {message}"))
    })?;
    let command = Config::command();
    let mut added = Vec::new();
    for (name, value) in &table {
        let wrong = |what: &str| ConfigError(format!("--config: {place}: {name}: {what}"));
        let Some((id, switch)) = flag(&command, &name.replace('_', "-")) else {
            return Err(wrong("there is no such flag"));
        };
        if matches!(first.value_source(&id), Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            continue;
        }
        let text =
            plain(value).ok_or_else(|| wrong("expected text, a number, true or false, or a list of them"))?;
        match (switch, text.as_str()) {
            (true, "true") => added.push(format!("--{}", name.replace('_', "-")).into()),
            (true, "false") => {}
            (true, _) => return Err(wrong("expected true or false")),
            (false, _) => added.push(format!("--{}={text}", name.replace('_', "-")).into()),
        }
    }
    Ok(added)
}

/// The id of the flag with this name, and whether it is a switch without a value.
fn flag(command: &Command, name: &str) -> Option<(String, bool)> {
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name) && name != "config")?;
    Some((arg.get_id().to_string(), matches!(arg.get_action(), ArgAction::SetTrue)))
}

/// A TOML value as the text of an argument.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => Some(items.iter().map(plain).collect::<Option<Vec<_>>>()?.join(",")),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
