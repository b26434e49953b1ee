//! The rules, one file each.
//!
//! A rule is a function from the workspace to its findings. It knows nothing of exemptions; those are applied after.

use crate::workspace::{Finding, Workspace};

pub mod cfg_test;
pub mod deterministic_maps;
pub mod file_sizes;
pub mod floors;
pub mod function_sizes;
pub mod ignored_tests;
pub mod large_files;
pub mod links;
pub mod machine_paths;
pub mod manifests;
pub mod module_docs;
pub mod named_places;
pub mod pages;
pub mod pure_floors;
pub mod room_names;
pub mod runbooks;
pub mod sleeps;
pub mod unfinished_words;
pub mod unwraps;

/// A rule and its name, which exemptions refer to.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The name of the rule's module.
    pub name: &'static str,
    /// Finds what breaks the rule.
    pub check: fn(&Workspace) -> Vec<Finding>,
}

/// Every rule, by name.
pub const ALL: &[Rule] = &[
    Rule { name: "cfg_test", check: cfg_test::check },
    Rule { name: "deterministic_maps", check: deterministic_maps::check },
    Rule { name: "file_sizes", check: file_sizes::check },
    Rule { name: "floors", check: floors::check },
    Rule { name: "function_sizes", check: function_sizes::check },
    Rule { name: "ignored_tests", check: ignored_tests::check },
    Rule { name: "large_files", check: large_files::check },
    Rule { name: "links", check: links::check },
    Rule { name: "machine_paths", check: machine_paths::check },
    Rule { name: "manifests", check: manifests::check },
    Rule { name: "module_docs", check: module_docs::check },
    Rule { name: "named_places", check: named_places::check },
    Rule { name: "pages", check: pages::check },
    Rule { name: "pure_floors", check: pure_floors::check },
    Rule { name: "room_names", check: room_names::check },
    Rule { name: "runbooks", check: runbooks::check },
    Rule { name: "sleeps", check: sleeps::check },
    Rule { name: "unfinished_words", check: unfinished_words::check },
    Rule { name: "unwraps", check: unwraps::check },
];
