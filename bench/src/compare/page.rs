//! Pages and plots of results, as files.

use std::path::Path;

use super::results::Results;
use super::schedule::Address;
use super::spread::Spread;
use super::suite::{Panel, Suite};
use super::{Load, Plan};
use crate::fleet::Kind;
use crate::machine::{self, Machine};
use crate::plot::{Line, Mark, Plot};

/// Writes a page and its plots for every suite that was measured.
pub(super) fn write(out: &Path, plan: &Plan, results: &Results, machine: &Machine) -> Result<(), String> {
    let broken = |error: std::io::Error| format!("--out {}: {error}", out.display());
    std::fs::create_dir_all(out).map_err(broken)?;
    let head = Head::of(plan, machine);
    for suite in Suite::PAGES {
        let panels: Vec<(usize, &Panel)> =
            plan.panels.iter().enumerate().filter(|(_, panel)| panel.suite == suite).collect();
        if panels.is_empty() {
            continue;
        }
        for (at, panel) in &panels {
            let file = out.join(format!("{}.svg", panel.id));
            std::fs::write(file, plot(*at, panel, results, plan.times.rounds).svg()).map_err(broken)?;
        }
        let file = out.join(format!("{}.md", suite.name()));
        std::fs::write(&file, page(suite, &panels, results, &head)).map_err(broken)?;
        machine::say(&format!("wrote {}", file.display()));
    }
    Ok(())
}

/// What stands at the top of every page.
#[derive(Clone, Debug)]
struct Head {
    note: Option<String>,
    machine: Machine,
    versions: Vec<String>,
    load: Load,
    rounds: u32,
    seconds: f64,
    warm_up: f64,
    budget: Option<f64>,
}

impl Head {
    fn of(plan: &Plan, machine: &Machine) -> Self {
        let used = |kind: &Kind| {
            plan.has(*kind).is_ok()
                && plan
                    .panels
                    .iter()
                    .flat_map(|it| &it.series)
                    .flat_map(|it| &it.points)
                    .any(|it| it.setup.kind() == *kind)
        };
        let kinds = [Kind::Flotilla, Kind::Etcd, Kind::Redis].into_iter().filter(used);
        Self {
            note: plan.note.clone(),
            machine: machine.clone(),
            versions: kinds.filter_map(|kind| plan.programs.version(kind)).collect(),
            load: plan.load,
            rounds: plan.times.rounds,
            seconds: plan.times.duration.as_secs_f64(),
            warm_up: plan.times.warm_up.as_secs_f64(),
            budget: plan.times.budget.map(|budget| budget.as_secs_f64()),
        }
    }

    fn text(&self, suite: Suite) -> String {
        let Self { note, machine, versions, load, rounds, seconds, warm_up, budget } = self;
        let note = note.as_ref().map(|note| format!("> {note}\n\n")).unwrap_or_default();
        let shorter = budget
            .map(|budget| format!(", shorter where the whole would not have fitted into {budget} s"))
            .unwrap_or_default();
        format!(
            "# {}\n\n{note}Made by `kvbench compare {}` on {}: {}, each measurement {seconds} s after \
             {warm_up} s of warm-up{shorter}. {} keys of 16 B, values of {} B, at most {} connections. Median, with the \
             least and the greatest round in parentheses. What else that means: [the method](README.md).\n\n\
             Machine: {}; load average at the beginning {}. Versions: {}.\n",
            suite.title(),
            suite.name(),
            machine.date,
            counted(*rounds, "round"),
            load.keys,
            load.value_bytes,
            load.connections,
            machine.words,
            machine.load,
            versions.join("; "),
        )
    }
}

fn page(suite: Suite, panels: &[(usize, &Panel)], results: &Results, head: &Head) -> String {
    let mut text = head.text(suite);
    for (at, panel) in panels {
        let heading = if panels.len() > 1 { format!("\n## {}\n", panel.title) } else { String::new() };
        text += &format!("{heading}\n![{}]({}.svg)\n", panel.title, panel.id);
        text += &table("Operations per second", *at, panel, |address| results.rate(address).map(rate));
        text += &times(*at, panel, results);
        let micros = |cpu: Spread| format!("{:.1}", cpu.median);
        text += &table("CPU of all servers per operation, in µs", *at, panel, |address| {
            results.cpu(address).map(micros)
        });
        text += &table("Latency, p50 / p99 in ms", *at, panel, |address| {
            let half = results.latency(address, |latency| latency.p50_us)?.median;
            let most = results.latency(address, |latency| latency.p99_us)?.median;
            Some(format!("{} / {}", millis(half), millis(most)))
        });
        text += &failures(*at, panel, results);
    }
    text
}

/// One row for each point of the axis, one column for each series that was measured.
fn table(title: &str, at: usize, panel: &Panel, cell: impl Fn(Address) -> Option<String>) -> String {
    let columns: Vec<usize> = (0..panel.series.len())
        .filter(|series| {
            (0..panel.series[*series].points.len()).any(|point| cell((at, *series, point)).is_some())
        })
        .collect();
    let Some(longest) = panel.series.iter().map(|series| series.points.len()).max() else {
        return String::new();
    };
    let labels: Vec<&str> = columns.iter().map(|series| panel.series[*series].label).collect();
    if labels.is_empty() {
        return String::new();
    }
    let mut text = format!("\n**{title}**\n\n| {} | {} |\n", panel.axis, labels.join(" | "));
    text += &format!("| ---: |{}\n", " ---: |".repeat(columns.len()));
    for point in 0..longest {
        let x = panel.series.iter().find_map(|series| series.points.get(point)).map_or(0, |point| point.x);
        let cells: Vec<String> = columns
            .iter()
            .map(|series| cell((at, *series, point)).unwrap_or_else(|| "–".to_owned()))
            .collect();
        text += &format!("| {} | {} |\n", thousands(f64::from(x)), cells.join(" | "));
    }
    text
}

/// How many times the operations of etcd, where it is among the series.
fn times(at: usize, panel: &Panel, results: &Results) -> String {
    let Some(theirs) = panel.series.iter().position(|series| series.label.starts_with("etcd")) else {
        return String::new();
    };
    table("Times etcd", at, panel, |(panel, series, point)| {
        let (own, etcd) = (results.rate((panel, series, point))?, results.rate((panel, theirs, point))?);
        (series != theirs).then(|| format!("{:.1}", own.median / etcd.median))
    })
}

fn failures(at: usize, panel: &Panel, results: &Results) -> String {
    let mut text = String::new();
    for (series_at, series) in panel.series.iter().enumerate() {
        for (point_at, point) in series.points.iter().enumerate() {
            let (count, first) = results.failures((at, series_at, point_at));
            if count > 0 {
                let (label, axis, first) = (series.label, panel.axis, first.unwrap_or("no reason"));
                text += &format!(
                    "\n{label}, {} {axis}: {count} operations failed (the first: {first}).\n",
                    point.x
                );
            }
        }
    }
    text
}

fn plot(at: usize, panel: &Panel, results: &Results, rounds: u32) -> Plot {
    let lines = panel.series.iter().enumerate().map(|(series_at, series)| {
        let marks = series.points.iter().enumerate().filter_map(|(point_at, point)| {
            let rate = results.rate((at, series_at, point_at))?;
            Some(Mark { x: point.x, y: rate.median, least: rate.min, most: rate.max })
        });
        Line { label: series.label.to_owned(), hue: series.hue, marks: marks.collect() }
    });
    Plot {
        title: panel.title.to_owned(),
        subtitle: format!(
            "operations per second, median of {}; bars from the least to the greatest",
            counted(rounds, "round")
        ),
        axis: panel.axis.to_owned(),
        lines: lines.filter(|line| !line.marks.is_empty()).collect(),
    }
}

fn rate(rate: Spread) -> String {
    format!("{} ({}–{})", thousands(rate.median), thousands(rate.min), thousands(rate.max))
}

/// `12,345`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 round`, `3 rounds`.
fn counted(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Three significant digits.
fn millis(micros: f64) -> String {
    let millis = micros / 1000.0;
    match millis {
        ..10.0 => format!("{millis:.2}"),
        10.0..100.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::samples::report;
    use crate::compare::suite::Scale;

    fn head() -> Head {
        Head {
            note: Some("Preliminary.".to_owned()),
            machine: Machine {
                words: "2 processors".to_owned(),
                load: "0.10".to_owned(),
                date: "2026-01-01".to_owned(),
                in_memory: false,
            },
            versions: vec!["kvctl 0.1.0".to_owned(), "etcd Version: 3.4.23".to_owned()],
            load: Load { keys: 10_000, value_bytes: 256, connections: 3, seed: 1 },
            rounds: 3,
            seconds: 4.0,
            warm_up: 1.0,
            budget: None,
        }
    }

    #[test]
    fn a_page_is_written_as_expected() {
        let panels = Suite::Puts.panels(Scale::Quick);
        let mut results = Results::default();
        // Pipelined and etcd, the rest was left out; 16 clients of etcd failed altogether.
        for (series, rates) in [(0, [1_000.0, 50_000.0]), (3, [400.0, 5_000.0])] {
            for (point, rate) in rates.into_iter().enumerate().take(if series == 3 { 1 } else { 2 }) {
                for part in [0.9, 1.2, 1.0] {
                    results.add((0, series, point), report(rate * part));
                }
            }
        }
        let failed =
            crate::report::Report { unknown: 7, first_failure: Some("late".to_owned()), ..report(1.0) };
        results.add((0, 2, 0), failed);
        let expected = "\
# Puts

> Preliminary.

Made by `kvbench compare puts` on 2026-01-01: 3 rounds, each measurement 4 s after 1 s of warm-up. 10000 keys of 16 B, values of 256 B, at most 3 connections. Median, with the least and the greatest round in parentheses. What else that means: [the method](README.md).

Machine: 2 processors; load average at the beginning 0.10. Versions: kvctl 0.1.0; etcd Version: 3.4.23.

![Puts](puts.svg)

**Operations per second**

| clients | flotilla, pipelined | flotilla, unary | etcd |
| ---: | ---: | ---: | ---: |
| 1 | 1,000 (900–1,200) | 1 (1–1) | 400 (360–480) |
| 16 | 50,000 (45,000–60,000) | – | – |

**Times etcd**

| clients | flotilla, pipelined | flotilla, unary |
| ---: | ---: | ---: |
| 1 | 2.5 | 0.0 |
| 16 | – | – |

**CPU of all servers per operation, in µs**

| clients | flotilla, pipelined | flotilla, unary | etcd |
| ---: | ---: | ---: | ---: |
| 1 | 1000.0 | 1000000.0 | 2500.0 |
| 16 | 20.0 | – | – |

**Latency, p50 / p99 in ms**

| clients | flotilla, pipelined | flotilla, unary | etcd |
| ---: | ---: | ---: | ---: |
| 1 | 0.85 / 12.3 | 0.85 / 12.3 | 0.85 / 12.3 |
| 16 | 0.85 / 12.3 | – | – |

flotilla, unary, 1 clients: 7 operations failed (the first: late).
";
        let panels: Vec<(usize, &Panel)> = panels.iter().enumerate().collect();
        assert_eq!(page(Suite::Puts, &panels, &results, &head()), expected);
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([1, 3].map(|number| counted(number, "round")), ["1 round", "3 rounds"]);
        assert_eq!([0.4, 999.0, 1_000.0, 1_234_567.0].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([90.0, 9_990.0, 12_345.0, 123_456.0].map(millis), ["0.09", "9.99", "12.3", "123"]);
    }
}
