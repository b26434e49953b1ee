//! One line on stderr that tells how a long work comes on. Only on a terminal: a file of messages has no use for it.
//!
//! The rate is that of the last seconds, so that it tells what happens now; the time that is left is reckoned from it.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is drawn.
pub const EVERY: Duration = Duration::from_millis(200);

/// The rate is that of so much time.
const RATE_OF: Duration = Duration::from_secs(5);

/// Without progress for so long, the line says so.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The bar's own width, when there is room.
const BAR: usize = 24;

/// Back to the first column, and everything there erased.
pub const ERASE: &str = "\r\x1b[2K";

/// The terminal itself cuts what is too long for it, and so needs not be asked for its width …
pub const CUT: &str = "\x1b[?7l";
/// … then it wraps lines again.
pub const WRAP: &str = "\x1b[?7h";

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Records.
    pub records: u64,
    /// Bytes of the input or output.
    pub bytes: u64,
}

/// The line.
#[derive(Debug)]
pub struct Progress {
    what: String,
    bytes_total: Option<u64>,
    terminal: bool,
    drawn: Option<Instant>,
    seen: Samples,
}

impl Progress {
    /// Draws to stderr if it is a terminal. `bytes_total`: where it ends, if that is known.
    #[must_use]
    pub fn new(what: &str, bytes_total: Option<u64>) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { what: what.to_string(), bytes_total, terminal, drawn: None, seen: Samples::default() }
    }

    /// Draws nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { terminal: false, ..Self::new("", None) }
    }

    /// Draws it, if there is a terminal and it is time.
    pub fn draw(&mut self, done: Done) {
        let now = Instant::now();
        if !self.terminal || self.drawn.is_some_and(|drawn| now - drawn < EVERY) {
            return;
        }
        self.drawn = Some(now);
        self.seen.add(now, done);
        let picture = Picture {
            what: &self.what,
            done,
            bytes_total: self.bytes_total,
            rate: self.seen.rate(),
            stalled: self.seen.stalled(now),
        };
        // A terminal that cannot be written to is no reason to stop.
        let _ = write!(io::stderr(), "{ERASE}{CUT}{}{WRAP}", picture.line());
    }

    /// Erases it: the next message begins on an empty line.
    pub fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "{ERASE}");
        }
    }
}

/// What was seen in the last seconds.
#[derive(Debug, Default)]
struct Samples {
    samples: VecDeque<(Instant, Done)>,
    /// When it last came on.
    moved: Option<Instant>,
}

impl Samples {
    fn add(&mut self, now: Instant, done: Done) {
        if self.samples.back().is_none_or(|(_, last)| *last != done) {
            self.moved = Some(now);
        }
        self.samples.push_back((now, done));
        while self.samples.len() > 2 && now - self.samples[0].0 > RATE_OF {
            self.samples.pop_front();
        }
    }

    fn stalled(&self, now: Instant) -> Option<Duration> {
        self.moved.map(|moved| now - moved).filter(|since| *since >= STALLED_AFTER)
    }

    fn rate(&self) -> Rate {
        let (Some((begin, first)), Some((end, last))) = (self.samples.front(), self.samples.back()) else {
            return Rate::default();
        };
        let seconds = (*end - *begin).as_secs_f64();
        let each = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Rate { records: each(last.records - first.records), bytes: each(last.bytes - first.bytes) }
    }
}

/// How fast, each second.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    records: f64,
    bytes: f64,
}

/// Everything that the line shows.
#[derive(Clone, Copy, Debug)]
struct Picture<'a> {
    what: &'a str,
    done: Done,
    bytes_total: Option<u64>,
    rate: Rate,
    stalled: Option<Duration>,
}

impl Picture<'_> {
    fn line(&self) -> String {
        let mut parts = vec![self.what.to_string()];
        if let Some(total) = self.bytes_total {
            let part = if total == 0 { 1.0 } else { self.done.bytes as f64 / total as f64 };
            parts.push(bar(part));
            parts.push(format!("{:3.0}%", (part * 100.0).floor()));
        }
        parts.push(format!("{} records", thousands(self.done.records)));
        parts.push(match self.stalled {
            Some(since) => format!("no answer for {}", clock(since.as_secs())),
            None => format!("{}/s", thousands(self.rate.records.round() as u64)),
        });
        parts.push(match self.bytes_total {
            Some(total) => format!("{} of {}", size(self.done.bytes), size(total)),
            None => size(self.done.bytes),
        });
        if let (Some(total), None) = (self.bytes_total, self.stalled) {
            let left = total.saturating_sub(self.done.bytes) as f64 / self.rate.bytes;
            // Before there is a rate, nobody knows.
            parts.push(if left.is_finite() {
                format!("ETA {}", clock(left.ceil() as u64))
            } else {
                "ETA -".to_string()
            });
        }
        parts.join("  ")
    }
}

/// A part of 1 as a bar.
#[must_use]
pub fn bar(part: f64) -> String {
    let full = ((part * BAR as f64) as usize).min(BAR);
    let head = if full < BAR { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat((BAR - full).saturating_sub(1)))
}

/// A number in groups of three digits.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Bytes in the unit that a person would choose.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(4);
    format!(
        "{:.1} {}",
        bytes as f64 / f64::from(1_u32 << (10 * (power - 1))) / 1_024.0,
        UNITS[power as usize - 1]
    )
}

/// Hours, minutes and seconds.
#[must_use]
pub fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(bytes_total: Option<u64>) -> Picture<'static> {
        let done = Done { records: 27_412, bytes: 22 << 20 };
        let rate = Rate { records: 18_204.3, bytes: f64::from(2 << 20) };
        Picture { what: "in.jsonl", done, bytes_total, rate, stalled: None }
    }

    #[test]
    fn the_line_tells_how_far_how_fast_and_how_long() {
        let expected = "in.jsonl  [==========>             ]   44%  27,412 records  18,204/s  22.0 MiB of 50.0 MiB  ETA 0:14";
        assert_eq!(picture(Some(50 << 20)).line(), expected);
        assert_eq!(picture(None).line(), "in.jsonl  27,412 records  18,204/s  22.0 MiB");
        let done = Picture { done: Done { records: 1, bytes: 50 << 20 }, ..picture(Some(50 << 20)) };
        assert!(done.line().starts_with("in.jsonl  [========================]  100%  1 records"));
        let empty = Picture { done: Done::default(), rate: Rate::default(), ..picture(Some(0)) };
        assert!(empty.line().ends_with("ETA -"), "{}", empty.line());
    }

    #[test]
    fn a_standstill_is_said_instead_of_a_guess() {
        let stalled = Picture { stalled: Some(Duration::from_secs(75)), ..picture(Some(50 << 20)) };
        assert!(stalled.line().ends_with("27,412 records  no answer for 1:15  22.0 MiB of 50.0 MiB"));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut samples, begin) = (Samples::default(), Instant::now());
        let at = |second| begin + Duration::from_secs(second);
        for second in 0..20 {
            samples.add(at(second), Done { records: second * if second < 10 { 10 } else { 100 }, bytes: 0 });
        }
        assert_eq!(samples.rate().records.round(), 100.0);
        assert!(samples.samples.len() < 10);
        assert_eq!(samples.stalled(at(20)), None);
        samples.add(at(22), samples.samples[samples.samples.len() - 1].1);
        assert_eq!(samples.stalled(at(22)), Some(Duration::from_secs(3)));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        let sizes = [0, 1_023, 1_024, 1_536, 5 << 30, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB", "16777216.0 TiB"]);
        assert_eq!([0, 61, 3_661].map(clock), ["0:00", "1:01", "1:01:01"]);
    }
}
