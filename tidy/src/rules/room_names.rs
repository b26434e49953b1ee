//! Rooms are named by content.

use syn::visit::{self, Visit};

use crate::workspace::{Finding, Workspace};

const BANNED: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "types"];

/// A room called "utils" collects what its author could not place, and everybody imports it. If a thing has no room, the
/// plan of the house is wrong, and that is worth knowing early. Files, directories and inline modules, tests included.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust() {
        let place = file.path.trim_end_matches(".rs");
        if let Some(name) = place.split('/').find(|part| BANNED.contains(part)) {
            findings.push(Finding::new(&file.path, 0, format!("a room called {name:?}")));
        }
        let mut rooms = Rooms { path: &file.path, findings: &mut findings };
        rooms.visit_file(&file.syntax());
    }
    findings
}

struct Rooms<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl<'ast> Visit<'ast> for Rooms<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        if BANNED.contains(&name.as_str()) && module.content.is_some() {
            let line = module.ident.span().start().line;
            self.findings.push(Finding::new(self.path, line, format!("a room called {name:?}")));
        }
        visit::visit_item_mod(self, module);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nameless_room_is_found_as_file_directory_and_module() {
        let faults = |path, text| check(&Workspace::of(&[(path, text)])).len();
        assert_eq!(faults("raft/src/utils.rs", ""), 1);
        assert_eq!(faults("e2e/tests/common/mod.rs", ""), 1);
        assert_eq!(faults("raft/src/log.rs", "mod inner { mod helpers {} }"), 1);
        assert_eq!(faults("raft/src/commonwealth.rs", "mod quorum {}"), 0);
    }
}
