//! Which operations a load is made of.

use std::fmt;
use std::str::FromStr;

use rand_core::Rng;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    /// Write a key that is there.
    Update,
    /// Write a key that is not.
    Insert,
    /// Read a key and write it.
    Change,
    Scan,
}

/// Parts in a hundred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    name: String,
    parts: Vec<(u64, Action)>,
    /// Reads prefer what was inserted last.
    pub(crate) latest: bool,
}

/// The core workloads of YCSB (Cooper et al., "Benchmarking cloud serving systems with YCSB", 2010).
const YCSB: [(&str, &[(u64, Action)]); 6] = [
    ("a", &[(50, Action::Read), (50, Action::Update)]),
    ("b", &[(95, Action::Read), (5, Action::Update)]),
    ("c", &[(100, Action::Read)]),
    ("d", &[(95, Action::Read), (5, Action::Insert)]),
    ("e", &[(95, Action::Scan), (5, Action::Insert)]),
    ("f", &[(50, Action::Read), (50, Action::Change)]),
];

impl Mix {
    pub(crate) fn draw(&self, chance: &mut impl Rng) -> Action {
        let mut point = chance.next_u64() % 100;
        for (part, action) in &self.parts {
            if point < *part {
                return *action;
            }
            point -= part;
        }
        Action::Read
    }

    /// Whether it asks for ordered scans, which not every target has.
    pub(crate) fn scans(&self) -> bool {
        self.parts.iter().any(|(_, action)| *action == Action::Scan)
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        let made =
            |parts: &[(u64, Action)], latest| Self { name: name.clone(), parts: parts.to_vec(), latest };
        let ycsb = name.strip_prefix("ycsb-").unwrap_or(&name);
        if let Some((letter, parts)) = YCSB.iter().find(|(letter, _)| *letter == ycsb) {
            return Ok(Self { name: format!("ycsb-{letter}"), ..made(parts, *letter == "d") });
        }
        match name.as_str() {
            "put" => return Ok(made(&[(100, Action::Update)], false)),
            "get" => return Ok(made(&[(100, Action::Read)], false)),
            _ => {}
        }
        let shares = name.split_once('/').and_then(|(reads, writes)| {
            let (reads, writes): (u64, u64) = (reads.parse().ok()?, writes.parse().ok()?);
            (reads.checked_add(writes)? == 100).then_some([(reads, Action::Read), (writes, Action::Update)])
        });
        match shares {
            Some(parts) => Ok(made(&parts, false)),
            None => Err("one of put, get, READS/WRITES (as 80/20), ycsb-a to ycsb-f".to_owned()),
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn shares(mix: &str) -> Vec<(Action, u64)> {
        let mix: Mix = mix.parse().unwrap();
        let mut chance = Pcg64Mcg::seed_from_u64(7);
        let drawn: Vec<Action> = (0..10_000).map(|_| mix.draw(&mut chance)).collect();
        let all = [Action::Read, Action::Update, Action::Insert, Action::Change, Action::Scan];
        all.into_iter()
            .map(|action| (action, drawn.iter().filter(|it| **it == action).count() as u64 / 100))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    #[test]
    fn a_mix_draws_what_its_name_says() {
        assert_eq!(shares("put"), [(Action::Update, 100)]);
        assert_eq!(shares("ycsb-c"), [(Action::Read, 100)]);
        for (mix, least) in [("80/20", 78), ("YCSB-B", 93), ("b", 93), ("ycsb-d", 93), ("ycsb-e", 93)] {
            let drawn = shares(mix);
            let greatest = drawn.iter().map(|(_, share)| *share).max();
            assert!(greatest >= Some(least) && drawn.len() == 2, "{mix}: {drawn:?}");
        }
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for text in ["", "80/30", "80/20/0", "ycsb-g", "puts!", "x/y"] {
            assert!(text.parse::<Mix>().is_err(), "{text:?}");
        }
    }
}
