//! No test is switched off.

use syn::visit::Visit;

use crate::workspace::{Finding, Workspace};

/// A test that does not run rots while it looks like cover. A slow test belongs to a command of its own; a broken one is
/// mended or removed. Documentation examples are tests too.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust() {
        let mut attributes = Attributes { lines: Vec::new() };
        attributes.visit_file(&file.syntax());
        let what = "a test that does not run";
        findings.extend(attributes.lines.into_iter().map(|line| Finding::new(&file.path, line, what)));
    }
    findings
}

struct Attributes {
    /// Where tests are switched off.
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Attributes {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("ignore") || is_ignored_example(attribute) || is_conditional(attribute) {
            self.lines.push(attribute.pound_token.span.start().line);
        }
    }
}

/// A documentation line that opens an example which is not compiled or run.
fn is_ignored_example(attribute: &syn::Attribute) -> bool {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return false };
    let syn::Expr::Lit(literal) = &pair.value else { return false };
    let syn::Lit::Str(text) = &literal.lit else { return false };
    let is_fence =
        |line: &str| line.trim_start().strip_prefix("```").is_some_and(|info| info.contains("ignore"));
    pair.path.is_ident("doc") && text.value().lines().any(is_fence)
}

/// `cfg_attr(…, ignore)`.
fn is_conditional(attribute: &syn::Attribute) -> bool {
    let Ok(list) = attribute.meta.require_list() else { return false };
    let mut tokens = list.tokens.clone().into_iter();
    list.path.is_ident("cfg_attr") && tokens.any(|token| token.to_string() == "ignore")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_switched_off_is_found() {
        let faults = |text| check(&Workspace::of(&[("raft/src/lib.rs", text)])).len();
        assert_eq!(faults("#[test] #[ignore] fn f() {}"), 1);
        assert_eq!(faults("mod tests { #[test] #[ignore = \"slow\"] fn f() {} }"), 1);
        assert_eq!(faults("#[test] #[cfg_attr(debug_assertions, ignore)] fn f() {}"), 1);
        assert_eq!(faults("/// ```ignore\n/// f();\n/// ```\nfn f() {}"), 1);
        assert_eq!(faults("/// ```\n/// f(); // ignore the result\n/// ```\n#[test] fn f() {}"), 0);
    }
}
