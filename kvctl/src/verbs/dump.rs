//! `kvctl dump`: all records in the order of their keys, as lines that `kvctl load` reads.
//!
//! It is a scan: each page of each shard shows one moment, the pages show different ones. Of what is written meanwhile some is in it
//! and some is not; what is not written meanwhile is in it exactly. A record that expires before its page is read is not in it;
//! others carry their expiry, in shard time (ms since the Unix epoch).
//!
//! What it does not do: show one moment of the whole fleet. That is what a backup is for.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stdout};
use std::os::unix::ffi::OsStrExt;
use std::pin::pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use flotilla_client::ScanRange;
use futures_util::StreamExt;

use crate::console::Console;
use crate::failure::{Effect, Failure};
use crate::progress::{Done, Progress};
use crate::record;
use crate::session::{self, Session};
use crate::verbs::scan;

/// A look at the clock for every record would cost more than the record.
const RECORDS_BETWEEN_LOOKS: u64 = 256;

/// Arguments of `kvctl dump`.
#[derive(Debug, Default, Args)]
pub struct DumpArgs {
    /// Only keys that begin so
    #[arg(long, value_name = "P")]
    pub prefix: Option<OsString>,
    /// Only keys from this one on
    #[arg(long, value_name = "A")]
    pub from: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "B")]
    pub to: Option<OsString>,
    /// Only keys after this one: goes on with a dump whose last record was this
    #[arg(long, value_name = "KEY")]
    pub after: Option<OsString>,
    /// As --after, in base64: for keys that are no UTF-8
    #[arg(long, value_name = "BASE64", conflicts_with = "after")]
    pub after_b64: Option<String>,
}

/// Prints one JSON document per line.
///
/// # Errors
/// The scan broke off or was interrupted: what was printed before is right, and the flag that goes on is named. Or stdout fails.
pub async fn run(args: &DumpArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let range = range(args)?;
    if range.is_empty() {
        return Ok(());
    }
    let client = session.client().await?;
    let mut progress = if stdout().is_terminal() { Progress::silent() } else { Progress::new("dump", None) };
    let (mut interrupted, mut done, mut last) = (pin!(tokio::signal::ctrl_c()), Done::default(), None);
    let (mut records, mut line) = (client.scan(range), Vec::new());
    let ended = loop {
        let record = tokio::select! {
            biased;
            _ = &mut interrupted => break Err(Failure::Interrupted),
            record = records.next() => record,
        };
        let record = match record {
            None => break Ok(()),
            Some(Err(error)) => break Err(session::failure(Effect::Read, &error)),
            Some(Ok(record)) => record,
        };
        line.clear();
        record::print(&record, &mut line);
        console.bytes(&line)?;
        if console.is_terminal() {
            console.flush()?;
        }
        done = Done { records: done.records + 1, bytes: done.bytes + line.len() as u64 };
        last = Some(record.key);
        if done.records.is_multiple_of(RECORDS_BETWEEN_LOOKS) {
            progress.draw(done);
        }
    };
    progress.clear();
    console.flush()?;
    ended.map_err(|failure| unfinished(failure, last.as_ref(), console))
}

fn range(args: &DumpArgs) -> Result<ScanRange, Failure> {
    let (from, to) = scan::bounds(args.prefix.as_deref(), args.from.as_deref(), args.to.as_deref());
    let after = match (&args.after, &args.after_b64) {
        (Some(key), _) => Some(OsStr::as_bytes(key).to_vec()),
        (None, Some(b64)) => {
            let wrong = |error| Failure::Usage(format!("--after-b64: no base64: {error}"));
            Some(STANDARD.decode(b64).map_err(wrong)?)
        }
        (None, None) => None,
    };
    let after = after.map(|mut key| {
        // The next key in order.
        key.push(0);
        Bytes::from(key)
    });
    Ok(ScanRange { from: after.unwrap_or_default().max(from), to, ..ScanRange::default() })
}

/// How it ended, with the flag that goes on from there.
fn unfinished(failure: Failure, last: Option<&Bytes>, console: &mut Console) -> Failure {
    let way_on = last.map_or("nothing was printed".to_string(), |key| format!("{} goes on", after(key)));
    match failure {
        Failure::Refused(why) => Failure::Refused(format!("{why}; {way_on}")),
        Failure::Interrupted => {
            console.note(&format!("kvctl: interrupted; {way_on}"));
            Failure::Interrupted
        }
        other => other,
    }
}

/// The flag that names a key, as a shell takes it.
fn after(key: &[u8]) -> String {
    let text = std::str::from_utf8(key).ok().filter(|text| !text.chars().any(char::is_control));
    match text.and_then(|text| shlex::try_quote(text).ok()) {
        // With `=`, so that a key may begin with a dash.
        Some(quoted) => format!("--after={quoted}"),
        None => format!("--after-b64={}", STANDARD.encode(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range_of(from: Option<&str>, after: Option<&str>, after_b64: Option<&str>) -> Bytes {
        let args = DumpArgs {
            from: from.map(OsString::from),
            after: after.map(OsString::from),
            after_b64: after_b64.map(str::to_string),
            ..DumpArgs::default()
        };
        range(&args).unwrap().from
    }

    #[test]
    fn it_goes_on_right_after_a_key() {
        assert_eq!(range_of(None, Some("k"), None), "k\0");
        assert_eq!(range_of(None, None, Some("/wA=")), &b"\xff\0\0"[..]);
        assert_eq!(range_of(Some("l"), Some("k"), None), "l");
        let args = DumpArgs { after_b64: Some("?".to_string()), ..DumpArgs::default() };
        assert_eq!(range(&args).unwrap_err().code(), 2);
    }

    #[test]
    fn the_way_on_is_a_flag_that_a_shell_takes() {
        assert_eq!(after(b"ship:1"), "--after=ship:1");
        assert_eq!(after("it's ü".as_bytes()), "--after=\"it's ü\"");
        assert_eq!(after(b"a\nb"), "--after-b64=YQpi");
        assert_eq!(after(b"\xff"), "--after-b64=/w==");
    }
}
