//! The workspace keeps the rules of the house: one test per rule, and two that keep the list itself honest.
#![allow(missing_docs, clippy::expect_used)]

use flotilla_tidy::exemptions;
use flotilla_tidy::rules;
use flotilla_tidy::workspace::Workspace;

fn holds(name: &str) {
    let rule = rules::ALL.iter().find(|rule| rule.name == name).expect("a rule of this name");
    let workspace = Workspace::read().expect("the tree is readable");
    let findings: Vec<_> = (rule.check)(&workspace)
        .into_iter()
        .filter(|finding| !exemptions::ALL.iter().any(|exemption| exemption.covers(rule, finding)))
        .map(|finding| finding.to_string())
        .collect();
    assert!(findings.is_empty(), "{} broken {} times:\n{}", name, findings.len(), findings.join("\n"));
}

macro_rules! one_test_for_each {
    ($($rule:ident)*) => {
        $(#[test] fn $rule() { holds(stringify!($rule)); })*

        #[test]
        fn every_rule_is_tested() {
            let listed: Vec<_> = rules::ALL.iter().map(|rule| rule.name).collect();
            assert_eq!(listed, [$(stringify!($rule)),*]);
        }
    };
}

one_test_for_each! {
    cfg_test deterministic_maps file_sizes floors function_sizes ignored_tests large_files links machine_paths
    manifests module_docs named_places pages pure_floors room_names runbooks sleeps unfinished_words unwraps
}

#[test]
fn every_exemption_is_needed_and_says_why() {
    let workspace = Workspace::read().expect("the tree is readable");
    let findings: Vec<_> = rules::ALL
        .iter()
        .flat_map(|rule| (rule.check)(&workspace).into_iter().map(move |it| (rule, it)))
        .collect();
    for exemption in exemptions::ALL {
        let used = findings.iter().any(|(rule, finding)| exemption.covers(rule, finding));
        assert!(exemption.reason.len() > 20, "{exemption:?} gives no reason");
        assert!(used, "{exemption:?} lets nothing off: remove it");
    }
}
