//! `kvctl cas KEY VALUE --version V`: compare and swap.

use std::ffi::OsString;

use clap::Args;
use flotilla_client::{Swap, Value as Found};
use serde_json::{Map, Value, json};

use crate::argument;
use crate::console::Console;
use crate::duration::Span;
use crate::encoding::escape;
use crate::failure::{Effect, Failure};
use crate::session::{self, Session};
use crate::verbs::get;

/// Arguments of `kvctl cas`.
#[derive(Debug, Args)]
pub struct CasArgs {
    /// The key
    #[arg(value_name = "KEY")]
    pub key: OsString,
    /// The value: any bytes; `-` reads stdin, `@FILE` reads a file
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub value: OsString,
    /// The version that the key must have, as `put` printed it; 0: the key must not exist
    #[arg(long, value_name = "V")]
    pub version: u64,
    /// The key vanishes after this time: 30s, 5m, 1h, 7d; without it, it stays
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Span>,
}

/// Writes the value if the version is right, and prints the new one.
///
/// # Errors
/// The version was another; not written, unknown whether written, or stdout fails.
pub async fn run(args: &CasArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let (key, value) = (argument::key(&args.key)?, argument::value(&args.value, session.stdin())?);
    let client = session.client().await?;
    let ttl = args.ttl.map(Span::duration);
    let swap = client.compare_and_swap_with_ttl(key.clone(), args.version, value, ttl).await;
    let swap = swap.map_err(|error| session::failure(Effect::Write, &error))?;
    print(&key, args.version, &swap, console)
}

fn print(key: &[u8], expected: u64, swap: &Swap, console: &mut Console) -> Result<(), Failure> {
    if console.json_wanted() {
        console.json(&document(swap))?;
    }
    match swap {
        Swap::Conflict(current) => Err(Failure::Negative(conflict(key, expected, current.as_ref()))),
        Swap::Swapped(_) if console.json_wanted() => Ok(()),
        Swap::Swapped(version) => console.line(&format!("version {version}")),
    }
}

/// Why nothing was written.
fn conflict(key: &[u8], expected: u64, current: Option<&Found>) -> String {
    let key = escape(key);
    match (current, expected) {
        (None, _) => format!("not swapped: {key} does not exist"),
        (Some(found), 0) => format!("not swapped: {key} exists, with version {}", found.version),
        (Some(found), _) => format!("not swapped: {key} has version {}, not {expected}", found.version),
    }
}

fn document(swap: &Swap) -> Value {
    match swap {
        Swap::Swapped(version) => json!({ "swapped": true, "version": version }),
        Swap::Conflict(None) => json!({ "swapped": false, "current": null }),
        Swap::Conflict(Some(found)) => {
            let mut current = Map::new();
            get::record(&mut current, found);
            json!({ "swapped": false, "current": current })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_says_what_is_there() {
        let found = get::sample(b"v", 12);
        assert_eq!(conflict(b"k", 11, Some(&found)), "not swapped: k has version 12, not 11");
        assert_eq!(conflict(b"k", 0, Some(&found)), "not swapped: k exists, with version 12");
        assert_eq!(conflict(b"k", 11, None), "not swapped: k does not exist");
    }

    #[test]
    fn documents_say_whether_it_was_swapped() {
        assert_eq!(
            document(&Swap::Swapped(get::sample(b"", 7).version)),
            json!({ "swapped": true, "version": 7 })
        );
        let found = get::sample(b"v", 12);
        let expected =
            json!({ "swapped": false, "current": { "value": "v", "version": 12, "expires_ms": null } });
        assert_eq!(document(&Swap::Conflict(Some(found))), expected);
    }
}
