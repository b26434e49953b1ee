//! Lengths of time as a user writes them: `250ms`, `5s`, `2m`, `1h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time with a unit; at least one millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// As the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// In milliseconds.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Units and how many milliseconds each has. `ms` stands before `s` and `m`, which end it too.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let (digits, unit_ms) =
            UNITS.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, *ms))).ok_or(SpanError)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SpanError);
        }
        let count: u64 = digits.parse().map_err(|_| SpanError)?;
        match count.checked_mul(unit_ms) {
            None | Some(0) => Err(SpanError),
            Some(ms) => Ok(Self(Duration::from_millis(ms))),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_ms();
        let (unit, unit_ms) =
            UNITS.iter().rev().find(|(_, unit_ms)| ms.is_multiple_of(*unit_ms)).unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", ms / unit_ms)
    }
}

/// Text that is no length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a length of time such as 250ms, 5s, 2m, 1h or 7d")]
pub struct SpanError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_back_as_they_are_printed() {
        for (text, ms) in
            [("250ms", 250), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.as_ms(), ms);
            assert_eq!(span.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "+1s",
            "1.5s",
            "5 s",
            "5w",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(text.parse::<Span>(), Err(SpanError), "{text:?}");
        }
    }
}
