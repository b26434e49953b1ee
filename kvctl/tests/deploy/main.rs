//! What `deploy/` says, held against what the programs are: its flags by the programs' own parsers, its units and rules by the
//! tools that read them, its image and its compose file by a fleet of containers.
//!
//! Reading order: `texts` (the files), `tools` (other programs, and what is done where they are missing), `flags`, `checkers`;
//! then `images` (what the image is made of), `compose` (a fleet of containers), `containers` (its story).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout)]

mod checkers;
mod compose;
mod containers;
mod flags;
mod images;
mod texts;
mod tools;
