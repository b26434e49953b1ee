//! What the judges say.

use std::fmt;

/// What one judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is linearizable.
    Linearizable,
    /// It is not, and this shows it: text for people.
    NotLinearizable(String),
    /// It took too many steps to find out: a failure.
    Undecided {
        /// The keys.
        part: String,
        /// After so many steps.
        steps: u64,
    },
}

/// What both judges say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Who looks for an order.
    pub search: Verdict,
    /// Who believes the versions.
    pub replay: Verdict,
}

impl Judgement {
    /// What both say.
    pub(crate) fn both(shown: String) -> Self {
        let verdict = Verdict::NotLinearizable(shown);
        Self { search: verdict.clone(), replay: verdict }
    }

    /// Whether both say that it is linearizable.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.search == Verdict::Linearizable && self.replay == Verdict::Linearizable
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => write!(out, "linearizable"),
            Self::NotLinearizable(shown) => write!(out, "not linearizable: {}", shown.trim_end()),
            Self::Undecided { part, steps } => {
                write!(out, "undecided: {part} took more than {steps} steps")
            }
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.search == self.replay {
            return write!(out, "{}", self.search);
        }
        writeln!(out, "search: {}", self.search)?;
        write!(out, "replay: {}", self.replay)
    }
}
