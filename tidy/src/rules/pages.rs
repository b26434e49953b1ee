//! Every crate has its page, and every page is on the map.

use std::collections::BTreeSet;

use super::links;
use crate::workspace::{Finding, Workspace};

/// Where readers start.
const MAP: &str = "docs/README.md";

/// Packages that need no page of architecture: they are no part of what runs. (`fuzz` stands on that of `hostile`.)
const WITHOUT_PAGE: &[&str] = &["tidy", "fuzz"];

/// The documents are part of the house. A crate without `docs/architecture/<crate>.md` can be read only by its author; a
/// page that no path of links reaches from the map is read by nobody.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, file, _) in workspace.manifests().filter(|(package, ..)| !WITHOUT_PAGE.contains(package)) {
        let page = format!("docs/architecture/{package}.md");
        if workspace.file(&page).is_none() {
            findings.push(Finding::new(&file.path, 0, format!("no page {page}")));
        }
    }
    let reached = reachable(workspace);
    for page in
        workspace.pages().filter(|page| page.path.starts_with("docs/") && !reached.contains(&page.path))
    {
        findings.push(Finding::new(&page.path, 0, format!("no path of links leads here from {MAP}")));
    }
    findings
}

fn reachable(workspace: &Workspace) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![MAP.to_owned()];
    while let Some(path) = next.pop() {
        if let Some(page) = workspace.file(&path)
            && reached.insert(path)
        {
            next.extend(links::links(page).into_iter().map(|link| link.target));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        check(&Workspace::of(files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_crate_without_a_page_is_found() {
        assert_eq!(faults(&[("raft/Cargo.toml", "")]), ["no page docs/architecture/raft.md"]);
    }

    #[test]
    fn a_page_that_nobody_links_is_found() {
        let mut tree = vec![
            ("docs/README.md", "[raft](architecture/raft.md)"),
            ("docs/architecture/raft.md", "[messages](../formats/messages.md)"),
            ("docs/formats/messages.md", ""),
        ];
        assert_eq!(faults(&tree), Vec::<String>::new());
        tree.push(("docs/formats/lost.md", ""));
        assert_eq!(faults(&tree), ["no path of links leads here from docs/README.md"]);
    }
}
