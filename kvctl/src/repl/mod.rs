//! The interactive mode: the commands of the command line, typed one after the other.
//!
//! A line is read as `kvctl FLAGS LINE`, where FLAGS are what kvctl was started with: the grammar, the settings file and the
//! environment count as on a command line, and a flag in the line beats the one at the start. One session serves all lines
//! that do not name another fleet, so a command costs one request, not a search for the fleet. However a command ends, the
//! next line is asked for: a failure is one line on stderr.
//!
//! Lines are edited on the main thread, outside the runtime: whoever thinks about the next line blocks nothing.
//!
//! Reading order: `line` (words), `assistant` (completion), `history`, and the loop here.

mod assistant;
mod history;
mod line;

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use clap::CommandFactory;
use rustyline::Editor;
use rustyline::error::ReadlineError;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::cli::{Cli, Command, Common, CtrlC, Remember};
use crate::console::Console;
use crate::failure::{Effect, Failure};
use crate::repl::assistant::{AskIds, Assistant, Ids};
use crate::repl::history::{History, LineEditor};
use crate::repl::line::Line;
use crate::session::{Session, Stdin};
use crate::settings::{self, Refusal};
use crate::verbs;

/// How long a press of the Tab key may take: beyond that, it seems broken.
const COMPLETION_PATIENCE: Duration = Duration::from_millis(300);

/// Reads and runs lines until the user leaves. `start` is the command line that kvctl was started with.
///
/// # Errors
/// The terminal cannot be read.
pub fn run(runtime: &Runtime, start: &[OsString], cli: &Cli) -> Result<(), Failure> {
    let broken = |error: ReadlineError| Failure::Internal(format!("cannot read the terminal: {error}"));
    let mut editor: LineEditor = Editor::with_config(history::config()).map_err(broken)?;
    editor.set_helper(Some(Assistant::new(Cli::command(), ask_ids(runtime, &cli.common))));
    let mut history = match cli.history {
        Remember::Off => History::off(),
        Remember::On => History::open(&mut editor).unwrap_or_else(|why| {
            say(&why);
            History::off()
        }),
    };
    let mut desk = Desk::new(runtime, start, &cli.common);
    desk.greet();
    loop {
        match editor.readline(&format!("{}> ", desk.endpoint)) {
            Ok(text) => {
                history.keep(&mut editor, text.trim_end()).unwrap_or_else(|why| say(&why));
                if !desk.line(&text) {
                    return Ok(());
                }
            }
            // Ctrl-C: the line is forgotten.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(broken(error)),
        }
    }
}

/// One line for the user, which is no result.
fn say(text: &str) {
    // A stderr that cannot be written to changes nothing.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Asks the fleet for the ids that a word could be.
fn ask_ids(runtime: &Runtime, common: &Common) -> AskIds {
    let (handle, session) = (runtime.handle().clone(), Session::new(common, Stdin::Commands));
    Box::new(move |kind| {
        let answer = handle.block_on(async { timeout(COMPLETION_PATIENCE, session.admin().map()).await });
        let Ok(Ok(map)) = answer else { return Vec::new() };
        match kind {
            Ids::Nodes => map.nodes.iter().map(|node| node.node).collect(),
            Ids::Shards => map.shards.iter().map(|shard| shard.shard).collect(),
        }
    })
}

/// Where commands are run, one after the other.
struct Desk<'a> {
    runtime: &'a Runtime,
    start: Vec<OsString>,
    common: Common,
    session: Session,
    /// Who answers, as the prompt shows it.
    endpoint: String,
}

impl<'a> Desk<'a> {
    fn new(runtime: &'a Runtime, start: &[OsString], common: &Common) -> Self {
        let mut start = start.to_vec();
        // It would make words of the flags that follow.
        start.retain(|word| word != "--");
        let endpoint = common.endpoint.first().map(ToString::to_string).unwrap_or_default();
        let session = Session::new(common, Stdin::Commands);
        Self { runtime, start, common: common.clone(), session, endpoint }
    }

    /// Looks for the fleet, and says whether it is there and how to go on.
    fn greet(&mut self) {
        let Self { runtime, session, .. } = self;
        let found = runtime.block_on(interruptible(async {
            session.client().await?;
            session.admin().map().await
        }));
        let what = match found {
            Ok(map) => {
                let shards = map.shards.iter().filter(|shard| shard.shard != 0).count();
                format!("kvctl: a fleet answers (nodes: {}, shards: {shards})", map.nodes.len())
            }
            Err(Failure::Interrupted) => "kvctl: did not look for a fleet".to_string(),
            Err(failure) => format!("kvctl: {failure}"),
        };
        say(&format!("{what}\n`help` lists the commands, Ctrl-D leaves"));
        self.remember_endpoint();
    }

    /// Does what a line asks for. False: the user leaves.
    fn line(&mut self, text: &str) -> bool {
        match Line::parse(text) {
            Line::Nothing => {}
            Line::Leave => return false,
            Line::Refused(why) => say(&why),
            Line::Commands => self.print(&line::commands()),
            Line::Words(words) => {
                let words = words.into_iter().map(OsString::from);
                let args: Vec<OsString> = self.start.iter().cloned().chain(words).collect();
                self.parsed(settings::parse(&args));
            }
        }
        true
    }

    fn print(&self, text: &str) {
        let mut console = Console::standard(self.common.output);
        let printed = console.text(text).and_then(|()| console.flush());
        printed.unwrap_or_else(|failure| say(&failure.to_string()));
    }

    fn parsed(&mut self, parsed: Result<Cli, Refusal>) {
        match parsed {
            Ok(Cli { command: Some(command), common, .. }) => self.command(&command, &common),
            Ok(_) => say("no command was given; see `help`"),
            Err(Refusal::Usage(line)) => say(&format!("{line}; see `help`")),
            Err(Refusal::Settings(line)) => say(&line),
            Err(Refusal::Help(help) | Refusal::Nothing(help)) => {
                // Its reader is the terminal that we read from: when it is gone, the next line is not read either.
                let _ = help.print();
            }
        }
    }

    fn command(&mut self, command: &Command, common: &Common) {
        let mut console = Console::standard(common.output);
        let other = (!self.session.suits(common)).then(|| Session::new(common, Stdin::Commands));
        let session = other.as_ref().unwrap_or(&self.session);
        let work = verbs::run(command, common, session, &mut console);
        let ends_itself = command.ctrl_c() == CtrlC::IsHandled;
        let ended = if ends_itself {
            self.runtime.block_on(work)
        } else {
            self.runtime.block_on(interruptible(work))
        };
        let flushed = console.flush();
        match ended.and(flushed) {
            Ok(()) | Err(Failure::ClosedPipe) => {}
            // It has told what became of it.
            Err(Failure::Interrupted) if ends_itself => {}
            Err(Failure::Interrupted) if command.effect() == Effect::Write => {
                say("interrupted: unknown whether executed");
            }
            Err(failure) => {
                say(&failure.to_string());
                // Perhaps the endpoint is gone: the next command looks for a living one.
                if matches!(failure, Failure::Refused(_) | Failure::Unknown(_)) && other.is_none() {
                    self.session = Session::new(&self.common, Stdin::Commands);
                }
            }
        }
        self.remember_endpoint();
    }

    fn remember_endpoint(&mut self) {
        if let Some(endpoint) = self.session.endpoint() {
            self.endpoint = endpoint.to_string();
        }
    }
}

/// Runs it until it ends or Ctrl-C is pressed.
async fn interruptible<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // Made anew each time: it hears only what is pressed from now on.
    let interrupt = signal(SignalKind::interrupt());
    let mut interrupt =
        interrupt.map_err(|error| Failure::Internal(format!("cannot listen for Ctrl-C: {error}")))?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(Failure::Interrupted),
    }
}
