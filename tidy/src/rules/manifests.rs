//! Every package is under the same law.

use toml::{Table, Value};

use crate::workspace::{Finding, Workspace};

/// What every package takes from the workspace.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];

/// A package that forgets `[lints] workspace = true` has no `missing_docs` and may use `unsafe`; one that states its own
/// dependency versions brings a second copy of them. So lints, package data and versions come from the workspace.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, file, manifest) in workspace.manifests() {
        let mut fault = |what: String| findings.push(Finding::new(&file.path, 0, what));
        if !inherits(manifest.get("lints")) {
            fault("lints do not come from the workspace".to_owned());
        }
        let about = manifest.get("package");
        if about.and_then(|about| about.get("name")).and_then(Value::as_str)
            != Some(&format!("flotilla-{package}"))
        {
            fault(format!("the package is not called flotilla-{package}"));
        }
        for key in INHERITED.iter().filter(|key| !inherits(about.and_then(|about| about.get(**key)))) {
            fault(format!("package.{key} does not come from the workspace"));
        }
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let dependencies =
                manifest.get(section).and_then(Value::as_table).into_iter().flat_map(Table::iter);
            for (name, _) in dependencies.filter(|(_, value)| !inherits(Some(value))) {
                fault(format!("{section}.{name} does not come from the workspace"));
            }
        }
    }
    findings
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = 'flotilla-raft'\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n\
        [dependencies]\nbytes.workspace = true\n[lints]\nworkspace = true\n";

    fn faults(manifest: &str) -> usize {
        check(&Workspace::of(&[("raft/Cargo.toml", manifest)])).len()
    }

    #[test]
    fn a_package_with_a_law_of_its_own_is_found() {
        assert_eq!(faults(GOOD), 0);
        for removed in GOOD.lines().filter(|line| line.contains("workspace = true")) {
            let kept = GOOD.lines().filter(|line| *line != removed).map(|line| format!("{line}\n"));
            let expected = usize::from(!removed.starts_with("bytes"));
            assert_eq!(faults(&kept.collect::<String>()), expected, "without {removed}");
        }
        assert_eq!(faults(&GOOD.replace("bytes.workspace = true", "bytes = '1'")), 1);
        assert_eq!(faults(&GOOD.replace("flotilla-raft", "raft")), 1);
    }
}
