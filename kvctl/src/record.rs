//! A record as a line of a file: what `kvctl load` reads and `kvctl dump` writes.
//!
//! ```text
//! {"key":"ship","value":"Argo"}
//! {"key_b64":"AP8=","value_b64":"/w==","expires_ms":1767225600000}     bytes that are no UTF-8, in base64
//! {"key":"port","value":"Bristol","ttl":"30s"}                         from the moment it is loaded
//! ship<TAB>Argo                                                        bytes as they are, up to the line's end
//! ```
//!
//! Each line is judged by itself. One that begins with `{` and a quote (or `}`) is JSON, blanks aside; any other is divided by its
//! first tab. So a key such as `{order7}:head` may stand before a tab, and one such as `{"a"` needs JSON. A name that means
//! nothing here is refused, because a misspelt `ttl` must not become none. `version` is allowed, as `scan` prints it, and not
//! used: the fleet that is written to counts for itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flotilla_client::KeyValue;
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::encoding::{key, text_or_b64};

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Not empty.
    pub key: Bytes,
    /// Any bytes.
    pub value: Bytes,
    /// How long it stays.
    pub lifetime: Lifetime,
}

/// How long a record stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody overwrites or deletes it.
    Endless,
    /// So long from the moment at which it is written.
    For(Span),
    /// Until this moment, in ms since the Unix epoch.
    Until(u64),
}

/// Why a line is no record, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte of the line at which reading ended, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    ttl: Option<String>,
    expires_ms: Option<u64>,
    #[serde(rename = "version")]
    _version: Option<u64>,
}

impl TryFrom<Raw> for Record {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let value = text_or_b64("value", raw.value, raw.value_b64)?;
        let ttl = raw.ttl.map(|ttl| ttl.parse().map_err(|error| format!("ttl: {error}"))).transpose()?;
        let lifetime = match (ttl, raw.expires_ms) {
            (None, None) => Lifetime::Endless,
            (Some(ttl), None) => Lifetime::For(ttl),
            (None, Some(ms)) => Lifetime::Until(ms),
            (Some(_), Some(_)) => return Err("`ttl` and `expires_ms` exclude each other".to_string()),
        };
        let key = key(raw.key, raw.key_b64)?;
        Ok(Self { key, value: value.ok_or("`value` or `value_b64` is missing")?, lifetime })
    }
}

impl Record {
    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// It is no record.
    pub fn parse(line: &[u8]) -> Result<Self, Fault> {
        if is_json(line) {
            let raw: Raw = serde_json::from_slice(line).map_err(|error| {
                let said = error.to_string();
                // The place is told apart: a line is all that the parser sees.
                let what = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
                Fault { column: error.column(), what: what.to_string() }
            })?;
            return Self::try_from(raw).map_err(|what| Fault { column: line.trim_ascii_end().len(), what });
        }
        let fault = |column, what: &str| Fault { column, what: what.to_string() };
        match line.iter().position(|byte| *byte == b'\t') {
            None => Err(fault(1, "neither a JSON object nor key<TAB>value")),
            Some(0) => Err(fault(1, "key: must not be empty")),
            Some(tab) => Ok(Self {
                key: Bytes::copy_from_slice(&line[..tab]),
                value: Bytes::copy_from_slice(&line[tab + 1..]),
                lifetime: Lifetime::Endless,
            }),
        }
    }
}

/// Whether a line wants to be JSON.
fn is_json(line: &[u8]) -> bool {
    let inside = line.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| matches!(inside.first(), None | Some(b'"' | b'}')))
}

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
}

/// Adds a record as one line, newline included, to what is there.
pub fn print(record: &KeyValue, lines: &mut Vec<u8>) {
    let (key, key_b64) = split(&record.key);
    let (value, value_b64) = split(&record.value.bytes);
    let printed = Printed { key, key_b64, value, value_b64, expires_ms: record.value.expires };
    // Text, base64 and a number into memory: neither can be refused.
    let written = serde_json::to_writer(&mut *lines, &printed);
    assert!(written.is_ok(), "a record was not printed: {written:?}");
    lines.push(b'\n');
}

/// The text of bytes, or their base64.
fn split(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flotilla_client::Value;
    use rand_core::{Rng, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    fn record(key: &[u8], value: &[u8], lifetime: Lifetime) -> Record {
        Record { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value), lifetime }
    }

    #[test]
    fn a_line_is_the_record_that_it_says() {
        let cases: [(&[u8], Record); 10] = [
            (br#"{"key":"a","value":"b"}"#, record(b"a", b"b", Lifetime::Endless)),
            (br#" { "value" : "" , "key" : "\u0000\n\ud83d\ude00" } "#, {
                record("\0\n😀".as_bytes(), b"", Lifetime::Endless)
            }),
            (br#"{"key_b64":"AP8=","value_b64":"/w=="}"#, record(b"\0\xff", b"\xff", Lifetime::Endless)),
            (br#"{"key":"a","value":"b","ttl":"30s"}"#, {
                record(b"a", b"b", Lifetime::For("30s".parse().unwrap()))
            }),
            (br#"{"key":"a","value":"b","expires_ms":7,"version":3}"#, {
                record(b"a", b"b", Lifetime::Until(7))
            }),
            (br#"{"key":"a","value":"b","expires_ms":null}"#, record(b"a", b"b", Lifetime::Endless)),
            (b"a\tb", record(b"a", b"b", Lifetime::Endless)),
            (b"a\t", record(b"a", b"", Lifetime::Endless)),
            (b"a b\xff\t\tb\\n\r", record(b"a b\xff", b"\tb\\n\r", Lifetime::Endless)),
            (b"{order7}:head\t{}", record(b"{order7}:head", b"{}", Lifetime::Endless)),
        ];
        for (line, expected) in cases {
            assert_eq!(Record::parse(line), Ok(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_record_is_named_with_its_column() {
        let cases: [(&[u8], usize, &str); 15] = [
            (b"ship", 1, "neither a JSON object nor key<TAB>value"),
            (b"\tArgo", 1, "key: must not be empty"),
            (b"\xef\xbb\xbf{\"key\":\"a\"}", 1, "neither a JSON object nor key<TAB>value"),
            (b"{", 1, "EOF while parsing an object"),
            (br#"{"key":"a","valeu":"b"}"#, 18, {
                "unknown field `valeu`, expected one of `key`, `key_b64`, `value`, `value_b64`, `ttl`, `expires_ms`, `version`"
            }),
            (br#"{"key":"a"}"#, 11, "`value` or `value_b64` is missing"),
            (br#"{"value":"a"}"#, 13, "`key` or `key_b64` is missing"),
            (br#"{"key":"","value":"a"}"#, 22, "key: must not be empty"),
            (br#"{"key":"a","key":"b","value":"c"}"#, 16, "duplicate field `key`"),
            (br#"{"key":"a","value":"b","value_b64":""}"#, 38, "`value` and `value_b64` exclude each other"),
            (br#"{"key":"a","value_b64":"=="}"#, 28, "value_b64: no base64: Invalid symbol 61, offset 0."),
            (br#"{"key":"a","value":1}"#, 20, "invalid type: integer `1`, expected a string"),
            (br#"{"key":"a","value":"b","ttl":"1s","expires_ms":1}"#, 49, {
                "`ttl` and `expires_ms` exclude each other"
            }),
            (b"{\"key\":\"a\",\"value\":\"\xff\"}", 21, "invalid unicode code point"),
            (br#"{"key":"a","value":"b"} x"#, 25, "trailing characters"),
        ];
        for (line, column, what) in cases {
            let fault = Record::parse(line).unwrap_err();
            assert_eq!((fault.column, fault.what.as_str()), (column, what), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn whatever_is_printed_reads_back_and_is_one_line() {
        let mut chance = Pcg64Mcg::seed_from_u64(7);
        let mut bytes = |length_max: u32| {
            let (length, text) = (1 + chance.next_u32() % length_max, chance.next_u32().is_multiple_of(2));
            let bytes: Vec<u8> =
                (0..length).map(|_| (chance.next_u32() % if text { 128 } else { 256 }) as u8).collect();
            Bytes::from(bytes)
        };
        for number in 0..2_000 {
            let expires = (number % 3 == 0).then_some(number);
            let value = Value { bytes: bytes(40), version: 1, expires };
            let before = KeyValue { key: bytes(12), value };
            let mut line = Vec::new();
            print(&before, &mut line);
            assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "{before:?}");
            let lifetime = expires.map_or(Lifetime::Endless, Lifetime::Until);
            let expected = record(&before.key, &before.value.bytes, lifetime);
            assert_eq!(Record::parse(&line[..line.len() - 1]), Ok(expected), "{}", line.escape_ascii());
        }
    }
}
