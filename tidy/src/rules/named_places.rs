//! What a page names in the code is there.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::workspace::{File, Finding, Workspace};

/// A column with this heading says where in the code something is: every row must name a place.
const WHERE: &str = "where in the code";

/// A page that leads to a function which has been renamed sends its reader into the woods, and a table that maps rules to
/// functions is worth nothing once a single row has gone stale. So every `path.rs::name` between backticks, in any page,
/// must be a file of ours and a function, type, field, variant or constant in it (`path.rs::Type::name` for what belongs to
/// a type). In a table with a column "where in the code" every row must name one.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for page in workspace.pages() {
        for place in places(page) {
            if let Some(fault) = fault(workspace, &place) {
                findings.push(Finding::new(&page.path, place.line, fault));
            }
        }
        findings.extend(rows_without_place(page));
    }
    findings
}

/// A place in the code, as a page names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    line: usize,
    file: String,
    name: String,
}

fn fault(workspace: &Workspace, place: &Place) -> Option<String> {
    let Some(file) = workspace.file(&place.file) else {
        return Some(format!("no such file: {}", place.file));
    };
    let known = names(file).contains(&place.name);
    (!known).then(|| format!("{} has no {}", place.file, place.name))
}

fn places(page: &File) -> Vec<Place> {
    let lines = page.text.as_deref().unwrap_or_default().lines().enumerate();
    lines
        .flat_map(|(at, line)| places_of(line).into_iter().map(move |place| Place { line: at + 1, ..place }))
        .collect()
}

/// What stands between backticks is code: every second part.
fn places_of(line: &str) -> Vec<Place> {
    let code = line.split('`').skip(1).step_by(2);
    let split = code.filter_map(|code| code.split_once(".rs::"));
    let is_name = |name: &str| {
        let is_part =
            |part: &str| !part.is_empty() && part.chars().all(|it| it.is_alphanumeric() || it == '_');
        name.split("::").all(is_part)
    };
    let named = split.filter(|(path, name)| !path.contains(char::is_whitespace) && is_name(name));
    named.map(|(path, name)| Place { line: 0, file: format!("{path}.rs"), name: name.to_owned() }).collect()
}

fn rows_without_place(page: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut column = None;
    for (at, line) in page.text.as_deref().unwrap_or_default().lines().enumerate() {
        if !line.starts_with('|') {
            column = None;
        } else if let Some(column) = column {
            let cell: &str = cells(line).get(column).copied().unwrap_or_default();
            let is_rule = cell.chars().all(|it| "-: ".contains(it)) && !cell.is_empty();
            if !is_rule && places_of(cell).is_empty() {
                findings.push(Finding::new(
                    &page.path,
                    at + 1,
                    format!("\"{WHERE}\" names no path.rs::name"),
                ));
            }
        } else {
            column = cells(line).iter().position(|cell| *cell == WHERE);
        }
    }
    findings
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Everything that a file declares outside of functions: `name`, and `Type::name` for what belongs to a type.
fn names(file: &File) -> BTreeSet<String> {
    let mut names = Names { of: None, found: BTreeSet::new() };
    names.visit_file(&file.syntax());
    names.found
}

struct Names {
    of: Option<String>,
    found: BTreeSet<String>,
}

impl Names {
    fn add(&mut self, name: &syn::Ident) {
        self.found.insert(name.to_string());
        if let Some(of) = &self.of {
            self.found.insert(format!("{of}::{name}"));
        }
    }

    fn within(&mut self, of: Option<String>, visit: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.of, of);
        visit(self);
        self.of = before;
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.add(&item.sig.ident);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add(&item.ident);
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.add(&item.ident);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(name) = &field.ident {
            self.add(name);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.add(&variant.ident);
        let of = variant.ident.to_string();
        self.within(Some(of), |this| visit::visit_variant(this, variant));
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
        self.within(Some(item.ident.to_string()), |this| visit::visit_item_struct(this, item));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
        self.within(Some(item.ident.to_string()), |this| visit::visit_item_enum(this, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
        self.within(Some(item.ident.to_string()), |this| visit::visit_item_trait(this, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.within(of, |this| visit::visit_item_impl(this, item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "pub const LIMIT: u8 = 1; struct Log { last: u64 } enum Rpc { Vote { term: u64 } }
        impl<T> Log { fn append(&self) { fn inner() {} } } trait Disk { fn sync(&self); } mod deep { fn merge() {} }";

    fn faults(text: &str) -> Vec<String> {
        let tree = Workspace::of(&[("raft/src/log.rs", CODE), ("docs/figure-2.md", text)]);
        check(&tree).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_name_that_is_gone_is_found() {
        assert_eq!(
            faults("Begin.\n`raft/src/log.rs::merged`"),
            ["docs/figure-2.md:2: raft/src/log.rs has no merged"]
        );
        assert_eq!(
            faults("`raft/src/log.rs::Disk::append`"),
            ["docs/figure-2.md:1: raft/src/log.rs has no Disk::append"]
        );
        assert_eq!(faults("`raft/src/log.rs::inner`"), ["docs/figure-2.md:1: raft/src/log.rs has no inner"]);
        assert_eq!(
            faults("`raft/src/logs.rs::append`"),
            ["docs/figure-2.md:1: no such file: raft/src/logs.rs"]
        );
    }

    #[test]
    fn everything_that_is_declared_may_be_named() {
        for name in [
            "LIMIT",
            "Log",
            "last",
            "Log::last",
            "append",
            "Log::append",
            "Rpc::Vote",
            "Vote::term",
            "Disk::sync",
            "merge",
        ] {
            assert_eq!(
                faults(&format!("See `raft/src/log.rs::{name}`, and `log.rs`.")),
                Vec::<String>::new(),
                "{name}"
            );
        }
        assert_eq!(faults("`cargo test x.rs::y` and raft/src/log.rs::nothing"), Vec::<String>::new());
    }

    #[test]
    fn a_row_of_the_table_that_names_no_place_is_found() {
        let table = |row: &str| format!("| rule | where in the code |\n| --- | --- |\n{row}\n");
        assert_eq!(faults(&table("| append | `raft/src/log.rs::append` |")), Vec::<String>::new());
        assert_eq!(
            faults(&table("| append | the log |")),
            ["docs/figure-2.md:3: \"where in the code\" names no path.rs::name"]
        );
        assert_eq!(faults("| rule | place |\n| --- | --- |\n| append | the log |"), Vec::<String>::new());
    }
}
