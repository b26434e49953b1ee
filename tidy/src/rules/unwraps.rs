//! Errors are decided once: reply or crash, in words.

use crate::code::{self, Mention};
use crate::workspace::{Finding, Workspace};

const METHODS: &[&str] = &["unwrap", "expect", "unwrap_err", "expect_err", "unwrap_unchecked"];

/// `unwrap` crashes a node on somebody else's fault and says only where. Operating faults return as errors with fields;
/// broken invariants are an `assert!` or `panic!` whose message shows the values. Clippy warns of the same; this rule also
/// sees through an `allow`.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust().filter(|file| !workspace.is_test(file)) {
        for seen in code::mentions(&file.syntax()).into_iter().filter(|seen| !seen.in_test) {
            let name = match &seen.mention {
                Mention::Method(name) => Some(name.clone()),
                // `.map(Result::unwrap)`
                Mention::Path(path) if matches!(&path[..], [.., owner, _] if owner == "Result" || owner == "Option") => {
                    path.last().cloned()
                }
                Mention::Path(_) | Mention::Macro(_) => None,
            };
            if let Some(name) = name.filter(|name| METHODS.contains(&name.as_str())) {
                findings.push(Finding::new(&file.path, seen.line, format!("{name} outside tests")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwrap_is_found_outside_tests_only() {
        let faults = |path, text| check(&Workspace::of(&[(path, text)])).len();
        assert_eq!(faults("wal/src/lib.rs", "fn f() { x.unwrap() }"), 1);
        assert_eq!(faults("wal/src/lib.rs", "fn f() { assert_eq!(x.expect(\"set\"), 1) }"), 1);
        assert_eq!(faults("wal/src/lib.rs", "fn f() { all.map(Option::unwrap) }"), 1);
        assert_eq!(faults("wal/src/lib.rs", "fn f() { x.unwrap_or_default() }"), 0);
        assert_eq!(faults("wal/src/lib.rs", "#[cfg(test)] mod tests { fn f() { x.unwrap() } }"), 0);
        assert_eq!(faults("wal/tests/torn.rs", "fn f() { x.unwrap() }"), 0);
    }
}
