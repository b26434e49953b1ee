//! Who may import whom.

use toml::{Table, Value};

use crate::code;
use crate::workspace::{File, Finding, Workspace};

/// The floor of each package, by its directory. Imports go down only.
const FLOORS: &[(&str, u8)] = &[
    ("raft", 1),
    ("proto", 1),
    ("topology", 1),
    ("history", 1),
    ("notary", 1),
    ("tls", 1),
    ("wal", 2),
    ("store", 2),
    ("client", 2),
    ("daemon", 2),
    ("node", 3),
    ("router", 3),
    ("kvctl", 4),
    ("bench", 4),
    ("sim", 4),
    ("e2e", 4),
    ("hostile", 4),
    ("fuzz", 5),
    // Tidy reads the house from outside and imports nothing of it.
    ("tidy", 0),
];

/// The edges between neighbours: `topology` names replicas and log positions with the types of `raft`
/// (docs/decisions/0001-topology-imports-raft.md), `tls` names nodes with those of `topology`
/// (docs/decisions/0012-one-authority-and-a-name-for-each-node.md).
const SAME_FLOOR: &[(&str, &str)] = &[("topology", "raft"), ("tls", "topology")];

/// Edges that only tests may have: `(from, to, reason)`.
const TEST_EDGES: &[(&str, &str, &str)] =
    &[("tls", "notary", "the notary is for tests: it signs what the product judges")];

const PREFIX: &str = "flotilla-";

/// Imports go down only, so that every crate can be read, tested and simulated with nothing but what lies below it. One
/// upward edge, once there, pulls tokio into the consensus core within a month.
///
/// Checked in the manifests (renamed packages included) and in the code's paths; `#[path]` may not reach into another
/// package. Inside `node/`, the deterministic host may not name the half that drives it.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, file, manifest) in workspace.manifests() {
        if floor(package).is_none() {
            findings.push(Finding::new(
                &file.path,
                0,
                format!("{package} has no floor: give it one in tidy"),
            ));
        }
        for (dependency, only_tests) in dependencies(&manifest) {
            findings.extend(edge(file, 0, package, &dependency, only_tests));
        }
    }
    for file in workspace.rust() {
        findings.extend(code_edges(workspace, file));
    }
    findings
}

fn floor(package: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == package).map(|&(_, floor)| floor)
}

/// The house's packages that a manifest depends on, and whether only for tests.
fn dependencies(manifest: &Table) -> Vec<(String, bool)> {
    let for_targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = for_targets.filter_map(Value::as_table).chain([manifest]);
    let mut found = Vec::new();
    for table in tables {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
                if let Some(package) = package.strip_prefix(PREFIX) {
                    found.push((package.to_owned(), section == "dev-dependencies"));
                }
            }
        }
    }
    found
}

fn edge(file: &File, line: usize, from: &str, to: &str, only_tests: bool) -> Option<Finding> {
    let down = floor(from) > floor(to);
    let neighbour = SAME_FLOOR.contains(&(from, to));
    let in_tests = only_tests && TEST_EDGES.iter().any(|edge| (edge.0, edge.1) == (from, to));
    if from == to || down || neighbour || in_tests {
        return None;
    }
    let name = |package| floor(package).map_or("no floor".to_owned(), |floor| format!("floor {floor}"));
    let what = format!("{from} ({}) may not import {to} ({})", name(from), name(to));
    Some(Finding::new(&file.path, line, what))
}

fn code_edges(workspace: &Workspace, file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let syntax = file.syntax();
    let in_host = file.path.starts_with("node/src/host/") || file.path == "node/src/host.rs";
    for seen in code::mentions(&syntax) {
        let Some(path) = seen.path() else { continue };
        if let Some(to) = path[0].strip_prefix("flotilla_") {
            let only_tests = seen.in_test || workspace.is_test(file);
            findings.extend(edge(file, seen.line, file.package(), to, only_tests));
        }
        if in_host && path[0] == "crate" && path.get(1).is_some_and(|room| *room != "host") {
            let what =
                format!("the host may not import {}: it is driven, it does not drive", path.join("::"));
            findings.push(Finding::new(&file.path, seen.line, what));
        }
    }
    for item in &syntax.items {
        if let Some(path) = code::path_attribute(code::attributes(item))
            && path.value().starts_with("..")
        {
            let what = format!("a module of another place: {}", path.value());
            findings.push(Finding::new(&file.path, path.span().start().line, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        check(&Workspace::of(files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn an_import_upward_or_sideways_is_found_in_the_manifest() {
        let up = faults(&[("raft/Cargo.toml", "[dependencies]\nflotilla-wal.workspace = true")]);
        assert_eq!(up, ["raft (floor 1) may not import wal (floor 2)"]);
        let renamed =
            "[target.'cfg(unix)'.dependencies]\nlog = { package = 'flotilla-wal', path = '../wal' }";
        assert_eq!(
            faults(&[("store/Cargo.toml", renamed)]),
            ["store (floor 2) may not import wal (floor 2)"]
        );
        let in_tests =
            faults(&[("raft/Cargo.toml", "[dev-dependencies]\nflotilla-topology.workspace = true")]);
        assert_eq!(in_tests, ["raft (floor 1) may not import topology (floor 1)"]);
    }

    #[test]
    fn an_import_upward_is_found_in_the_code() {
        let up = faults(&[("wal/src/lib.rs", "fn f() { flotilla_node::host::run() }")]);
        assert_eq!(up, ["wal (floor 2) may not import node (floor 3)"]);
        assert_eq!(faults(&[("wal/src/lib.rs", "#[path = \"../../raft/src/id.rs\"] mod id;")]).len(), 1);
        assert_eq!(faults(&[("node/src/host/worker.rs", "use crate::transport::Peer;")]).len(), 1);
    }

    #[test]
    fn imports_down_and_the_one_neighbour_pass() {
        let good = [
            ("topology/Cargo.toml", "[dependencies]\nflotilla-raft.workspace = true"),
            ("node/Cargo.toml", "[dependencies]\nflotilla-wal.workspace = true\nbytes = '1'"),
            ("node/src/host/worker.rs", "use crate::host::Inbox; use flotilla_raft::Raft;"),
        ];
        assert_eq!(faults(&good), Vec::<String>::new());
    }

    #[test]
    fn a_package_without_a_floor_is_found() {
        assert_eq!(faults(&[("attic/Cargo.toml", "")]), ["attic has no floor: give it one in tidy"]);
    }
}
