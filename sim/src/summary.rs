//! What many worlds showed, for people and as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::coverage::WANTED;
use crate::faults::FaultKind;
use crate::runs::Summary;

/// One line while it runs.
#[must_use]
pub fn line(summary: &Summary, seeds: u64) -> String {
    let seconds = summary.took.as_secs_f64().max(0.001);
    format!(
        "{} of {seeds} worlds, {:.1}/s, {:.0} s of virtual time, {} operations, {} faults, {} failed",
        summary.worlds,
        summary.worlds as f64 / seconds,
        summary.virtual_us as f64 / 1e6,
        summary.answered,
        summary.faults.values().sum::<u64>(),
        summary.failures.len(),
    )
}

/// All of it.
#[must_use]
pub fn text(summary: &Summary) -> String {
    let mut out = String::new();
    let mut tell = |text: String| out.push_str(&(text + "\n"));
    let seconds = summary.took.as_secs_f64().max(0.001);
    tell(format!(
        "{} worlds in {seconds:.1} s ({:.2} worlds/s), {:.0} s of virtual time ({:.0} times real time), {} turns",
        summary.worlds,
        summary.worlds as f64 / seconds,
        summary.virtual_us as f64 / 1e6,
        summary.virtual_us as f64 / 1e6 / seconds,
        summary.turns,
    ));
    tell(format!(
        "operations: {} answered, {} surely not executed, {} unknown; {} terms led",
        summary.answered, summary.not_executed, summary.unknown, summary.terms_led
    ));
    tell(format!("answered per world: {}", distribution(&summary.answered_each)));
    tell(format!("kinds of faults per world: {}", distribution(&summary.kinds_each)));
    let faults = FaultKind::ALL.iter().filter_map(|kind| Some((kind.name(), summary.faults.get(kind)?)));
    tell(format!("faults: {}", list(faults.map(|(name, times)| (name, *times)))));
    tell(format!("seen: {}", list(summary.coverage.all())));
    let missing = summary.coverage.missing();
    if !missing.is_empty() {
        tell(format!("never seen: {}", missing.join(", ")));
    }
    out.trim_end().to_owned()
}

fn list<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let mut out = String::new();
    for (name, times) in counts {
        let comma = if out.is_empty() { "" } else { ", " };
        // Writing into a string cannot fail.
        let _ = write!(out, "{comma}{name} {times}");
    }
    if out.is_empty() { "none".to_owned() } else { out }
}

fn distribution(each: &[u64]) -> String {
    let ([least, quarter, half, most_of, most], mean) = quartiles(each);
    format!("{least} | {quarter} | {half} | {most_of} | {most}, mean {mean:.1}")
}

/// Least, quartiles, greatest; and the mean.
pub(crate) fn quartiles(each: &[u64]) -> ([u64; 5], f64) {
    let mut sorted = each.to_vec();
    sorted.sort_unstable();
    let at =
        |percent: usize| sorted.get((sorted.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(0);
    let mean = sorted.iter().sum::<u64>() as f64 / sorted.len().max(1) as f64;
    ([0, 25, 50, 75, 100].map(at), mean)
}

/// All of it as one JSON document.
#[must_use]
pub fn json(summary: &Summary) -> Value {
    let counts = |counts: Vec<(&str, u64)>| -> Map<String, Value> {
        counts.into_iter().map(|(name, times)| (name.to_owned(), times.into())).collect()
    };
    let faults =
        FaultKind::ALL.iter().map(|kind| (kind.name(), summary.faults.get(kind).copied().unwrap_or(0)));
    let wanted = WANTED.iter().map(|what| (*what, summary.coverage.of(what)));
    json!({
        "worlds": summary.worlds,
        "seconds": summary.took.as_secs_f64(),
        "virtual_seconds": summary.virtual_us as f64 / 1e6,
        "turns": summary.turns,
        "answered": summary.answered,
        "not_executed": summary.not_executed,
        "unknown": summary.unknown,
        "terms_led": summary.terms_led,
        "faults": counts(faults.collect()),
        "wanted": counts(wanted.collect()),
        "seen": counts(summary.coverage.all().collect()),
        "failures": summary.failures,
    })
}
