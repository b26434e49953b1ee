//! Complaints about peers, at most one a second: a peer that has lost its mind must not fill the log, nor the disk with it.

use std::time::{Duration, Instant};

/// The shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often there was something to complain about, and when it was last said.
#[derive(Debug, Default)]
pub struct Complaints {
    said: Option<Instant>,
    unsaid: u64,
}

impl Complaints {
    /// Says it, unless something was said a moment ago. `say` is told how many complaints were passed over since.
    pub fn say(&mut self, say: impl FnOnce(u64)) {
        self.say_at(Instant::now(), say);
    }

    fn say_at(&mut self, now: Instant, say: impl FnOnce(u64)) {
        if self.said.is_some_and(|said| now < said + INTERVAL) {
            self.unsaid += 1;
            return;
        }
        self.said = Some(now);
        say(std::mem::take(&mut self.unsaid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_the_others_are_counted() {
        let (mut complaints, begin) = (Complaints::default(), Instant::now());
        let mut said = Vec::new();
        for ms in [0, 1, 500, 999, 1000, 1001, 5000] {
            complaints.say_at(begin + Duration::from_millis(ms), |others| said.push((ms, others)));
        }
        assert_eq!(said, [(0, 0), (1000, 3), (5000, 1)]);
    }
}
