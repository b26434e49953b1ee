//! The registry: what it shows, what vanishes, what it costs while nobody looks.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use flotilla_daemon::metrics::{FAMILIES, Family, Kind, ProcessMetrics, Registry};

fn shard(number: u64) -> [(&'static str, String); 1] {
    [("shard", number.to_string())]
}

/// Reads a scrape as strictly as Prometheus would: each family once, HELP before TYPE before its series, no series twice.
fn series(text: &str) -> BTreeMap<String, f64> {
    let (mut families, mut series) = (BTreeSet::new(), BTreeMap::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let help = line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("{line:?} begins no family"));
        let (name, help) = help.split_once(' ').unwrap();
        assert_eq!(help, Family::named(name).expect("a declared family").help);
        assert!(families.insert(name.to_string()), "{name} comes twice");
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).expect("TYPE follows HELP");
        assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{name} is of kind {kind}");
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (left, value) = line.rsplit_once(' ').unwrap();
            let bare = left.split('{').next().unwrap();
            let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(
                allowed.iter().any(|suffix| bare == format!("{name}{suffix}")),
                "{line:?} is not of {name}"
            );
            assert!(series.insert(left.to_string(), value.parse().unwrap()).is_none(), "{left} comes twice");
        }
    }
    series
}

#[test]
fn families_of_all_scopes_come_together_and_vanish_with_them() {
    let registry = Registry::new();
    let (first, second) = (registry.scope(), registry.scope());
    first.gauge("kv_shard_term", &shard(1)).set(7);
    second.gauge("kv_shard_term", &shard(2)).set(9);
    first.counter("kv_shard_proposals_total", &shard(1)).increment(3);
    let commit = second.histogram("kv_shard_commit_seconds", &shard(2));
    [0.000_04, 0.003, 60.0].into_iter().for_each(|seconds| commit.record(seconds));
    let shown = series(&registry.render());
    assert_eq!(shown["kv_shard_term{shard=\"1\"}"], 7.0);
    assert_eq!(shown["kv_shard_term{shard=\"2\"}"], 9.0);
    assert_eq!(shown["kv_shard_proposals_total{shard=\"1\"}"], 3.0);
    let bucket =
        |bound: &str| shown[&format!("kv_shard_commit_seconds_bucket{{shard=\"2\",le=\"{bound}\"}}")];
    assert_eq!(
        (bucket("0.00005"), bucket("0.002"), bucket("0.005"), bucket("10"), bucket("+Inf")),
        (1.0, 1.0, 2.0, 2.0, 3.0)
    );
    assert_eq!(shown["kv_shard_commit_seconds_count{shard=\"2\"}"], 3.0);

    let kept = second.clone();
    drop(second);
    assert!(series(&registry.render()).contains_key("kv_shard_term{shard=\"2\"}"), "a clone keeps a scope");
    drop(kept);
    // Whoever still holds a handle harms nobody.
    commit.record(1.0);
    let left: Vec<String> = series(&registry.render()).into_keys().collect();
    assert_eq!(left, ["kv_shard_proposals_total{shard=\"1\"}", "kv_shard_term{shard=\"1\"}"]);
}

#[test]
fn one_name_with_one_set_of_labels_is_one_series() {
    let registry = Registry::new();
    let scope = registry.scope();
    scope.counter("kv_router_redirects_total", &[]).increment(1);
    scope.counter("kv_router_redirects_total", &[]).increment(2);
    assert_eq!(series(&registry.render())["kv_router_redirects_total"], 3.0);
}

#[test]
fn every_declared_family_can_be_shown() {
    let registry = Registry::new();
    let scope = registry.scope();
    for family in FAMILIES {
        let labels: Vec<(&'static str, String)> =
            family.labels.iter().map(|label| (*label, "a \"b\" \\ c\nd".to_string())).collect();
        match family.kind {
            Kind::Counter => scope.counter(family.name, &labels).increment(1),
            Kind::Gauge => scope.gauge(family.name, &labels).set(1.5),
            Kind::Histogram(_) => scope.histogram(family.name, &labels).record(0.5),
        }
    }
    let text = registry.render();
    let shown = series(&text);
    for family in FAMILIES {
        let found = shown.keys().any(|series| series.starts_with(family.name));
        assert!(found, "{} is not shown in\n{text}", family.name);
    }
}

#[test]
#[should_panic(expected = "no family is called kv_shard_moods")]
fn a_name_that_is_not_declared_is_a_bug() {
    let _ = Registry::new().scope().gauge("kv_shard_moods", &[]);
}

#[test]
#[should_panic(expected = "kv_shard_term has the labels [\"shard\"], not []")]
fn labels_that_are_not_declared_are_a_bug() {
    let _ = Registry::new().scope().gauge("kv_shard_term", &[]);
}

#[test]
fn a_process_says_what_it_is_and_how_much_it_takes() {
    let registry = Registry::new();
    let process = ProcessMetrics::new(&registry, "1.2.3", "abcdef");
    process.refresh();
    let shown = series(&registry.render());
    assert_eq!(shown["kv_build_info{version=\"1.2.3\",commit=\"abcdef\"}"], 1.0);
    assert!(shown["kv_process_uptime_seconds"] >= 0.0);
    assert!(shown["kv_process_resident_bytes"] > 1e6, "a test that runs takes more than a megabyte");
}
