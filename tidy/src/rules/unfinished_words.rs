//! Nothing unfinished looks finished.

use crate::code::{self, Mention};
use crate::workspace::{Finding, Workspace};

/// Written in two halves, so that this file does not break its own rule.
const WORDS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("HA", "CK"), concat!("X", "XX"), concat!("wi", "p")];

/// Said in whatever case, over several words.
const PHRASE: &str = concat!("work in ", "progress");

const MACROS: &[&str] = &[concat!("to", "do"), concat!("un", "implemented")];

/// A note to oneself in the code is a promise that nobody reads. What is missing is said where users look (README, the
/// module's documentation) or is an issue; what is there, is done.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.files().filter(|file| file.path != "Cargo.lock") {
        for (at, line) in file.text.as_deref().unwrap_or_default().lines().enumerate() {
            let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            for word in words.filter(|word| WORDS.contains(word)) {
                findings.push(Finding::new(&file.path, at + 1, format!("the word {word}")));
            }
            if line.to_ascii_lowercase().contains(PHRASE) {
                findings.push(Finding::new(&file.path, at + 1, format!("the words {PHRASE:?}")));
            }
        }
    }
    for file in workspace.rust() {
        for seen in code::mentions(&file.syntax()) {
            match seen.mention {
                Mention::Macro(name) if MACROS.contains(&name.as_str()) => {
                    findings.push(Finding::new(&file.path, seen.line, format!("{name}!")));
                }
                _ => {}
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_found_in_code_text_and_macros() {
        let faults = |path, text: &str| check(&Workspace::of(&[(path, text)])).len();
        for word in WORDS {
            assert_eq!(faults("docs/README.md", &format!("Fine.\n{word}: more")), 1, "{word}");
        }
        for name in MACROS {
            assert_eq!(faults("raft/src/lib.rs", &format!("fn f() {{ {name}!() }}")), 1, "{name}");
        }
        assert_eq!(faults("wal/src/lib.rs", &format!("//! The log ({PHRASE}).")), 1);
        assert_eq!(faults("docs/README.md", "HACKNEY wipes METHODOLOGY"), 0);
    }
}
