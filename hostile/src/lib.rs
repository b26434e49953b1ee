//! Bytes from strangers: one function for each door at which they become types.
//!
//! What: each door of a node takes bytes that it did not write itself, or that may have rotted since: segments of the log,
//! chunks of a snapshot, frames of peers, requests of clients, the configuration, the cluster map. [`DOORS`] has a function
//! for each. It goes through the production code and panics when that breaks one of its promises: it must not panic itself,
//! must not allocate what the bytes do not bear out, and what it accepts must be whole (it has one form, it can be written
//! again, the log that was opened opens again and says the same).
//!
//! Why a crate: the fuzzer (`fuzz/`, nightly) and plain tests on stable (`tests/`) call the very same functions. The corpora
//! lie in `fuzz/corpus/DOOR/`; [`mutation`] makes thousands of neighbours of them under a seed, the same ones every time.
//!
//! Some doors are guarded by a checksum, and a fuzzer would knock in vain. There the first byte of the input says whether
//! the checksums are put right before the bytes go in: a disk that lies does not damage at random only, and what protects
//! must not be the checksum alone.
//!
//! What it does not do: no network, no threads, no client. It asserts no particular error for an input; that is done beside
//! the code of each door.
//!
//! Reading order: this file, then any door; `input.rs` (pieces of an input), `mutation.rs`, `seeds.rs` (what the corpora
//! began with).

mod config;
mod input;
mod log_recovery;
mod map;
pub mod mutation;
mod peer;
mod request;
pub mod seeds;
mod snapshot;

use std::path::PathBuf;

/// A door and what may stand at it.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// Its name: of the fuzz target, and of the directory of its corpus.
    pub name: &'static str,
    /// Goes through it. Says whether the bytes were understood: a corpus of which nothing is understood tests nothing.
    ///
    /// # Panics
    /// When a promise is broken.
    pub enter: fn(&[u8]) -> bool,
    /// What its corpus began with: names and inputs, made by the code that writes such bytes.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
}

/// All doors.
pub const DOORS: &[Door] = &[
    Door { name: "log_recovery", enter: log_recovery::enter, seeds: seeds::log_recovery },
    Door { name: "snapshot", enter: snapshot::enter, seeds: seeds::snapshot },
    Door { name: "peer", enter: peer::enter, seeds: seeds::peer },
    Door { name: "request", enter: request::enter, seeds: seeds::request },
    Door { name: "config", enter: config::enter, seeds: seeds::config },
    Door { name: "map", enter: map::enter, seeds: seeds::map },
];

/// The door of this name.
///
/// # Panics
/// There is none.
#[must_use]
pub fn door(name: &str) -> &'static Door {
    let door = DOORS.iter().find(|door| door.name == name);
    door.unwrap_or_else(|| panic!("there is no door {name}"))
}

impl Door {
    /// Where its corpus lies.
    #[must_use]
    pub fn corpus_directory(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(self.name)
    }

    /// Its corpus, by name: what stands in the directory, in the order of the names.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn corpus(&self) -> std::io::Result<Vec<(String, Vec<u8>)>> {
        let mut inputs = Vec::new();
        for entry in std::fs::read_dir(self.corpus_directory())? {
            let entry = entry?;
            inputs.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
        }
        inputs.sort();
        Ok(inputs)
    }
}
