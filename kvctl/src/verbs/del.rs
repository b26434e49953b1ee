//! `kvctl del KEY`.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use crate::argument;
use crate::console::Console;
use crate::failure::{Effect, Failure};
use crate::session::{self, Session};

/// Arguments of `kvctl del`.
#[derive(Debug, Args)]
pub struct DelArgs {
    /// The key
    #[arg(value_name = "KEY")]
    pub key: OsString,
}

/// Deletes it and prints whether it was there.
///
/// # Errors
/// Not deleted, unknown whether deleted, or stdout fails.
pub async fn run(args: &DelArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let key = argument::key(&args.key)?;
    let client = session.client().await?;
    let existed = client.delete(key).await.map_err(|error| session::failure(Effect::Write, &error))?;
    if console.json_wanted() {
        console.json(&json!({ "existed": existed }))
    } else {
        console.line(if existed { "deleted" } else { "there was no such key" })
    }
}
