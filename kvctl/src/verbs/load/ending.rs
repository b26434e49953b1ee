//! What is said when a load ends, and how to go on where it did not come to its end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::console::Console;
use crate::duration::Span;
use crate::failure::Failure;
use crate::progress::{size, thousands};
use crate::verbs::load::voyage::{Ending, Tally};

/// What there is to say.
#[derive(Debug)]
pub struct Report {
    /// The input.
    pub name: String,
    /// What was done.
    pub tally: Tally,
    /// From the first write to the last answer.
    pub took: Duration,
    /// Whether a bookmark says where to go on.
    pub bookmarked: bool,
    /// How long the fleet was waited for.
    pub patience: Span,
}

impl Report {
    /// Says it: the result on stdout, everything else as the failure.
    ///
    /// # Errors
    /// Whatever did not come to its end; or stdout fails.
    pub fn end(&self, ending: &Ending, console: &mut Console) -> Result<(), Failure> {
        if console.json_wanted() {
            console.json(&self.document(*ending == Ending::Complete))?;
        } else if *ending == Ending::Complete {
            console.line(&self.line())?;
        }
        let Self { name, .. } = self;
        let loaded = self.loaded();
        let line = self.tally.next.line;
        match ending {
            Ending::Complete => Ok(()),
            Ending::Wrong(at, what) => Err(Failure::Usage(format!(
                "{name}: line {}, {what}; {loaded}: mend it and go on with --from-line {line}",
                at.line
            ))),
            Ending::Unreadable(why) => {
                Err(Failure::Usage(format!("FILE: cannot read {name}: {why}; {}", self.way_on())))
            }
            Ending::GaveUp { unknown, why } => {
                let doubt = if *unknown { ", some from there on perhaps" } else { "" };
                let said = format!(
                    "no write was acknowledged for {}: {why}; {loaded}{doubt}; {}",
                    self.patience,
                    self.way_on()
                );
                Err(if *unknown { Failure::Unknown(said) } else { Failure::Refused(said) })
            }
            Ending::Interrupted => {
                console.note(&format!("kvctl: interrupted; {loaded}; {}", self.way_on()));
                Err(Failure::Interrupted)
            }
        }
    }

    fn loaded(&self) -> String {
        match self.tally.next.line {
            1 => "nothing is surely loaded".to_string(),
            line => format!("everything before line {line} is loaded"),
        }
    }

    fn way_on(&self) -> String {
        let line = self.tally.next.line;
        if self.bookmarked {
            "the same command goes on there".to_string()
        } else {
            format!("the same input goes on with --from-line {line}")
        }
    }

    fn line(&self) -> String {
        let Tally { settled, empty, expired, repeated, .. } = self.tally;
        let records = settled.written + settled.superseded;
        let mut line = format!(
            "{} records loaded ({}) in {:.1} s: {} records/s",
            thousands(records),
            size(settled.bytes),
            self.took.as_secs_f64(),
            thousands(self.rate().round() as u64)
        );
        let more = [
            (settled.superseded, "superseded by a later line of their key"),
            (expired, "expired: their keys were deleted"),
            (repeated, "writes made again"),
            (empty, "empty lines"),
        ];
        for (count, what) in more.into_iter().filter(|(count, _)| *count > 0) {
            line.push_str(&format!("\n{} {what}", thousands(count)));
        }
        line
    }

    fn rate(&self) -> f64 {
        let Tally { settled, .. } = self.tally;
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { (settled.written + settled.superseded) as f64 / seconds } else { 0.0 }
    }

    fn document(&self, complete: bool) -> Value {
        let Tally { settled, empty, expired, repeated, next } = self.tally;
        json!({
            "file": self.name,
            "complete": complete,
            "next_line": next.line,
            "records": settled.written + settled.superseded,
            "written": settled.written,
            "superseded": settled.superseded,
            "expired": expired,
            "repeated": repeated,
            "empty_lines": empty,
            "bytes": settled.bytes,
            "seconds": self.took.as_secs_f64(),
            "records_per_second": self.rate(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Format;
    use crate::verbs::load::window::{Position, Settled};

    fn report(bookmarked: bool) -> Report {
        let settled = Settled { written: 900, superseded: 100, bytes: 2_048 };
        let next = Position { line: 1_001, offset: 2_048 };
        let tally = Tally { settled, empty: 0, expired: 0, repeated: 0, next };
        let took = Duration::from_millis(500);
        Report { name: "in".to_string(), tally, took, bookmarked, patience: "1m".parse().unwrap() }
    }

    fn ended(bookmarked: bool, ending: &Ending) -> (u8, String) {
        let mut console =
            Console::new(Format::Table, false, Box::new(std::io::sink()), Box::new(std::io::sink()));
        let failure = report(bookmarked).end(ending, &mut console).unwrap_err();
        (failure.code(), failure.to_string())
    }

    #[test]
    fn a_load_that_ended_early_says_how_to_go_on() {
        let wrong = Ending::Wrong(Position { line: 1_001, offset: 2_048 }, "column 3: odd".to_string());
        let said = "in: line 1001, column 3: odd; everything before line 1001 is loaded: mend it and go on with --from-line 1001";
        assert_eq!(ended(true, &wrong), (2, said.to_string()));
        let gave_up = |unknown| Ending::GaveUp { unknown, why: "no leader".to_string() };
        let said = "no write was acknowledged for 1m: no leader; everything before line 1001 is loaded; the same command goes on there";
        assert_eq!(ended(true, &gave_up(false)), (3, said.to_string()));
        let said = "no write was acknowledged for 1m: no leader; everything before line 1001 is loaded, some from there on perhaps; \
                    the same input goes on with --from-line 1001";
        assert_eq!(ended(false, &gave_up(true)), (4, said.to_string()));
        assert_eq!(ended(true, &Ending::Interrupted).0, 130);
        assert_eq!(ended(true, &Ending::Unreadable("gone".to_string())).0, 2);
    }

    #[test]
    fn a_load_that_is_complete_says_what_it_did() {
        let expected = "1,000 records loaded (2.0 KiB) in 0.5 s: 2,000 records/s\n100 superseded by a later line of their key";
        assert_eq!(report(true).line(), expected);
        let document = report(true).document(true);
        assert_eq!((&document["complete"], &document["records"]), (&json!(true), &json!(1_000)));
        assert_eq!(document["records_per_second"], 2_000.0);
    }
}
