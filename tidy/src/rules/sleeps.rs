//! Nobody sleeps where an event can be awaited.

use crate::code;
use crate::workspace::{Finding, Workspace};

const SLEEPS: &[&str] = &["sleep", "sleep_until", "sleep_ms"];
const CLOCKS: &[&str] = &["thread", "time", "tokio"];

/// A sleep guesses how long something takes. It is too long on a fast machine and too short on a slow one, and in a test it
/// is the first cause of a verdict that depends on the weather. Wait for the event, with a deadline; where time itself is
/// the event (a pause between retries, a poll of another process) the place is listed with the exemptions.
#[must_use]
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in workspace.rust() {
        for seen in code::mentions(&file.syntax()) {
            let Some(path) = seen.path() else { continue };
            let [.., clock, sleep] = path[..] else { continue };
            if SLEEPS.contains(&sleep) && CLOCKS.contains(&clock) {
                findings.push(Finding::new(&file.path, seen.line, path.join("::")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_found_however_it_is_called() {
        let faults = |text| check(&Workspace::of(&[("e2e/tests/kill.rs", text)])).len();
        assert_eq!(faults("fn f() { std::thread::sleep(second) }"), 1);
        assert_eq!(faults("use tokio::time::{sleep, timeout};"), 1);
        assert_eq!(faults("async fn f() { tokio::select! { _ = time::sleep_until(then) => {} } }"), 1);
        assert_eq!(faults("use tokio::time::timeout; fn f(cat: Cat) { cat.sleep() }"), 0);
    }
}
