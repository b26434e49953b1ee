//! The product behaves under test as it behaves in the field.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::code;
use crate::workspace::{Finding, Workspace};

/// Logic that differs under `cfg(test)` is tested in a form that nobody runs. Whole items may exist for tests (a module,
/// an import); a statement, field or arm may not, nor may anything exist only outside them. Swap dependencies, never logic.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust().filter(|file| !workspace.is_test(file)) {
        let mut conditions = Conditions { lines: Vec::new() };
        conditions.visit_file(&file.syntax());
        let what = "behaviour that differs under cfg(test)";
        findings.extend(conditions.lines.into_iter().map(|line| Finding::new(&file.path, line, what)));
    }
    findings
}

struct Conditions {
    /// Where behaviour depends on being tested.
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Conditions {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        // Items for tests may exist; what stands inside them is test code and may do as it likes.
        if !code::is_for_tests(code::attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let Ok(list) = attribute.meta.require_list() else { return };
        let conditional = list.path.is_ident("cfg") || list.path.is_ident("cfg_attr");
        if conditional && names_test(&list.tokens) {
            self.lines.push(attribute.pound_token.span.start().line);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.is_ident("cfg") && names_test(&call.tokens) {
            self.lines.extend(call.path.get_ident().map(|name| name.span().start().line));
        }
        visit::visit_macro(self, call);
    }
}

fn names_test(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "test",
        TokenTree::Group(group) => names_test(&group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logic_that_knows_it_is_tested_is_found() {
        let faults = |text| check(&Workspace::of(&[("wal/src/lib.rs", text)])).len();
        assert_eq!(faults("fn f() { if cfg!(test) { return } }"), 1);
        assert_eq!(faults("#[cfg(not(test))] fn f() {}"), 1);
        assert_eq!(faults("fn f() { #[cfg(test)] skip(); }"), 1);
        assert_eq!(faults("struct Log { #[cfg(test)] trace: Trace }"), 1);
        assert_eq!(faults("#[cfg(test)] mod tests { fn f() { cfg!(test); } } #[cfg(unix)] fn f() {}"), 0);
    }
}
