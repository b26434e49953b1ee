//! What the editor of lines asks while somebody types: how a word may go on, and whether the line goes on.
//!
//! Commands and flags come from clap's own description, so that none can be forgotten. Ids come from the map of the fleet at
//! the moment of the key press, if it answers at once. Keys are not completed: that would scan the store.

use clap::{Arg, ArgAction, Command, ValueHint};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use crate::repl::line;

/// Ids that a word can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Of the fleet's nodes.
    Nodes,
    /// Of its shards.
    Shards,
}

/// Asks the fleet for ids; nothing when it does not answer at once.
pub type AskIds = Box<dyn Fn(Ids) -> Vec<u64>>;

/// How a word may go on.
#[derive(Debug, PartialEq, Eq)]
enum Going {
    /// One of these.
    Words(Vec<String>),
    /// An id of the fleet.
    Ids(Ids),
    /// A file's name.
    Files,
}

/// Helps whoever types.
pub struct Assistant {
    command: Command,
    files: FilenameCompleter,
    ids: AskIds,
}

impl Assistant {
    /// Completes lines of this command.
    #[must_use]
    pub fn new(mut command: Command, ids: AskIds) -> Self {
        // Makes shared flags known to all commands, as parsing does.
        command.build();
        Self { command, files: FilenameCompleter::new(), ids }
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        text: &str,
        position: usize,
        _: &Context<'_>,
    ) -> Result<(usize, Vec<Pair>), ReadlineError> {
        let typed = &text[..position];
        let start = typed.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        // Inside quotes there is a value, which nobody can guess.
        let Some(before) = shlex::split(&typed[..start]) else { return Ok((position, Vec::new())) };
        let word = &typed[start..];
        let words = match going(&self.command, &before, word) {
            Going::Words(words) => words,
            Going::Ids(kind) => (self.ids)(kind).iter().map(ToString::to_string).collect(),
            Going::Files => return self.files.complete_path(text, position),
        };
        let fitting = words.into_iter().filter(|candidate| candidate.starts_with(word));
        // One that is complete is done with: a blank lets the next one begin.
        let pair = |display: String| Pair { replacement: format!("{display} "), display };
        Ok((start, fitting.map(pair).collect()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult, ReadlineError> {
        let complete = line::complete(context.input());
        Ok(if complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Helper for Assistant {}

/// How the word after these words may go on.
fn going(top: &Command, before: &[String], word: &str) -> Going {
    if let Some(("help", before)) = before.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        let at = before.iter().try_fold(top, |at, word| at.find_subcommand(word));
        return Going::Words(at.map(names).unwrap_or_default());
    }
    let (mut at, mut positionals, mut flag) = (top, 0, None);
    for word in before {
        if flag.take().is_some() {
            continue;
        }
        if let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) {
            flag = flag_named(at, name);
        } else if let Some(below) = at.find_subcommand(word) {
            at = below;
        } else {
            positionals += 1;
        }
    }
    if let Some(flag) = flag {
        return values(flag, word);
    }
    if word.starts_with('-') {
        return Going::Words(at.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(long).collect());
    }
    if at.has_subcommands() {
        let own = ["help", "exit", "quit"].map(str::to_string);
        let own = own.into_iter().filter(|_| positionals == 0 && std::ptr::eq(at, top));
        return Going::Words(names(at).into_iter().chain(own).collect());
    }
    at.get_positionals().nth(positionals).map_or(Going::Words(Vec::new()), |arg| values(arg, word))
}

/// Names of the commands below this one. Not `help`, which every group has, and which stands before a command here.
fn names(at: &Command) -> Vec<String> {
    let names = at.get_subcommands().map(Command::get_name);
    names.filter(|name| *name != "help" && line::is_here(name)).map(str::to_string).collect()
}

fn long(arg: &Arg) -> Option<String> {
    arg.get_long().map(|long| format!("--{long}"))
}

/// The flag of this name, without its first dash, if the next word is its value.
fn flag_named<'a>(at: &'a Command, name: &str) -> Option<&'a Arg> {
    let named = |arg: &&Arg| match name.strip_prefix('-') {
        Some(name) => arg.get_long() == Some(name),
        None => arg.get_short().is_some_and(|short| name.chars().eq([short])),
    };
    let takes_value = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    at.get_arguments().find(named).filter(takes_value)
}

/// What an argument may be.
fn values(arg: &Arg, word: &str) -> Going {
    let name = arg.get_value_names().and_then(|names| names.first()).map(AsRef::as_ref);
    match name {
        _ if matches!(arg.get_value_hint(), ValueHint::FilePath) => Going::Files,
        Some("VALUE") if word.starts_with('@') => Going::Files,
        Some("ID") => Going::Ids(Ids::Shards),
        Some("NODE") => Going::Ids(Ids::Nodes),
        _ => {
            let values = arg.get_possible_values();
            Going::Words(values.iter().map(|value| value.get_name().to_string()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;
    use rustyline::history::MemHistory;

    fn assistant() -> Assistant {
        let ids = |kind| match kind {
            Ids::Nodes => vec![1, 2, 10],
            Ids::Shards => vec![0, 1, 7],
        };
        Assistant::new(Cli::command(), Box::new(ids))
    }

    fn completed(text: &str) -> Vec<String> {
        let history = MemHistory::new();
        let (start, pairs) = assistant().complete(text, text.len(), &Context::new(&history)).unwrap();
        pairs.into_iter().map(|pair| format!("{}{}", &text[..start], pair.replacement)).collect()
    }

    #[test]
    fn commands_and_those_below_them() {
        assert_eq!(completed("pu"), ["put "]);
        assert_eq!(completed("sh"), ["shard "]);
        assert_eq!(
            completed("shard "),
            ["shard list ", "shard show ", "shard move ", "shard transfer-leader ", "shard rebalance "]
        );
        assert_eq!(completed("e"), ["exit "]);
        assert_eq!(completed("de"), ["del "], "dev and demo are not here");
        assert_eq!(completed("help sh"), ["help shard "]);
        assert_eq!(completed("help shard s"), ["help shard show "]);
    }

    #[test]
    fn flags_their_values_and_shared_ones() {
        assert_eq!(
            completed("put k v --t"),
            [
                "put k v --ttl ",
                "put k v --timeout ",
                "put k v --tls-cert ",
                "put k v --tls-key ",
                "put k v --tls-ca "
            ]
        );
        assert_eq!(completed("scan --rev"), ["scan --reverse "]);
        assert_eq!(completed("scan --output j"), ["scan --output json "]);
        assert_eq!(completed("scan -o j"), ["scan -o json "]);
        assert!(completed("scan --limit ").is_empty());
        assert_eq!(completed("scan --limit 5 --pre"), ["scan --limit 5 --prefix "]);
    }

    #[test]
    fn ids_are_those_of_the_fleet() {
        assert_eq!(completed("shard show "), ["shard show 0 ", "shard show 1 ", "shard show 7 "]);
        let to = "shard transfer-leader 7 --to 1";
        assert_eq!(completed(to), [format!("{to} "), format!("{to}0 ")]);
        assert_eq!(completed("shard transfer-leader --to 1 7"), ["shard transfer-leader --to 1 7 "]);
    }

    #[test]
    fn files_where_files_are_meant_and_nothing_where_nobody_can_guess() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("letter"), "").unwrap();
        let at = format!("put k @{}/let", folder.path().display());
        assert_eq!(completed(&at), [format!("{at}ter")]);
        assert!(completed("put k ").is_empty() && completed("get ").is_empty());
        assert!(completed("put 'a b").is_empty() && completed("get k extra ").is_empty());
    }
}
