//! Neighbours of the inputs of a corpus, under a seed: what stable has in place of a fuzzer. The same seed makes the same
//! inputs.

/// Makes neighbours.
#[derive(Clone, Debug)]
pub struct Mutator {
    seed: u64,
}

/// Bytes that often stand at an end of something.
const ENDS: [u8; 8] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF, 0x10, 0x40];
/// Runs of bytes, as long at most.
const RUN_BYTES_MAX: u64 = 12;

impl Mutator {
    /// A mutator under a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A neighbour of one of these inputs: a few flips, runs, cuts, doublings and splices away.
    ///
    /// # Panics
    /// There are no inputs.
    #[must_use]
    pub fn neighbour(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        assert!(!inputs.is_empty(), "there is nothing to be a neighbour of");
        let mut bytes = inputs[self.below(inputs.len() as u64) as usize].clone();
        for _ in 0..=self.below(4) {
            self.mutate(&mut bytes, inputs);
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        if bytes.is_empty() {
            bytes.push(self.below(256) as u8);
            return;
        }
        let at = self.below(bytes.len() as u64) as usize;
        let length = (1 + self.below(RUN_BYTES_MAX) as usize).min(bytes.len() - at);
        match self.below(9) {
            0 | 1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at] = self.below(256) as u8,
            3 => {
                let end = ENDS[self.below(ENDS.len() as u64) as usize];
                bytes[at..at + length].fill(end);
            }
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..at + length)),
            6 => {
                let doubled = bytes[at..at + length].to_vec();
                bytes.splice(at..at, doubled);
            }
            7 => {
                let run: Vec<u8> = (0..length).map(|_| self.below(256) as u8).collect();
                bytes.splice(at..at, run);
            }
            _ => {
                let other = &inputs[self.below(inputs.len() as u64) as usize];
                let from = self.below(other.len() as u64 + 1) as usize;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }

    /// A number below `bound`: SplitMix64 (Steele, Lea and Flood 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
