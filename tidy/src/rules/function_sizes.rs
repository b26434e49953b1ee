//! How long a function may be.

use syn::visit::{self, Visit};

use crate::workspace::{Finding, Workspace};

/// Lines between the braces of a function.
const BODY_LINES_MAX: usize = 75;

/// A function fits a screen (STYLE: about 50 lines), so that its reader sees the whole decision at once. Test files are
/// let off: a story may be longer than a screen.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust().filter(|file| !workspace.is_test(file)) {
        let mut functions = Functions { path: &file.path, findings: &mut findings };
        functions.visit_file(&file.syntax());
    }
    findings
}

struct Functions<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn measure(&mut self, name: &syn::Ident, body: &syn::Block) {
        let first = body.brace_token.span.open().start().line;
        let last = body.brace_token.span.close().start().line;
        let lines = (last - first).saturating_sub(1);
        if lines > BODY_LINES_MAX {
            let what = format!("fn {name} has {lines} lines, at most {BODY_LINES_MAX}");
            self.findings.push(Finding::new(self.path, name.span().start().line, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig.ident, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(before: &str, lines: usize, after: &str) -> usize {
        let text = format!("{before}\n{}{after}", "    step();\n".repeat(lines));
        check(&Workspace::of(&[("raft/src/log.rs", &text)])).len()
    }

    #[test]
    fn a_line_too_many_is_found_in_every_kind_of_function() {
        for (before, after) in [("fn f() {", "}"), ("impl A { fn f() {", "}}"), ("trait A { fn f() {", "}}")]
        {
            assert_eq!([faults(before, 75, after), faults(before, 76, after)], [0, 1], "{before}");
        }
    }
}
