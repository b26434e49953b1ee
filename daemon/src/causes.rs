//! An error and all that caused it, in one line.

use std::error::Error;
use std::fmt;

/// Prints an error, then its causes, separated by colons. A cause whose words the line already ends with is left out.
#[derive(Clone, Copy, Debug)]
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !line.ends_with(&words) {
                line.push_str(": ");
                line.push_str(&words);
            }
            cause = error.source();
        }
        f.write_str(&line.replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("segment 3: cannot sync")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the log: {0}")]
    struct Transparent(#[source] Outer);

    #[test]
    fn causes_follow_and_none_is_said_twice() {
        let error = Transparent(Outer(std::io::Error::other("disk on fire")));
        assert_eq!(Causes(&error).to_string(), "the log: segment 3: cannot sync: disk on fire");
    }
}
