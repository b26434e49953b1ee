//! What is let off, each with its reason.
//!
//! An entry is as narrow as its fault: one rule, one file (or a directory, ending in `/`), and a part of the message.
//! An entry that lets nothing off fails the test, so that the list shrinks when the code gets better.

use crate::rules::Rule;
use crate::workspace::Finding;

/// One thing that is let off.
#[derive(Clone, Copy, Debug)]
pub struct Exemption {
    /// The rule's name.
    pub rule: &'static str,
    /// The file, or a directory with a final `/`.
    pub path: &'static str,
    /// A part of the finding's message; "" lets off all findings of the rule there.
    pub what: &'static str,
    /// Why this is right here although the rule is right elsewhere.
    pub reason: &'static str,
}

/// All exemptions of the workspace.
pub const ALL: &[Exemption] = &[];

impl Exemption {
    /// Whether this entry lets a finding of a rule off.
    #[must_use]
    pub fn covers(&self, rule: &Rule, finding: &Finding) -> bool {
        let here = if self.path.ends_with('/') {
            finding.path.starts_with(self.path)
        } else {
            finding.path == self.path
        };
        self.rule == rule.name && here && finding.what.contains(self.what)
    }
}
