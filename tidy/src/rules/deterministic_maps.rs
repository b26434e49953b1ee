//! No map whose order is drawn at random on the deterministic floors.

use syn::visit::{self, Visit};

use super::pure_floors;
use crate::workspace::{Finding, Workspace};

/// Names of the two collections, with the number of their type arguments when a hasher is given.
const COLLECTIONS: &[(&str, usize)] = &[("HashMap", 3), ("HashSet", 2)];

/// Constructors that take a hasher.
const WITH_HASHER: &[&str] = &["with_hasher", "with_capacity_and_hasher"];

/// `HashMap` and `HashSet` seed their hasher anew in every process. Iterating over one sends messages or writes records in
/// an order that no seed replays: the simulator finds a fault once and never again. `BTreeMap` costs a little and is in
/// order; a map with a fixed hasher (named in its type) is fine where speed was measured.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust().filter(|file| pure_floors::is_pure(file)) {
        let mut collections = Collections { path: &file.path, findings: &mut findings };
        collections.visit_file(&file.syntax());
    }
    findings
}

struct Collections<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl<'ast> Visit<'ast> for Collections<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        for (at, segment) in path.segments.iter().enumerate() {
            let Some((name, arguments)) = COLLECTIONS.iter().find(|(name, _)| segment.ident == name) else {
                continue;
            };
            let constructor = path.segments.get(at + 1).map(|next| next.ident.to_string());
            let takes_hasher = constructor.is_some_and(|name| WITH_HASHER.contains(&name.as_str()));
            if !takes_hasher && type_arguments(segment) < *arguments {
                let line = segment.ident.span().start().line;
                self.findings.push(Finding::new(self.path, line, format!("{name} with a random order")));
            }
        }
        visit::visit_path(self, path);
    }
}

fn type_arguments(segment: &syn::PathSegment) -> usize {
    match &segment.arguments {
        syn::PathArguments::AngleBracketed(arguments) => arguments.args.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> usize {
        check(&Workspace::of(&[("wal/src/lib.rs", text)])).len()
    }

    #[test]
    fn the_default_hasher_is_found() {
        assert_eq!(faults("struct A { shards: HashMap<ShardId, Shard> }"), 1);
        assert_eq!(faults("fn f() { let seen = std::collections::HashSet::new(); }"), 1);
        assert_eq!(faults("fn f() -> HashSet<u64> { HashSet::default() }"), 2);
    }

    #[test]
    fn ordered_maps_and_fixed_hashers_pass() {
        assert_eq!(faults("struct A { shards: BTreeMap<ShardId, Shard> }"), 0);
        assert_eq!(
            faults("type Map<K, V> = HashMap<K, V, Fixed>; fn f() { HashMap::with_hasher(Fixed) }"),
            0
        );
    }
}
