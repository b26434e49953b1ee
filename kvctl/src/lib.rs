//! `kvctl`: the tool in the hand of users and operators, and a whole local fleet in one binary.
//!
//! Reading order: [`cli`] (every command), `settings` (flag over environment over file), [`verbs`] (one file per command),
//! [`admin`] and [`view`] (what an operator sees), [`local`] (a fleet of real processes on this machine) and `demo` (the
//! failover measured and proved). [`console`] and [`failure`] keep the promises to scripts: stdout carries only the
//! result, and the exit code says what happened.
//!
//! Why one binary for the fleet too: `kvctl dev` must need nothing but itself. It runs itself again as `kvctl kvnode …`,
//! which is `kvnode`, and as `kvctl kvrouter …`.
//!
//! What it does not do yet: move shards, change the ring, load, dump, watch, back up; and there is no interactive mode.
//! A router does not answer for nodes: what an operator asks goes straight to the nodes that the map names.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::{Cli, Command, NodeCommand, ShardCommand};
use crate::console::Console;
use crate::failure::Failure;
use crate::settings::Refusal;

pub mod admin;
mod argument;
pub mod cli;
pub mod console;
mod demo;
pub mod duration;
mod encoding;
pub mod endpoint;
pub mod failure;
pub mod local;
mod session;
mod settings;
mod table;
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
    let mut console = Console::standard(cli.common.output);
    let done = runtime.block_on(run(cli, &mut console)).and_then(|()| console.flush());
    // A lookup of a host name may hang in a thread of its own: the answer is out, nobody waits for that.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was written before the failure belongs to the result (a scan that broke off).
            let _ = console.flush();
            end(&failure)
        }
    }
}

/// Runs one command.
async fn run(cli: Cli, console: &mut Console) -> Result<(), Failure> {
    let common = &cli.common;
    match &cli.command {
        // These end their children before they end.
        Command::Dev(args) => return verbs::dev::run(args, common, console).await,
        Command::Demo(args) => return verbs::demo::run(args, common, console).await,
        _ => {}
    }
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            // At once: the command may be blocked in a write to a pipe that nobody reads.
            std::process::exit(i32::from(Failure::Interrupted.code()));
        }
    });
    let admin = &admin::Admin::new(common);
    match &cli.command {
        Command::Dev(_) | Command::Demo(_) => unreachable!("handled above"),
        Command::Put(args) => verbs::put::run(args, common, console).await,
        Command::Get(args) => verbs::get::run(args, common, console).await,
        Command::Del(args) => verbs::del::run(args, common, console).await,
        Command::Cas(args) => verbs::cas::run(args, common, console).await,
        Command::Scan(args) => verbs::scan::run(args, common, console).await,
        Command::Route(args) => verbs::route::run(args, admin, console).await,
        Command::Status(args) => verbs::status::run(args, admin, console).await,
        Command::Shard(ShardCommand::List(args)) => verbs::shard_list::run(args, admin, console).await,
        Command::Shard(ShardCommand::Show(args)) => verbs::shard_show::run(args, admin, console).await,
        Command::Shard(ShardCommand::TransferLeader(args)) => {
            verbs::shard_transfer_leader::run(args, admin, console).await
        }
        Command::Node(NodeCommand::List(args)) => verbs::node_list::run(args, admin, console).await,
        Command::Completion(args) => verbs::completion::run(args, console),
    }
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
        Refusal::Usage(line) => end(&Failure::Usage(line.clone())),
    }
}

/// The last word, on stderr, and the exit code.
fn end(failure: &Failure) -> ExitCode {
    if !failure.is_silent() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "kvctl: {failure}");
    }
    ExitCode::from(failure.code())
}
