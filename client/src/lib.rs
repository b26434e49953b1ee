//! work in progress
pub mod dispatch;
mod error;
pub use error::Error;
