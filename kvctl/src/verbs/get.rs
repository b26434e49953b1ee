//! `kvctl get KEY`: the exact bytes of a value.

use std::ffi::OsString;

use clap::Args;
use flotilla_client::{Stale, Value as Found};
use serde_json::{Map, Value, json};

use crate::argument;
use crate::console::Console;
use crate::encoding::{escape, insert};
use crate::failure::{Effect, Failure};
use crate::session::{self, Session};

/// Arguments of `kvctl get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The key
    #[arg(value_name = "KEY")]
    pub key: OsString,
    /// Take the answer of any replica, which may be behind: also while the shard has no leader (--output json says how far)
    #[arg(long)]
    pub stale: bool,
}

/// Reads it and prints it.
///
/// # Errors
/// There is no such key, no answer, or stdout fails.
pub async fn run(args: &GetArgs, session: &Session, console: &mut Console) -> Result<(), Failure> {
    let key = argument::key(&args.key)?;
    let client = session.client().await?;
    let failure = |error| session::failure(Effect::Read, &error);
    if !args.stale {
        let found = client.get(key.clone()).await.map_err(failure)?;
        return print(&key, found.as_ref(), None, console);
    }
    let stale = client.get_stale(key.clone()).await.map_err(failure)?;
    print(&key, stale.value.as_ref(), Some(&stale), console)
}

/// The exact bytes; on a terminal a newline follows, so that the prompt stands on a line of its own.
fn print(
    key: &[u8],
    found: Option<&Found>,
    stale: Option<&Stale>,
    console: &mut Console,
) -> Result<(), Failure> {
    if console.json_wanted() {
        console.json(&document(key, found, stale))?;
    }
    match found {
        None => Err(Failure::Negative(format!("no such key: {}", escape(key)))),
        Some(_) if console.json_wanted() => Ok(()),
        Some(found) => {
            console.bytes(&found.bytes)?;
            if console.is_terminal() { console.text("\n") } else { Ok(()) }
        }
    }
}

/// A stale answer says how far it may be behind.
fn document(key: &[u8], found: Option<&Found>, stale: Option<&Stale>) -> Value {
    let mut object = Map::new();
    insert(&mut object, "key", key);
    object.insert("found".to_string(), json!(found.is_some()));
    if let Some(found) = found {
        record(&mut object, found);
    }
    if let Some(stale) = stale {
        object.insert("lag_entries".to_string(), json!(stale.lag_entries));
        object.insert("silence_ms".to_string(), json!(stale.silence.as_millis()));
    }
    Value::from(object)
}

/// Adds value, version and expiry, as every verb shows them.
pub fn record(object: &mut Map<String, Value>, found: &Found) {
    insert(object, "value", &found.bytes);
    object.insert("version".to_string(), json!(found.version));
    object.insert("expires_ms".to_string(), json!(found.expires));
}

/// A value for tests.
#[cfg(test)]
pub fn sample(bytes: &'static [u8], version: u64) -> Found {
    Found { bytes: bytes.into(), version, expires: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Format;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn printed(format: Format, terminal: bool, found: Option<Found>) -> (Vec<u8>, Result<(), Failure>) {
        let out = Captured::default();
        let mut console = Console::new(format, terminal, Box::new(out.clone()), Box::new(std::io::sink()));
        let ended = print(b"k", found.as_ref(), None, &mut console);
        let bytes = out.0.lock().unwrap().clone();
        (bytes, ended)
    }

    #[test]
    fn the_exact_bytes_and_a_newline_only_on_a_terminal() {
        let value = || Some(sample(b"\x00\xffx", 3));
        assert_eq!(printed(Format::Table, false, value()), (b"\x00\xffx".to_vec(), Ok(())));
        assert_eq!(printed(Format::Table, true, value()), (b"\x00\xffx\n".to_vec(), Ok(())));
    }

    #[test]
    fn json_is_one_document_with_what_is_known() {
        let (bytes, ended) = printed(Format::Json, true, Some(sample(b"v", 3)));
        let expected = "{\"key\":\"k\",\"found\":true,\"value\":\"v\",\"version\":3,\"expires_ms\":null}\n";
        let parsed: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(parsed, serde_json::from_str::<Value>(expected).unwrap());
        assert_eq!(ended, Ok(()));
    }

    #[test]
    fn a_stale_answer_says_how_far_it_may_be_behind() {
        let silence = std::time::Duration::from_millis(25);
        let stale = Stale { value: None, lag_entries: 4, silence };
        let expected = json!({"key": "k", "found": false, "lag_entries": 4, "silence_ms": 25});
        assert_eq!(document(b"k", None, Some(&stale)), expected);
    }

    #[test]
    fn a_missing_key_is_exit_code_1_with_nothing_on_stdout() {
        let (bytes, ended) = printed(Format::Table, false, None);
        assert_eq!((bytes, ended.unwrap_err().code()), (Vec::new(), 1));
        let (bytes, ended) = printed(Format::Json, false, None);
        assert_eq!(bytes, b"{\"found\":false,\"key\":\"k\"}\n");
        assert_eq!(ended.unwrap_err().code(), 1);
    }
}
