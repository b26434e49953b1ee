//! Every alert has its runbook.

use std::collections::BTreeMap;

use crate::workspace::{File, Finding, Workspace};

/// Where the alerts stand.
const ALERTS: &str = "deploy/prometheus/alerts.yml";
/// Where it is told what to do about them.
const RUNBOOK: &str = "docs/operations/running.md";
/// The chapter there, with one section for each.
const CHAPTER: &str = "## Alerts";

/// Whoever is woken by an alert looks it up by its name. An alert without a section leaves them alone; a section without an
/// alert was forgotten when the alert was renamed.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let alerts = workspace.file(ALERTS).map(alerts).unwrap_or_default();
    let sections = workspace.file(RUNBOOK).map(sections).unwrap_or_default();
    let lacking = alerts.iter().filter(|(name, _)| !sections.contains_key(*name));
    let lacking = lacking.map(|(name, line)| {
        Finding::new(ALERTS, *line, format!("{RUNBOOK} has no \"### {name}\" under \"{CHAPTER}\""))
    });
    let forgotten = sections.iter().filter(|(name, _)| !alerts.contains_key(*name));
    let forgotten =
        forgotten.map(|(name, line)| Finding::new(RUNBOOK, *line, format!("{ALERTS} has no alert {name}")));
    lacking.chain(forgotten).collect()
}

/// The names of the alerts, with their lines.
fn alerts(file: &File) -> BTreeMap<String, usize> {
    named(file.text.as_deref().unwrap_or_default().lines().enumerate(), |line| {
        line.trim().strip_prefix("- alert:")
    })
}

/// The sections of the chapter, with their lines.
fn sections(file: &File) -> BTreeMap<String, usize> {
    let lines = file.text.as_deref().unwrap_or_default().lines().enumerate();
    let chapter = lines
        .skip_while(|(_, line)| *line != CHAPTER)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "));
    named(chapter, |line| line.strip_prefix("### "))
}

fn named<'a>(
    lines: impl Iterator<Item = (usize, &'a str)>,
    name: impl Fn(&'a str) -> Option<&'a str>,
) -> BTreeMap<String, usize> {
    lines.filter_map(|(at, line)| Some((name(line)?.trim().to_owned(), at + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(alerts: &str, runbook: &str) -> Vec<String> {
        let tree = Workspace::of(&[(ALERTS, alerts), (RUNBOOK, runbook)]);
        check(&tree).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn alerts_and_sections_belong_together() {
        let alerts = "rules:\n  - alert: NodeDown\n    expr: up == 0\n";
        assert_eq!(
            faults(alerts, "# Running\n## Alerts\n### NodeDown\nStart it.\n## End\n### Other\n"),
            Vec::<String>::new()
        );
        assert_eq!(
            faults(alerts, "### NodeDown\n## Alerts\n### NodeGone\n"),
            [
                "deploy/prometheus/alerts.yml:2: docs/operations/running.md has no \"### NodeDown\" under \"## Alerts\"",
                "docs/operations/running.md:3: deploy/prometheus/alerts.yml has no alert NodeGone"
            ]
        );
    }
}
