//! Errors are decided once: reply or crash, in words.

use crate::code::{self, Mention};
use crate::workspace::{Finding, Workspace};

/// The methods of `Option` and `Result`, with the number of their arguments: a method of ours may be called `expect` too.
const METHODS: &[(&str, usize)] = &[("unwrap", 0), ("expect", 1), ("unwrap_err", 0), ("expect_err", 1)];

/// `unwrap` crashes a node on somebody else's fault and says only where. Operating faults return as errors with fields;
/// broken invariants are an `assert!` or `panic!` whose message shows the values. Clippy warns of the same; this rule also
/// sees through an `allow`.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust().filter(|file| !workspace.is_test(file)) {
        for seen in code::mentions(&file.syntax()).into_iter().filter(|seen| !seen.in_test) {
            if let Some(name) = crash(&seen.mention) {
                findings.push(Finding::new(&file.path, seen.line, format!("{name} outside tests")));
            }
        }
    }
    findings
}

fn crash(mention: &Mention) -> Option<&str> {
    let known = |name: &str| METHODS.iter().find(|(method, _)| *method == name);
    match mention {
        Mention::Method { name, arguments } => known(name).filter(|(_, expected)| expected == arguments),
        // `.map(Result::unwrap)`
        Mention::Path(path) => match &path[..] {
            [.., owner, name] if owner == "Result" || owner == "Option" => known(name),
            _ => None,
        },
        Mention::Macro(_) => None,
    }
    .map(|&(name, _)| name)
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
        assert_eq!(
            faults("wal/src/lib.rs", "fn f() { log.expect(shard, ticket); assert!(log.expect(a(b, c), d)) }"),
            0
        );
        assert_eq!(faults("wal/src/lib.rs", "#[cfg(test)] mod tests { fn f() { x.unwrap() } }"), 0);
        assert_eq!(faults("wal/tests/torn.rs", "fn f() { x.unwrap() }"), 0);
    }
}
