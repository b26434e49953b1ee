//! No door allocates what the bytes do not bear out. Alone in its process, because it measures the memory of the process; what
//! is allocated and never touched counts too.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use flotilla_hostile::DOORS;
use flotilla_hostile::mutation::Mutator;

const SEED: u64 = 2;
const NEIGHBOURS: usize = 1_000;
/// What the largest input of any corpus may become, what the allocator keeps, and the arena of a thread.
const GROWTH_BYTES_MAX: u64 = 256 << 20;

/// The most address space that this process ever had, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("a peak");
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_length_that_the_bytes_do_not_bear_out_allocates_nothing() {
    for door in DOORS {
        let inputs: Vec<Vec<u8>> = door.corpus().unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        let mut mutator = Mutator::new(SEED);
        for nth in 0..inputs.len() + NEIGHBOURS {
            let input = inputs.get(nth).cloned().unwrap_or_else(|| mutator.neighbour(&inputs));
            let before = peak_bytes();
            (door.enter)(&input);
            let grown = peak_bytes() - before;
            assert!(grown < GROWTH_BYTES_MAX, "{}: {} bytes of input took {grown}", door.name, input.len());
        }
    }
}
