//! The text that Prometheus reads, merged from the texts of many recorders.
//!
//! The format wants all series of a family together under one HELP and one TYPE line. Each recorder writes its own
//! families that way; here the same families of different recorders come together.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::families::Family;

/// The families of a scrape, by name.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    families: BTreeMap<String, Series>,
}

#[derive(Debug)]
struct Series {
    kind: String,
    lines: String,
}

impl Exposition {
    /// Takes in the text of one recorder.
    pub(super) fn add(&mut self, text: &str) {
        let mut series: Option<&mut Series> = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(declaration) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declaration.split_once(' ').unwrap_or((declaration, "untyped"));
                let entry = self.families.entry(name.to_string());
                series =
                    Some(entry.or_insert_with(|| Series { kind: kind.to_string(), lines: String::new() }));
            } else if let Some(series) = &mut series {
                series.lines.push_str(line);
                series.lines.push('\n');
            }
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, series) in &self.families {
            let help = Family::named(name).map_or("", |family| family.help);
            // Writing into a string cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", series.kind);
            text.push_str(&series.lines);
        }
        text
    }
}
