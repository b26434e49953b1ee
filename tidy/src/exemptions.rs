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
pub const ALL: &[Exemption] = &[
    Exemption {
        rule: "manifests",
        path: "fuzz/Cargo.toml",
        what: "",
        reason: "no member of the workspace, so that a stable compiler never meets it: it can inherit nothing",
    },
    Exemption {
        rule: "sleeps",
        path: "node/src/runtime/worker_task.rs",
        what: "",
        reason: "the alarm of the worker's deadline: it is woken by its inbox or by time, whichever comes first",
    },
    Exemption {
        rule: "sleeps",
        path: "node/src/transport/snapshot/budget.rs",
        what: "",
        reason: "bytes that are beyond the budget wait for their time, and for nothing else",
    },
    Exemption {
        rule: "sleeps",
        path: "node/src/runtime/start.rs",
        what: "",
        reason: "what was promised before the start runs out with time, and with nothing else",
    },
    Exemption {
        rule: "sleeps",
        path: "daemon/src/lingering.rs",
        what: "",
        reason: "how long a client may take to close: the other event is its end, and it may never come",
    },
    Exemption {
        rule: "floors",
        path: "client/tests/sdk/examples.rs",
        what: "a module of another place: ../../examples/",
        reason: "the examples are run against a fake fleet, and cargo builds them apart from every test",
    },
    Exemption {
        rule: "sleeps",
        path: "bench/src/failover/",
        what: "",
        reason: "writes go on for a fixed time between two kills, a failed one pauses as a real client would, and the servers' \
                 moments can only be polled",
    },
    Exemption {
        rule: "sleeps",
        path: "bench/src/fleet/",
        what: "",
        reason: "waits for other processes to serve and to elect: polls them, and gives up with a deadline",
    },
    Exemption {
        rule: "sleeps",
        path: "bench/src/limits/echo.rs",
        what: "",
        reason: "the time itself is the event: a load lasts so long",
    },
    Exemption {
        rule: "sleeps",
        path: "bench/src/load.rs",
        what: "",
        reason: "the time itself is the event: a load lasts so long, and a refused client pauses as a real one would",
    },
    Exemption {
        rule: "sleeps",
        path: "bench/src/moving/",
        what: "",
        reason: "the time itself is the event: a stage lasts so long, a killed node stays down so long; what kvctl tells is polled",
    },
    Exemption {
        rule: "sleeps",
        path: "client/src/crew.rs",
        what: "",
        reason: "the backoff between two attempts: dispatch says until when, this is where the waiting is done",
    },
    Exemption {
        rule: "sleeps",
        path: "client/src/lanes.rs",
        what: "",
        reason: "the alarm of a lane: time itself is the event, that an operation is overdue; its answer is the other",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/src/demo/round.rs",
        what: "",
        reason: "the demo watches a fleet of other processes, whose elections it can only poll",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/src/local/fleet.rs",
        what: "",
        reason: "waits for other processes to be ready: polls them, and wakes at once when one ends",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/src/local/lifeline.rs",
        what: "",
        reason: "the last resort of a child whose parent died: grace for its own shutdown, then exit",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/src/verbs/dev.rs",
        what: "",
        reason: "the time itself is the event: a node that keeps dying is started again after a pause",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/src/verbs/load/mod.rs",
        what: "",
        reason: "the time itself is the event: until then, writes of a killed load may still be executed",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/src/verbs/shard_show.rs",
        what: "",
        reason: "replicas on other nodes reach one index in their own time; a few polls, then the truth",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/tests/deploy/compose.rs",
        what: "",
        reason: "the one place where the test of containers polls them, with a deadline",
    },
    Exemption {
        rule: "sleeps",
        path: "kvctl/tests/fleet/patience.rs",
        what: "",
        reason: "the one place where process tests poll other processes, with a deadline",
    },
    Exemption {
        rule: "sleeps",
        path: "node/src/api/cursor.rs",
        what: "",
        reason: "a pause before a retry that the other node asked for (retry_after_ms)",
    },
    Exemption {
        rule: "sleeps",
        path: "node/src/runtime/readers.rs",
        what: "",
        reason: "a pause before a failing disk is read again, on a thread that may wait",
    },
];

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
