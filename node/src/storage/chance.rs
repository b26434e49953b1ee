//! Random ids. Chance is an argument everywhere; this is where a running node gets it from.

/// A source of random 128-bit numbers.
pub trait Chance: Send {
    /// The next number.
    ///
    /// # Errors
    /// The operating system has none.
    fn draw(&mut self) -> std::io::Result<u128>;
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn draw(&mut self) -> std::io::Result<u128> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(u128::from_be_bytes(bytes))
    }
}

/// Numbers that a caller chose: tests and simulations.
impl<F: FnMut() -> u128 + Send> Chance for F {
    fn draw(&mut self) -> std::io::Result<u128> {
        Ok(self())
    }
}
