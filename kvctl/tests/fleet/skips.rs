//! What a story does where the machine lacks something that it needs.

use std::io::Write;

/// The variable that lists what may not be missing, with commas between.
const REQUIRED: &str = "FLOTILLA_REQUIRE";

/// Says why a story is not told, past the capture of the test's output.
///
/// # Panics
/// `FLOTILLA_REQUIRE` names what is missing.
pub fn skip(what: &str, reason: &str) {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    assert!(!required.split(',').any(|name| name == what), "{REQUIRED} asks for {what}: {reason}");
    let words = format!("SKIPPED, for want of a {what}: {reason}\n");
    std::io::stderr().write_all(words.as_bytes()).unwrap();
}
