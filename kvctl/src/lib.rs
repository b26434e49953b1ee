//! `kvctl`: the tool in the hand of users and operators, and a whole local fleet in one binary.
//!
//! Reading order: [`cli`] (every command), `settings` (flag over environment over file), [`verbs`] (one file per command),
//! [`admin`] and [`view`] (what an operator sees), [`local`] (a fleet of real processes on this machine) and `demo` (the
//! failover measured and proved), `repl` (commands typed one after the other). `record` is a line of `load` and `dump`, `progress` what a long work shows. [`session`] is the way to a fleet. [`console`] and [`failure`] keep the promises to scripts: stdout carries only the
//! result, and the exit code says what happened.
//!
//! Why one binary for the fleet too: `kvctl dev` must need nothing but itself. It runs itself again as `kvctl kvnode …`,
//! which is `kvnode`, and as `kvctl kvrouter …`.
//!
//! What it does not do yet: change the ring, watch, back up.
//! A router does not answer for nodes: what an operator asks goes straight to the nodes that the map names.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::cli::{Command, Common, CtrlC};
use crate::console::Console;
use crate::failure::Failure;
use crate::local::interrupt::Interrupts;
use crate::session::{Session, Stdin};
use crate::settings::Refusal;

pub mod admin;
mod argument;
pub mod cli;
pub mod console;
pub mod credentials;
mod demo;
pub mod duration;
mod encoding;
pub mod endpoint;
pub mod failure;
pub mod local;
mod progress;
mod record;
mod repl;
pub mod session;
mod settings;
pub mod verbs;
pub mod view;

/// The whole program: the first argument is its name.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Before anything else: the flags that follow are those of the other program. The user sees it as `kvctl kvnode`.
    match args.get(1).and_then(|verb| verb.to_str()) {
        Some("kvnode") => return local::lifeline::run(&args[1..], flotilla_node::main_with),
        Some("kvrouter") => return local::lifeline::run(&args[1..], flotilla_router::main_with),
        _ => {}
    }
    let cli = match settings::parse(&args) {
        Ok(cli) => cli,
        Err(refusal) => return refuse(&refusal),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(&Failure::Internal(format!("cannot start threads: {error}"))),
    };
    let done = match &cli.command {
        Some(command) => once(&runtime, command, &cli.common),
        None if io::stdin().is_terminal() && io::stdout().is_terminal() => repl::run(&runtime, &args, &cli),
        None => Err(Failure::Usage(
            "no command was given, and there is no terminal to read commands from; see `kvctl --help`"
                .to_string(),
        )),
    };
    // A lookup of a host name may hang in a thread of its own: the answer is out, nobody waits for that.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(&failure),
    }
}

/// Runs the one command of a command line.
fn once(runtime: &Runtime, command: &Command, common: &Common) -> Result<(), Failure> {
    let mut console = Console::standard(common.output);
    let done = runtime.block_on(run(command, common, &mut console));
    // What was written before a failure belongs to the result (a scan that broke off).
    let flushed = console.flush();
    done.and(flushed)
}

async fn run(command: &Command, common: &Common, console: &mut Console) -> Result<(), Failure> {
    let times = match command.ctrl_c() {
        CtrlC::Ends => 1,
        CtrlC::EndsAtTheSecond => 2,
        CtrlC::IsHandled => 0,
    };
    if times > 0 {
        let mut interrupts = Interrupts::listen_to_ctrl_c()?;
        tokio::spawn(async move {
            for _ in 0..times {
                interrupts.next().await;
            }
            // At once: the command may be blocked in a write to a pipe that nobody reads.
            std::process::exit(i32::from(Failure::Interrupted.code()));
        });
    }
    let session = Session::new(common, Stdin::Value);
    verbs::run(command, common, &session, console).await
}

/// There is no command to run: help, or a complaint.
fn refuse(refusal: &Refusal) -> ExitCode {
    match refusal {
        // A closed pipe (`kvctl --help | head`) is no error.
        Refusal::Help(help) => {
            let _ = help.print();
            ExitCode::SUCCESS
        }
        Refusal::Nothing(help) => {
            let _ = help.print();
            ExitCode::from(2)
        }
        Refusal::Usage(line) => end(&Failure::Usage(format!("{line}; see `kvctl --help`"))),
        Refusal::Settings(line) => end(&Failure::Usage(line.clone())),
    }
}

/// The last word, on stderr, and the exit code.
fn end(failure: &Failure) -> ExitCode {
    if !failure.is_silent() {
        use io::Write;
        let _ = writeln!(io::stderr(), "kvctl: {failure}");
    }
    ExitCode::from(failure.code())
}
