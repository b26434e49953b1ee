//! `kvctl put KEY VALUE`.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use crate::argument;
use crate::console::Console;
use crate::duration::Span;
use crate::failure::{Effect, Failure};
use crate::session::{self, Session};

/// Arguments of `kvctl put`.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The key: any bytes
    #[arg(value_name = "KEY")]
    pub key: OsString,
    /// The value: any bytes; `-` reads stdin, `@FILE` reads a file
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub value: OsString,
    /// The key vanishes after this time: 30s, 5m, 1h, 7d; without it, it stays
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Span>,
}

/// Writes it and prints the version that it got.
///
/// # Errors
/// Not written, unknown whether written, or stdout fails.
pub async fn run(args: &PutArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let (key, value) = (argument::key(&args.key)?, argument::value(&args.value, session.stdin())?);
    let client = session.client().await?;
    let written = client.put_with_ttl(key, value, args.ttl.map(Span::duration)).await;
    let version = written.map_err(|error| session::failure(Effect::Write, &error))?;
    if console.json_wanted() {
        console.json(&json!({ "version": version }))
    } else {
        console.line(&format!("version {version}"))
    }
}
