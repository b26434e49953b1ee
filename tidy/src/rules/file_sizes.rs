//! How long a file may be.

use crate::workspace::{Finding, Workspace};

/// Lines of a source file.
const SOURCE_LINES_MAX: usize = 600;

/// Lines of a file that holds only tests: stories are long, but one file still tells one kind of story.
const TEST_LINES_MAX: usize = 900;

/// A file holds one idea (STYLE: about 500 lines). What grows past the limit holds two, and they should be told apart
/// while that is still cheap.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust() {
        let lines = file.text.as_deref().unwrap_or_default().lines().count();
        let lines_max = if workspace.is_test(file) { TEST_LINES_MAX } else { SOURCE_LINES_MAX };
        if lines > lines_max {
            findings.push(Finding::new(&file.path, 0, format!("{lines} lines, at most {lines_max}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_many_is_found() {
        let faults = |path, lines| check(&Workspace::of(&[(path, &"\n".repeat(lines))])).len();
        assert_eq!([faults("raft/src/log.rs", 600), faults("raft/src/log.rs", 601)], [0, 1]);
        assert_eq!([faults("raft/tests/log.rs", 900), faults("raft/tests/log.rs", 901)], [0, 1]);
    }
}
