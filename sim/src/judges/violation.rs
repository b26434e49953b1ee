//! A promise that was broken.

/// Which promise, and how. A judge throws it; the runner catches it, as it does the product's own assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Whose promise: the name of the judge.
    pub judge: &'static str,
    /// What was seen.
    pub what: String,
}

/// Ends the world: nothing after a broken promise means anything.
pub fn violated(judge: &'static str, what: String) -> ! {
    std::panic::panic_any(Violation { judge, what })
}

/// Throws unless it holds.
pub fn hold(holds: bool, judge: &'static str, what: impl FnOnce() -> String) {
    if !holds {
        violated(judge, what());
    }
}

/// For the tests of judges: what is thrown.
#[cfg(test)]
pub(super) fn thrown(act: impl FnOnce()) -> Option<Violation> {
    let thrown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).err()?;
    thrown.downcast::<Violation>().ok().map(|violation| *violation)
}

/// For the tests of judges: which one throws.
#[cfg(test)]
pub(super) fn broken(act: impl FnOnce()) -> Option<&'static str> {
    thrown(act).map(|violation| violation.judge)
}
