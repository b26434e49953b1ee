//! `kvctl scan`: keys and values in order, over all shards, as they come.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use clap::Args;
use flotilla_client::{KeyValue, ScanRange};
use futures_util::StreamExt;
use serde_json::{Map, Value};

use crate::console::Console;
use crate::encoding::{escape, insert};
use crate::failure::{Effect, Failure};
use crate::session::{self, Session};
use crate::verbs::get;

/// Arguments of `kvctl scan`.
#[derive(Debug, Default, Args)]
pub struct ScanArgs {
    /// Only keys that begin so
    #[arg(long, value_name = "P")]
    pub prefix: Option<OsString>,
    /// Only keys from this one on
    #[arg(long, value_name = "A")]
    pub from: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "B")]
    pub to: Option<OsString>,
    /// At most so many records; without it, all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// From the greatest key down
    #[arg(long)]
    pub reverse: bool,
    /// Keys without their values
    #[arg(long)]
    pub keys: bool,
}

/// Prints one record per line: `KEY<TAB>VALUE`, escaped, or one JSON document.
///
/// # Errors
/// The scan broke off; what was printed before is right. Or stdout fails.
pub async fn run(args: &ScanArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let (from, to) = bounds(args.prefix.as_deref(), args.from.as_deref(), args.to.as_deref());
    if to.as_ref().is_some_and(|to| *to <= from) {
        return Ok(());
    }
    let client = session.client().await?;
    let range = ScanRange { from, to, reverse: args.reverse, limit: args.limit };
    let mut records = client.scan(range);
    while let Some(record) = records.next().await {
        let record = record.map_err(|error| session::failure(Effect::Read, &error))?;
        let line = if console.json_wanted() {
            document(&record, args.keys).to_string()
        } else {
            line(&record, args.keys)
        };
        console.line(&line)?;
        if console.is_terminal() {
            console.flush()?;
        }
    }
    Ok(())
}

/// The first key, and the first key beyond the end: what lies in the prefix and between `--from` and `--to`.
pub fn bounds(prefix: Option<&OsStr>, from: Option<&OsStr>, to: Option<&OsStr>) -> (Bytes, Option<Bytes>) {
    let bytes = |text: Option<&OsStr>| text.map(OsStr::as_bytes).map(Bytes::copy_from_slice);
    let prefix = bytes(prefix).unwrap_or_default();
    let from = bytes(from).unwrap_or_default().max(prefix.clone());
    let to = match (bytes(to), successor(&prefix)) {
        (Some(to), Some(end)) => Some(to.min(end)),
        (to, end) => to.or(end),
    };
    (from, to)
}

/// The first key after all keys with this prefix; none when it is empty or all 0xff.
fn successor(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}

fn line(record: &KeyValue, keys_only: bool) -> String {
    let key = escape(&record.key);
    if keys_only { key } else { format!("{key}\t{}", escape(&record.value.bytes)) }
}

fn document(record: &KeyValue, keys_only: bool) -> Value {
    let mut object = Map::new();
    insert(&mut object, "key", &record.key);
    if !keys_only {
        get::record(&mut object, &record.value);
    }
    Value::from(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds_of(prefix: Option<&str>, from: Option<&str>, to: Option<&str>) -> (Bytes, Option<Bytes>) {
        bounds(prefix.map(OsStr::new), from.map(OsStr::new), to.map(OsStr::new))
    }

    #[test]
    fn prefix_from_and_to_narrow_each_other() {
        let end = |text: &'static str| Some(Bytes::from(text));
        assert_eq!(bounds_of(None, None, None), (Bytes::new(), None));
        assert_eq!(bounds_of(Some("ab"), None, None), ("ab".into(), end("ac")));
        assert_eq!(bounds_of(Some("ab"), Some("a"), Some("b")), ("ab".into(), end("ac")));
        assert_eq!(bounds_of(Some("ab"), Some("abx"), Some("aby")), ("abx".into(), end("aby")));
        assert_eq!(bounds_of(None, Some("x"), None), ("x".into(), None));
    }

    #[test]
    fn a_prefix_that_ends_in_the_greatest_byte_carries() {
        assert_eq!(successor(&[b'a', 0xff]), Some(Bytes::from("b")));
        assert_eq!(successor(&[0xff, 0xff]), None);
        assert_eq!(successor(&[]), None);
    }

    #[test]
    fn a_record_is_one_line_whatever_it_holds() {
        let record = KeyValue { key: Bytes::from("k\t1"), value: get::sample(b"a\nb\xff", 4) };
        assert_eq!(line(&record, false), "k\\t1\ta\\nb\\xff");
        assert_eq!(line(&record, true), "k\\t1");
        let document = document(&record, false).to_string();
        let parsed: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(parsed["key"], "k\t1");
        assert_eq!(parsed["value_b64"], "YQpi/w==");
        assert_eq!(parsed["version"], 4);
    }
}
