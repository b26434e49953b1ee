//! Sizes in bytes as a user writes them: `4194304`, `4096KiB`, `4MiB`, `1GiB`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// As a length in memory. Saturates where a machine's addresses are narrower than 64 bits.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("B", 0)];

impl FromStr for Bytes {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let unit = UNITS.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
        let (digits, shift) = unit.unwrap_or((text, 0));
        let count: u64 = digits.trim_end().parse().map_err(|_| SizeError)?;
        count.checked_mul(1 << shift).map(Self).ok_or(SizeError)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = [("GiB", 30), ("MiB", 20), ("KiB", 10)]
            .into_iter()
            .find(|(_, shift)| self.0 > 0 && self.0.is_multiple_of(1 << shift));
        match unit {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Text that is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of bytes, or one with KiB, MiB or GiB")]
pub struct SizeError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_as_they_are_printed() {
        for (text, bytes) in [("0", 0), ("17", 17), ("4KiB", 4096), ("1MiB", 1 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!("12B".parse(), Ok(Bytes(12)));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "-1", "4MB", "MiB", "1.5MiB", "99999999999GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?} was accepted");
        }
    }
}
