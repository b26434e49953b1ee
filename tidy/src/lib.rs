//! The rules of the house, as a test.
//!
//! Review forgets; a test does not. This crate reads the whole workspace as text (Rust through `syn`, manifests through
//! `toml`) and checks what the compiler and clippy cannot see: which crate may import which, how long files and
//! functions may grow, what the deterministic floors may never call, and that the documents keep up with the code.
//!
//! Each rule is one file under [`rules`], says there why it exists, and carries a test that shows how it fails.
//! [`exemptions`] lists what is let off, each entry with its reason; an entry that lets nothing off is itself an error.
//!
//! Reading order: [`workspace`] (what is read), [`code`] (what is seen in a Rust file), [`rules`], [`exemptions`].
//!
//! What this crate does not do: it resolves no names and expands no macros. A determined author can fool it; a tired
//! one cannot.

pub mod code;
pub mod exemptions;
pub mod rules;
pub mod workspace;
