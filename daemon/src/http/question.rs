//! Path, query and headers of a request for a key become types, or are refused.
//!
//! A parameter that is not known, or that the verb has no use for, is refused: a misspelt `version` would otherwise write
//! without comparing.

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, Uri};
use bytes::Bytes;

use super::refusal::Refusal;

/// What stands before a key.
const PREFIX: &str = "/v1/kv/";

/// What is asked of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) key: Bytes,
    pub(super) version: Option<Expected>,
    pub(super) ttl_ms: Option<u64>,
    pub(super) stale: bool,
    /// A reader has this version already.
    pub(super) known: Option<u64>,
}

/// The version that a write expects; 0: that there is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) version: u64,
    /// It stood in a header, not in the query.
    pub(super) precondition: bool,
}

impl Question {
    /// Reads a request.
    pub(super) fn read(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let key = uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let mut this =
            Self { key: Bytes::from(decoded(key)?), version: None, ttl_ms: None, stale: false, known: None };
        if this.key.is_empty() {
            return Err(Refusal::wrong("the key is empty: /v1/kv/{key}, percent-encoded"));
        }
        this.take_headers(method, headers)?;
        let query = uri.query().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            let value = std::str::from_utf8(&value).unwrap_or_default();
            this.take_parameter(method, name, value)?;
        }
        Ok(this)
    }

    fn take_parameter(&mut self, method: &Method, name: &str, value: &str) -> Result<(), Refusal> {
        let writes = *method == Method::PUT || *method == Method::DELETE;
        let reads = *method == Method::GET || *method == Method::HEAD;
        match name {
            "version" if writes => {
                let version = value.parse().map_err(|_| Refusal::wrong("version: expected a number"))?;
                if self.version.is_some_and(|present| present.version != version) {
                    return Err(Refusal::wrong("version: another one was given before"));
                }
                self.version = Some(Expected { version, precondition: false });
            }
            "ttl" if *method == Method::PUT => self.ttl_ms = Some(time(value)?),
            "ttl_ms" if *method == Method::PUT => {
                let wrong = |_| Refusal::wrong("ttl_ms: expected a number of milliseconds");
                self.ttl_ms = Some(value.parse().map_err(wrong)?);
            }
            "consistency" if reads => {
                self.stale = match value {
                    "stale" => true,
                    "linearizable" => false,
                    _ => return Err(Refusal::wrong("consistency: expected linearizable or stale")),
                }
            }
            _ => return Err(Refusal::wrong(format!("{method} has no parameter {name}"))),
        }
        Ok(())
    }

    /// `If-Match: "17"` is `version=17`, `If-None-Match: *` is `version=0`; a reader may have a version already.
    fn take_headers(&mut self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
        let tag = |text: &str| text.strip_prefix('"')?.strip_suffix('"')?.parse::<u64>().ok();
        let expected = |version| Some(Expected { version, precondition: true });
        if let Some(known) = text(IF_NONE_MATCH) {
            match known {
                "*" if *method == Method::PUT => self.version = expected(0),
                _ if *method == Method::GET || *method == Method::HEAD => self.known = tag(known),
                _ => return Err(Refusal::wrong("If-None-Match: expected * with PUT")),
            }
        }
        if let Some(wanted) = text(IF_MATCH) {
            if *method != Method::PUT && *method != Method::DELETE {
                return Err(Refusal::wrong("If-Match goes with PUT and DELETE"));
            }
            let wrong = || Refusal::wrong("If-Match: expected the ETag of an answer, such as \"17\"");
            self.version = expected(tag(wanted).ok_or_else(wrong)?);
        }
        Ok(())
    }
}

/// Percent-decoding (RFC 3986, 2.1). A `+` is a plus.
fn decoded(text: &str) -> Result<Vec<u8>, Refusal> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let (high, low) = (digit(bytes.next()), digit(bytes.next()));
        let (Some(high), Some(low)) = (high, low) else {
            return Err(Refusal::wrong("a % must be followed by two hexadecimal digits"));
        };
        out.push((high * 16 + low) as u8);
    }
    Ok(out)
}

/// A time as people write it, in ms.
fn time(text: &str) -> Result<u64, Refusal> {
    // "ms" before "m" and "s": it ends in both of their letters.
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let found = UNITS.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)));
    let parsed = found.and_then(|(count, ms)| count.parse::<u64>().ok()?.checked_mul(*ms));
    parsed.ok_or_else(|| Refusal::wrong("ttl: expected a number with ms, s, m, h or d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, uri: &str, headers: &[(&'static str, &str)]) -> Result<Question, Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Question::read(&method, &uri.parse().unwrap(), &map)
    }

    #[test]
    fn a_key_may_be_any_bytes() {
        let key = |uri| read(Method::GET, uri, &[]).map(|question| question.key);
        for (uri, bytes) in [
            ("/v1/kv/ship", &b"ship"[..]),
            ("/v1/kv/a%2Fb", b"a/b"),
            ("/v1/kv/a/b", b"a/b"),
            ("/v1/kv/a+b%20c", b"a+b c"),
            ("/v1/kv/%00%ff%FE", b"\0\xff\xfe"),
        ] {
            assert_eq!(key(uri).unwrap(), bytes, "{uri}");
        }
        for uri in ["/v1/kv/", "/v1/kv", "/v1/kv/%4", "/v1/kv/%zz", "/v1/kv/a%"] {
            assert!(key(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn parameters_go_with_their_verbs_only() {
        let put = read(Method::PUT, "/v1/kv/k?version=17&ttl=30s", &[]).unwrap();
        assert_eq!(put.version, Some(Expected { version: 17, precondition: false }));
        assert_eq!(put.ttl_ms, Some(30_000));
        assert!(read(Method::GET, "/v1/kv/k?consistency=stale", &[]).unwrap().stale);
        for (method, query) in [
            (Method::PUT, "verison=17"),
            (Method::PUT, "version=x"),
            (Method::PUT, "ttl=30"),
            (Method::PUT, "ttl=99999999999999999999d"),
            (Method::PUT, "consistency=stale"),
            (Method::DELETE, "ttl=1s"),
            (Method::GET, "version=1"),
            (Method::GET, "consistency=eventual"),
        ] {
            assert!(read(method.clone(), &format!("/v1/kv/k?{query}"), &[]).is_err(), "{method} {query}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [("5ms", 5), ("2s", 2_000), ("3m", 180_000), ("1h", 3_600_000), ("1d", 86_400_000)]
        {
            assert_eq!(time(text).unwrap(), ms);
        }
    }

    #[test]
    fn the_headers_of_caches_are_comparisons() {
        let expects = |headers| read(Method::PUT, "/v1/kv/k", headers).unwrap().version.unwrap();
        assert_eq!(expects(&[("if-match", "\"17\"")]), Expected { version: 17, precondition: true });
        assert_eq!(expects(&[("if-none-match", "*")]), Expected { version: 0, precondition: true });
        let get = read(Method::GET, "/v1/kv/k", &[("if-none-match", "\"17\"")]).unwrap();
        assert_eq!((get.known, get.version), (Some(17), None));
        assert!(read(Method::PUT, "/v1/kv/k", &[("if-match", "17")]).is_err());
        assert!(read(Method::PUT, "/v1/kv/k?version=18", &[("if-match", "\"17\"")]).is_err());
    }
}
