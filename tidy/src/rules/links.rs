//! Links lead somewhere.

use crate::workspace::{File, Finding, Workspace};

/// A link of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The line, counted from 1.
    pub line: usize,
    /// The target as a path from the root, without its anchor.
    pub target: String,
}

/// A dead link tells the reader that nobody has walked this way since the house was rebuilt. Links to other sites are not
/// followed: a test must not depend on the network.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in workspace.pages() {
        for link in links(page).into_iter().filter(|link| !workspace.has(&link.target)) {
            findings.push(Finding::new(&page.path, link.line, format!("no such file: {}", link.target)));
        }
    }
    findings
}

/// The relative links of a page: `[text](target)` and `[label]: target`, outside code.
#[must_use]
pub fn links(page: &File) -> Vec<Link> {
    let mut found = Vec::new();
    let mut in_fence = false;
    for (at, line) in page.text.as_deref().unwrap_or_default().lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            let targets = inline_targets(line).into_iter().chain(reference_target(line));
            let targets = targets.filter_map(|target| resolve(&page.path, &target));
            found.extend(targets.map(|target| Link { line: at + 1, target }));
        }
    }
    found
}

fn inline_targets(line: &str) -> Vec<String> {
    // What stands between backticks is code: every second part.
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

fn reference_target(line: &str) -> Option<String> {
    let (_, target) = line.strip_prefix('[')?.split_once("]: ")?;
    target.split_whitespace().next().map(str::to_owned)
}

/// The path from the root, or nothing for another site or a place on the same page.
fn resolve(page: &str, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or_default();
    if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if !parts.is_empty() => {
                parts.pop();
            }
            // Above the root (`..` included), nothing exists for us: keep it, so that it is reported.
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let tree =
            Workspace::of(&[("docs/architecture/raft.md", text), ("docs/README.md", ""), ("LICENSE", "")]);
        check(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_dead_link_is_found() {
        assert_eq!(faults("See [the log](wal.md)."), ["no such file: docs/architecture/wal.md"]);
        assert_eq!(faults("[the log]: ../wal.md"), ["no such file: docs/wal.md"]);
        assert_eq!(faults("[a](../../../LICENSE)"), ["no such file: ../LICENSE"]);
    }

    #[test]
    fn living_links_code_and_other_sites_pass() {
        let text = "[map](../README.md#raft) [home](../..) [licence](../../LICENSE \"ours\") [raft](https://raft.github.io) \
            [above](#top) `[code](gone.md)`\n```\n[code](gone.md)\n```\n";
        assert_eq!(faults(text), Vec::<String>::new());
    }
}
