//! Keys and values, which are any bytes, as text: JSON fields that lose nothing, and lines that a terminal survives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

/// Adds `name: "text"` where the bytes are UTF-8, else `name_b64: "…"` (RFC 4648, with padding).
pub fn insert(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_string(), Value::from(text)),
        Err(_) => object.insert(format!("{name}_b64"), Value::from(STANDARD.encode(bytes))),
    };
}

/// Bytes that stand as text or in base64, but not both; nothing: they are not there.
///
/// # Errors
/// Both are there, or the base64 is none.
pub fn text_or_b64(name: &str, text: Option<String>, b64: Option<String>) -> Result<Option<Bytes>, String> {
    match (text, b64) {
        (Some(_), Some(_)) => Err(format!("`{name}` and `{name}_b64` exclude each other")),
        (Some(text), None) => Ok(Some(Bytes::from(text))),
        (None, Some(b64)) => {
            let bytes = STANDARD.decode(b64).map_err(|error| format!("{name}_b64: no base64: {error}"))?;
            Ok(Some(Bytes::from(bytes)))
        }
        (None, None) => Ok(None),
    }
}

/// A key that stands in `key` or `key_b64`.
///
/// # Errors
/// It is missing or empty, or as [`text_or_b64`].
pub fn key(text: Option<String>, b64: Option<String>) -> Result<Bytes, String> {
    let key = text_or_b64("key", text, b64)?.ok_or("`key` or `key_b64` is missing")?;
    if key.is_empty() { Err("key: must not be empty".to_string()) } else { Ok(key) }
}

/// One line of text for any bytes, and one only: `\\`, `\t`, `\n`, `\r`, and `\xNN` for other control characters and for
/// bytes that are no UTF-8. What is printable stays as it is.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut line = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => line.push_str("\\\\"),
                '\t' => line.push_str("\\t"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                control if control.is_control() => {
                    let mut buffer = [0; 4];
                    control.encode_utf8(&mut buffer).bytes().for_each(|byte| push_hex(&mut line, byte));
                }
                printable => line.push(printable),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_hex(&mut line, *byte));
    }
    line
}

/// Adds `\xNN`.
fn push_hex(line: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    line.push_str("\\x");
    line.push(char::from(DIGITS[usize::from(byte >> 4)]));
    line.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_carries_text_as_text_and_other_bytes_in_base64() {
        let mut object = Map::new();
        insert(&mut object, "key", "grüße".as_bytes());
        insert(&mut object, "value", &[0xff, 0, 1]);
        assert_eq!(Value::from(object).to_string(), r#"{"key":"grüße","value_b64":"/wAB"}"#);
    }

    #[test]
    fn escaped_bytes_fit_on_one_line_and_differ_where_the_bytes_differ() {
        let cases: [(&[u8], &str); 5] = [
            (b"plain", "plain"),
            (b"a\tb\nc\r\\", "a\\tb\\nc\\r\\\\"),
            (b"\x1b[31m", "\\x1b[31m"),
            (&[0xff, b'a', 0xc3], "\\xffa\\xc3"),
            ("\u{85}ü".as_bytes(), "\\xc2\\x85ü"),
        ];
        for (bytes, text) in cases {
            assert_eq!(escape(bytes), text);
        }
    }
}
