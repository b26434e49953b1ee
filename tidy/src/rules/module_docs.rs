//! Every file says what it is.

use crate::workspace::{Finding, Workspace};

/// A newcomer opens a file and reads first what it holds, why, and what it leaves to others. `missing_docs` asks that only
/// of public modules; the house asks it of every file, tests included.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let documented = |text: &str| syn::parse_file(text).is_ok_and(|file| file.attrs.iter().any(is_inner_doc));
    workspace
        .rust()
        .filter(|file| !documented(file.text.as_deref().unwrap_or_default()))
        .map(|file| Finding::new(&file.path, 1, "no module documentation (`//!`)"))
        .collect()
}

fn is_inner_doc(attribute: &syn::Attribute) -> bool {
    matches!(attribute.style, syn::AttrStyle::Inner(_)) && attribute.path().is_ident("doc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_first_word_is_found() {
        let faults = |text| check(&Workspace::of(&[("raft/src/log.rs", text)])).len();
        assert_eq!(faults("//! The log.\nfn f() {}"), 0);
        assert_eq!(faults("/// Not the file's.\nfn f() {}"), 1);
        assert_eq!(faults("// Only a comment."), 1);
    }
}
