//! Writes a value, reads it back, deletes it.
//!
//! `cargo run -p flotilla-client --example put_get -- 127.0.0.1:7400`; exits with 1 if anything is not as it should be.

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::time::Duration;

use flotilla_client::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned())).await
}

/// All of it, at this endpoint.
pub async fn run(endpoint: String) -> Result<(), Box<dyn Error>> {
    // Any node or router will do: it tells where the others are.
    let client = Client::builder([endpoint]).deadline(Duration::from_secs(5)).build().await?;

    let version = client.put("example:ship", "Bounty").await?;
    println!("put: version {version}");

    let value = client.get("example:ship").await?.ok_or("what was put is not there")?;
    println!("get: {} (version {})", value.bytes.escape_ascii(), value.version);
    if (value.bytes.as_ref(), value.version) != (b"Bounty".as_ref(), version) {
        return Err("got something else than what was put".into());
    }

    let existed = client.delete("example:ship").await?;
    println!("delete: it existed: {existed}");
    match client.get("example:ship").await? {
        None if existed => Ok(()),
        found => Err(format!("after the deletion: {found:?}").into()),
    }
}
