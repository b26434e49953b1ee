//! The figures of a run as a part of a page: what stands between two marks is replaced, so that one command makes what the
//! documents say.

use std::fmt::Write;
use std::{fs, io, path::Path};

use crate::coverage::WANTED;
use crate::faults::FaultKind;
use crate::runs::Summary;
use crate::summary::quartiles;

const BEGIN: &str = "<!-- worlds -->";
const END: &str = "<!-- /worlds -->";

/// Writes the figures into a page.
///
/// # Errors
/// The page cannot be read or written, or has no marks.
pub fn write(page: &Path, summary: &Summary, jobs: usize) -> io::Result<()> {
    let text = fs::read_to_string(page)?;
    let text = replaced(&text, &markdown(summary, jobs))
        .ok_or_else(|| io::Error::other(format!("it has no {BEGIN} with {END} behind it")))?;
    fs::write(page, text)
}

fn replaced(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))
}

fn markdown(summary: &Summary, jobs: usize) -> String {
    let mut out = String::new();
    let seconds = summary.took.as_secs_f64().max(0.001);
    let mut row = |name: &str, value: String| {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "| {name} | {value} |");
    };
    row("of each world", "least · a quarter below · half · three quarters · most · mean".to_owned());
    row("---", "---".to_owned());
    for (name, each, unit) in [
        ("acknowledged operations", &summary.answered_each, ""),
        ("kinds of faults", &summary.kinds_each, ""),
        ("faults", &summary.faults_each, ""),
        ("terms led", &summary.terms_each, ""),
        ("virtual time", &summary.seconds_each, " s"),
    ] {
        let ([least, quarter, half, most_of, most], mean) = quartiles(each);
        row(name, format!("{least} · {quarter} · {half} · {most_of} · {most} · {mean:.1}{unit}"));
    }
    let worlds = summary.worlds;
    let shapes = summary.shapes.iter().map(|(shape, times)| format!("{times} of {shape}"));
    let profiles = summary.profiles.iter().map(|(profile, times)| format!("{times} {profile}"));
    let _ = write!(
        out,
        "\n{worlds} worlds ({}; {}), {} failed: {:.0} s of virtual time in {seconds:.0} s, {:.1} worlds per second on {jobs} threads; \
         {} operations acknowledged, {} surely not executed, {} unknown; {} terms led, {} turns.\n",
        shapes.collect::<Vec<_>>().join(", "),
        profiles.collect::<Vec<_>>().join(", "),
        summary.failures.len(),
        summary.virtual_us as f64 / 1e6,
        worlds as f64 / seconds,
        summary.answered,
        summary.not_executed,
        summary.unknown,
        summary.terms_led,
        summary.turns,
    );
    let faults = FaultKind::ALL
        .iter()
        .map(|kind| format!("{} {}", kind.name(), summary.faults.get(kind).copied().unwrap_or(0)));
    let _ = writeln!(out, "\nFaults: {}.", faults.collect::<Vec<_>>().join(", "));
    let seen = WANTED.iter().map(|what| format!("{what} {}", summary.coverage.of(what)));
    let _ = writeln!(out, "\nWhat must be seen: {}.", seen.collect::<Vec<_>>().join(", "));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("a\n{BEGIN}\nold\n{END}\nb");
        assert_eq!(replaced(&page, "new\n"), Some(format!("a\n{BEGIN}\n\nnew\n\n{END}\nb")));
        assert_eq!(replaced("no marks", "new"), None);
    }
}
