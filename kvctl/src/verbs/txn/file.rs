//! A transaction as a person writes it: one JSON document.
//!
//! ```json
//! {
//!   "compares":  [{"key": "{ship}:name", "version": 3}, {"key": "{ship}:crew", "exists": false}],
//!   "then":      [{"put": {"key": "{ship}:crew", "value": "Ann", "ttl": "30s"}}, {"get": {"key": "{ship}:name"}}],
//!   "otherwise": [{"delete": {"key": "{ship}:crew"}}]
//! }
//! ```
//!
//! Bytes that are no UTF-8 stand in `key_b64` and `value_b64`. A name that means nothing here is refused: a misspelt condition
//! must not become no condition. Complaints name line and column; of an element that contradicts itself it is where it ends.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_client::Txn;
use flotilla_topology::Slot;
use serde::Deserialize;

use crate::duration::Span;
use crate::encoding::{escape, key, text_or_b64};

/// How many keys a complaint shows.
const KEYS_SHOWN: usize = 4;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Executed if they do.
    pub then: Vec<Operation>,
    /// Executed if they do not.
    pub otherwise: Vec<Operation>,
}

/// What a key must be like.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawCompare")]
pub struct Compare {
    key: Bytes,
    condition: Condition,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// 0: it does not exist.
    Version(u64),
    Value(Bytes),
    Exists(bool),
}

/// One operation of a list.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Reads a key.
    Get(Key),
    /// Writes a value.
    Put(Record),
    /// Deletes a key.
    Delete(Key),
}

/// A key.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawKey")]
pub struct Key(Bytes);

/// A key, its value, and how long it stays.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRecord")]
pub struct Record {
    key: Bytes,
    value: Bytes,
    ttl: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    key: Option<String>,
    key_b64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    key: Option<String>,
    key_b64: Option<String>,
    value: Option<String>,
    value_b64: Option<String>,
    ttl: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCompare {
    key: Option<String>,
    key_b64: Option<String>,
    version: Option<u64>,
    value: Option<String>,
    value_b64: Option<String>,
    exists: Option<bool>,
}

impl TryFrom<RawKey> for Key {
    type Error = String;

    fn try_from(raw: RawKey) -> Result<Self, String> {
        key(raw.key, raw.key_b64).map(Self)
    }
}

impl TryFrom<RawRecord> for Record {
    type Error = String;

    fn try_from(raw: RawRecord) -> Result<Self, String> {
        let value = text_or_b64("value", raw.value, raw.value_b64)?;
        let ttl = raw.ttl.map(|ttl| ttl.parse().map_err(|error| format!("ttl: {error}"))).transpose()?;
        Ok(Self {
            key: key(raw.key, raw.key_b64)?,
            value: value.ok_or("a put needs `value` or `value_b64`")?,
            ttl,
        })
    }
}

impl TryFrom<RawCompare> for Compare {
    type Error = String;

    fn try_from(raw: RawCompare) -> Result<Self, String> {
        let value = text_or_b64("value", raw.value, raw.value_b64)?;
        let condition = match (raw.version, value, raw.exists) {
            (Some(version), None, None) => Condition::Version(version),
            (None, Some(value), None) => Condition::Value(value),
            (None, None, Some(exists)) => Condition::Exists(exists),
            _ => {
                return Err("a compare needs one of `version`, `value`, `value_b64` and `exists`".to_string());
            }
        };
        Ok(Self { key: key(raw.key, raw.key_b64)?, condition })
    }
}

impl Operation {
    /// The key that it speaks of.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Get(key) | Self::Delete(key) => &key.0,
            Self::Put(record) => &record.key,
        }
    }

    /// Its name in the file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Get(_) => "get",
            Self::Put(_) => "put",
            Self::Delete(_) => "delete",
        }
    }
}

impl File {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let file: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        file.check_slots()?;
        Ok(file)
    }

    fn keys(&self) -> impl Iterator<Item = &Bytes> {
        let operations = self.then.iter().chain(&self.otherwise).map(Operation::key);
        self.compares.iter().map(|compare| &compare.key).chain(operations)
    }

    /// The SDK would refuse it too; here the slots and the way out can be named.
    fn check_slots(&self) -> Result<(), String> {
        let mut first: BTreeMap<Slot, &Bytes> = BTreeMap::new();
        for key in self.keys() {
            first.entry(Slot::of(key)).or_insert(key);
        }
        match first.len() {
            0 => Err("it names no key".to_string()),
            1 => Ok(()),
            slots => {
                let shown = first.iter().take(KEYS_SHOWN);
                let shown: Vec<String> =
                    shown.map(|(slot, key)| format!("{} in slot {slot}", escape(key))).collect();
                let more = if slots > KEYS_SHOWN { ", …" } else { "" };
                Err(format!(
                    "its keys lie in {slots} slots, but must share one: {}{more} (only the part in {{}} is hashed: \
                     {{order7}}:head and {{order7}}:lines share a slot)",
                    shown.join(", ")
                ))
            }
        }
    }

    /// As the SDK takes it.
    pub fn txn(&self) -> Txn {
        let compared = self.compares.iter().fold(Txn::new(), |txn, Compare { key, condition }| {
            let key = key.clone();
            match condition {
                Condition::Version(version) => txn.when_version(key, *version),
                Condition::Value(value) => txn.when_value(key, value.clone()),
                Condition::Exists(true) => txn.when_exists(key),
                Condition::Exists(false) => txn.when_absent(key),
            }
        });
        let then = self.then.iter().fold(compared, |txn, operation| match operation {
            Operation::Get(key) => txn.get(key.0.clone()),
            Operation::Delete(key) => txn.delete(key.0.clone()),
            Operation::Put(Record { key, value, ttl }) => {
                txn.put_with_ttl(key.clone(), value.clone(), ttl.map(Span::duration))
            }
        });
        self.otherwise.iter().fold(then, |txn, operation| match operation {
            Operation::Get(key) => txn.otherwise_get(key.0.clone()),
            Operation::Delete(key) => txn.otherwise_delete(key.0.clone()),
            Operation::Put(Record { key, value, ttl }) => {
                txn.otherwise_put_with_ttl(key.clone(), value.clone(), ttl.map(Span::duration))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_document_is_the_transaction_that_it_says() {
        let text = r#"{
            "compares": [{"key": "{a}1", "version": 3}, {"key": "{a}2", "exists": false}, {"key": "{a}3", "exists": true},
                         {"key": "{a}4", "value": "x"}, {"key_b64": "e2F9/w==", "value_b64": "AP8="}],
            "then": [{"put": {"key": "{a}1", "value": "1", "ttl": "30s"}}, {"get": {"key": "{a}2"}}, {"delete": {"key": "{a}3"}}],
            "otherwise": [{"put": {"key": "{a}1", "value_b64": "/w=="}}, {"get": {"key": "{a}1"}}, {"delete": {"key": "{a}2"}}]
        }"#;
        let expected = Txn::new()
            .when_version("{a}1", 3)
            .when_absent("{a}2")
            .when_exists("{a}3")
            .when_value("{a}4", "x")
            .when_value(&b"{a}\xff"[..], &b"\x00\xff"[..])
            .put_with_ttl("{a}1", "1", Some(Duration::from_secs(30)))
            .get("{a}2")
            .delete("{a}3")
            .otherwise_put("{a}1", &b"\xff"[..])
            .otherwise_get("{a}1")
            .otherwise_delete("{a}2");
        assert_eq!(File::parse(text.as_bytes()).unwrap().txn(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let cases = [
            (
                "{\"then\":[\n{\"put\":{\"key\":\"a\",\"valeu\":\"1\"}}]}",
                "unknown field `valeu`, expected one of `key`, `key_b64`, `value`, `value_b64`, `ttl` at line 2 column 25",
            ),
            (
                "{\"compare\":[]}",
                "unknown field `compare`, expected one of `compares`, `then`, `otherwise` at line 1 column 10",
            ),
            (
                "{\"then\":[{\"push\":{\"key\":\"a\"}}]}",
                "unknown variant `push`, expected one of `get`, `put`, `delete` at line 1 column 16",
            ),
            ("{\"then\":[{\"get\":{}}]}", "`key` or `key_b64` is missing at line 1 column 18"),
            ("{\"then\":[{\"get\":{\"key\":\"\"}}]}", "key: must not be empty at line 1 column 26"),
            (
                "{\"then\":[{\"put\":{\"key\":\"a\"}}]}",
                "a put needs `value` or `value_b64` at line 1 column 27",
            ),
            (
                "{\"then\":[{\"put\":{\"key\":\"a\",\"value\":\"\",\"ttl\":\"5\"}}]}",
                "ttl: expected a length of time such as 250ms, 5s, 2m, 1h or 7d at line 1 column 48",
            ),
            (
                "{\"then\":[{\"get\":{\"key\":\"a\",\"key_b64\":\"YQ==\"}}]}",
                "`key` and `key_b64` exclude each other at line 1 column 44",
            ),
            (
                "{\"then\":[{\"get\":{\"key_b64\":\"Y\"}}]}",
                "key_b64: no base64: Invalid input length: 1 at line 1 column 31",
            ),
            (
                "{\"compares\":[{\"key\":\"a\"}]}",
                "a compare needs one of `version`, `value`, `value_b64` and `exists` at line 1 column 25",
            ),
            (
                "{\"compares\":[{\"key\":\"a\",\"version\":1,\"exists\":true}]}",
                "a compare needs one of `version`, `value`, `value_b64` and `exists` at line 1 column 51",
            ),
            (
                "{\"compares\":[{\"key\":\"a\",\"version\":-1}]}",
                "invalid value: integer `-1`, expected u64 at line 1 column 36",
            ),
            ("{\"compares\":[", "EOF while parsing a list at line 1 column 13"),
            ("{\"then\":[{\"get\":{\"key\":\"a\"}}]} x", "trailing characters at line 1 column 32"),
            ("{}", "it names no key"),
        ];
        for (text, expected) in cases {
            assert_eq!(File::parse(text.as_bytes()).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn keys_of_several_slots_are_named_with_the_way_out() {
        let text =
            r#"{"compares":[{"key":"a","exists":true}],"then":[{"get":{"key":"b"}},{"get":{"key":"{a}b"}}]}"#;
        let complaint = File::parse(text.as_bytes()).unwrap_err();
        let expected = "its keys lie in 2 slots, but must share one: b in slot 3300, a in slot 15495 (only the part in {} is \
                        hashed: {order7}:head and {order7}:lines share a slot)";
        assert_eq!(complaint, expected);
    }
}
