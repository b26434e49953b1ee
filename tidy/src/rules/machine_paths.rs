//! No path of somebody's machine.

use crate::workspace::{Finding, Workspace};

/// Top directories, without their slash so that this file does not break its own rule.
const DIRECTORIES: &[&str] = &["home", "root", "work", "tmp"];

/// A path of the author's machine works there and nowhere else, and tells strangers about it. Scripts and tests take their
/// place from a flag or from a temporary directory that they ask for.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.files() {
        for (at, line) in file.text.as_deref().unwrap_or_default().lines().enumerate() {
            for directory in DIRECTORIES.iter().filter(|directory| names(line, directory)) {
                findings.push(Finding::new(
                    &file.path,
                    at + 1,
                    format!("a path under the machine's own {directory}"),
                ));
            }
        }
    }
    findings
}

/// Whether a line holds the directory as the start of an absolute path: nothing before its slash that could belong to the
/// same path or to an address, and the whole name after it.
fn names(line: &str, directory: &str) -> bool {
    let start = format!("/{directory}");
    line.match_indices(&start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + start.len()..].chars().next();
        let continues = |letter: char| letter.is_alphanumeric() || "_-.~".contains(letter);
        let within = before.is_some_and(|letter| continues(letter) || ")}>*]/$".contains(letter));
        !within && !after.is_some_and(|letter| continues(letter) && letter != '.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_path_of_a_machine_is_found() {
        for directory in DIRECTORIES {
            let bad = [
                format!("see /{directory}/me/notes"),
                format!("cd \"/{directory}\""),
                format!("a=/{directory}/x"),
            ];
            let tree = |text: &str| check(&Workspace::of(&[("docs/README.md", text)])).len();
            assert!(bad.iter().all(|text| tree(text) == 1), "{bad:?}");
            let good = [
                format!("https://host/a/{directory}/"),
                format!("../{directory}/x"),
                format!("x /{directory}bench"),
            ];
            assert!(good.iter().all(|text| tree(text) == 0), "{good:?}");
        }
    }
}
