//! An operator at work: `kvctl` as a process, and what it said if it failed.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::fleet::Fleet;

/// How long anything may take before the measurement has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at what the fleet does by itself.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// `kvctl` exits so when it was refused, and surely did nothing.
const REFUSED: i32 = 3;

/// Gives orders to a fleet.
#[derive(Debug)]
pub(super) struct Operator {
    program: PathBuf,
    endpoints: String,
}

/// A move that goes on.
#[derive(Debug)]
pub(super) struct Moving(Child);

impl Operator {
    pub(super) fn of(fleet: &Fleet) -> Result<Self, String> {
        Ok(Self { program: fleet.program()?, endpoints: fleet.nodes().join(",") })
    }

    /// All shards, as the contract has them.
    pub(super) async fn shards(&self) -> Result<Value, String> {
        self.json(&["shard", "list"]).await
    }

    /// What a move would carry.
    pub(super) async fn bytes_of(&self, shard: u64, from: u64, to: u64) -> Result<u64, String> {
        let [shard, from, to] = [shard, from, to].map(|number| number.to_string());
        let plan = self.json(&["shard", "move", &shard, "--from", &from, "--to", &to, "--dry-run"]).await?;
        plan["bytes"].as_u64().ok_or_else(|| format!("a plan without bytes: {plan}"))
    }

    /// Moves a replica, and waits for it.
    pub(super) async fn move_replica(&self, shard: u64, from: u64, to: u64) -> Result<(), String> {
        self.begin_to_move(shard, from, to)?.end().await
    }

    pub(super) fn begin_to_move(&self, shard: u64, from: u64, to: u64) -> Result<Moving, String> {
        let [shard, from, to] = [shard, from, to].map(|number| number.to_string());
        let mut command = self.command(&["shard", "move", &shard, "--from", &from, "--to", &to]);
        command.spawn().map(Moving).map_err(|error| self.broken(&error))
    }

    /// Waits until the shard moves.
    pub(super) async fn until_under_way(&self, shard: u64) -> Result<(), String> {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            let moves = self.json(&["move", "list"]).await?;
            if moves["moves"].as_array().is_some_and(|all| all.iter().any(|it| it["shard"] == shard)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(format!("shard {shard} does not begin to move"))
    }

    pub(super) async fn drain(&self, node: u64) -> Result<(), String> {
        self.done(&["node", "drain", &node.to_string()]).await.map(drop)
    }

    /// Replaces a dead node. It is refused as long as its death was not noticed.
    pub(super) async fn replace(&self, node: u64) -> Result<(), String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let output = self.output(&["node", "remove", &node.to_string(), "--force"]).await?;
            match output.status.code() {
                Some(0) => return Ok(()),
                Some(REFUSED) if Instant::now() < give_up => tokio::time::sleep(LOOK_PAUSE).await,
                _ => return Err(words("node remove", &output)),
            }
        }
    }

    async fn json(&self, args: &[&str]) -> Result<Value, String> {
        let output = self.done(&[args, &["--output", "json"]].concat()).await?;
        serde_json::from_slice(&output.stdout).map_err(|error| format!("kvctl {}: {error}", args.join(" ")))
    }

    async fn done(&self, args: &[&str]) -> Result<Output, String> {
        let output = self.output(args).await?;
        if output.status.success() { Ok(output) } else { Err(words(&args.join(" "), &output)) }
    }

    async fn output(&self, args: &[&str]) -> Result<Output, String> {
        self.command(args).output().await.map_err(|error| self.broken(&error))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).args(["--endpoint", &self.endpoints, "--yes", "--timeout", "10s"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn broken(&self, error: &std::io::Error) -> String {
        format!("{}: {error}", self.program.display())
    }
}

impl Moving {
    /// Waits for its end.
    pub(super) async fn end(self) -> Result<(), String> {
        let output = self.0.wait_with_output().await.map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(words("shard move", &output)) }
    }
}

fn words(what: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    format!("kvctl {what} ended ({}): {line}", output.status)
}
