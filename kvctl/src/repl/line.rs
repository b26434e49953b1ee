//! A typed line as words: split as a shell does, with quotes and backslashes, and nothing else of a shell.

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Commands that the interactive mode has besides those of the command line: name, and what it does.
pub const OWN: [(&str, &str); 3] = [
    ("help [COMMAND]", "List the commands, or explain one"),
    ("exit", "Leave; also `quit`, or Ctrl-D"),
    ("Ctrl-C", "Interrupt the running command, or forget the line"),
];

/// Commands that make no sense here, and why.
const ELSEWHERE: [(&str, &str); 3] = [
    ("dev", "it runs a fleet in a terminal of its own: `kvctl dev`"),
    ("demo", "it runs a fleet in a terminal of its own: `kvctl demo`"),
    ("completion", "its output is for a shell: `source <(kvctl completion bash)`; here, press Tab"),
];

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Blank, or a comment.
    Nothing,
    /// To leave.
    Leave,
    /// The list of commands.
    Commands,
    /// Words of a command line, without the program's name.
    Words(Vec<String>),
    /// Nothing that can be done here, and why.
    Refused(String),
}

impl Line {
    /// Reads a line that is [`complete`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let Some(words) = shlex::split(text) else {
            return Self::Refused("a quote is not closed".to_string());
        };
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Self::Nothing,
            ["exit" | "quit"] => Self::Leave,
            ["help"] => Self::Commands,
            ["help", ref command @ ..] => {
                Self::Words(command.iter().copied().chain(["--help"]).map(str::to_string).collect())
            }
            [first, ..] => match ELSEWHERE.iter().find(|(name, _)| *name == first) {
                Some((name, why)) => Self::Refused(format!("{name}: not here: {why}")),
                None => Self::Words(words),
            },
        }
    }
}

/// Whether all quotes are closed; else the next line belongs to it too.
#[must_use]
pub fn complete(text: &str) -> bool {
    shlex::split(text).is_some()
}

/// Whether a command of the command line is one here too.
#[must_use]
pub fn is_here(command: &str) -> bool {
    ELSEWHERE.iter().all(|(name, _)| *name != command)
}

/// What `help` prints: one line for each command.
#[must_use]
pub fn commands() -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for command in Cli::command().get_subcommands().filter(|command| is_here(command.get_name())) {
        list(command, "", &mut rows);
    }
    rows.extend(OWN.map(|(name, about)| (name.to_string(), about.to_string())));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, about)| format!("{name:<width$}  {about}\n")).collect()
}

/// The command, or those below it.
fn list(command: &Command, above: &str, rows: &mut Vec<(String, String)>) {
    let name = format!("{above}{}", command.get_name());
    if command.has_subcommands() {
        command.get_subcommands().for_each(|below| list(below, &format!("{name} "), rows));
    } else {
        rows.push((name, command.get_about().map(ToString::to_string).unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Line {
        Line::Words(words.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn quotes_and_backslashes_are_those_of_a_shell() {
        assert_eq!(Line::parse(r#"put "a b" 'c "d"' e\ f"#), words(&["put", "a b", "c \"d\"", "e f"]));
        assert_eq!(Line::parse("put k ''"), words(&["put", "k", ""]));
        assert_eq!(Line::parse("put k 'two\nlines'"), words(&["put", "k", "two\nlines"]));
        assert_eq!(Line::parse("get k # why"), words(&["get", "k"]));
        assert_eq!([Line::parse("  "), Line::parse("# only this")], [Line::Nothing, Line::Nothing]);
    }

    #[test]
    fn an_open_quote_waits_for_the_next_line() {
        assert!(!complete("put k 'open") && !complete("put k \"open") && !complete("put k \\"));
        assert!(complete("put k 'open\nclosed'") && complete("") && complete("get it\\'s"));
    }

    #[test]
    fn help_and_the_way_out() {
        assert_eq!(Line::parse("help shard show"), words(&["shard", "show", "--help"]));
        assert_eq!([Line::parse(" help "), Line::parse("exit")], [Line::Commands, Line::Leave]);
        assert_eq!(Line::parse("quit"), Line::Leave);
        assert_eq!(Line::parse("exit now"), words(&["exit", "now"]));
    }

    #[test]
    fn what_makes_no_sense_here_is_refused_with_the_reason() {
        let Line::Refused(why) = Line::parse("dev --nodes 5") else { panic!("dev was not refused") };
        assert_eq!(why, "dev: not here: it runs a fleet in a terminal of its own: `kvctl dev`");
        let listed = commands();
        assert!(listed.contains("\nshard list ") && listed.contains("\nhelp [COMMAND]  "), "{listed}");
        assert!(ELSEWHERE.iter().all(|(name, _)| !listed.contains(&format!("\n{name} "))), "{listed}");
    }
}
