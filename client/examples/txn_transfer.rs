//! Moves money between two accounts in one transaction: either both change or neither does.
//!
//! The keys share the hash tag `{example:bank}`, so they are of one slot, as all keys of a transaction must be.
//!
//! `cargo run -p flotilla-client --example txn_transfer -- 127.0.0.1:7400`; exits with 1 if money was made or lost.

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;

use flotilla_client::{Client, Txn, TxnAnswer, Version};
use futures_util::future::try_join_all;

const ANNE: &str = "{example:bank}:anne";
const MARY: &str = "{example:bank}:mary";
const TRANSFERS: u64 = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned())).await
}

/// All of it, at this endpoint.
pub async fn run(endpoint: String) -> Result<(), Box<dyn Error>> {
    let client = Client::builder([endpoint]).build().await?;
    client.txn(Txn::new().put(ANNE, "100").put(MARY, "0")).await?;

    // All at once, so that they are in each other's way.
    try_join_all((1..=TRANSFERS).map(|amount| transfer(&client, amount))).await?;
    let (anne, mary) = balances(&client).await?;
    println!("anne has {}, mary has {}", anne.0, mary.0);

    client.txn(Txn::new().delete(ANNE).delete(MARY)).await?;
    let moved: u64 = (1..=TRANSFERS).sum();
    if (anne.0, mary.0) == (100 - moved, moved) { Ok(()) } else { Err("money was made or lost".into()) }
}

/// A balance and the version that says so.
type Balance = (u64, Version);

/// Both balances, as they were at one moment.
async fn balances(client: &Client) -> Result<(Balance, Balance), Box<dyn Error>> {
    let both = client.txn(Txn::new().get(ANNE).get(MARY)).await?;
    let [TxnAnswer::Got(Some(anne)), TxnAnswer::Got(Some(mary))] = &both.results[..] else {
        return Err(format!("the accounts are not there: {both:?}").into());
    };
    let read = |bytes: &[u8]| -> Result<u64, Box<dyn Error>> { Ok(std::str::from_utf8(bytes)?.parse()?) };
    Ok(((read(&anne.bytes)?, anne.version), (read(&mary.bytes)?, mary.version)))
}

/// Moves an amount from Anne to Mary, if neither account changed since it was read; else again.
async fn transfer(client: &Client, amount: u64) -> Result<(), Box<dyn Error>> {
    loop {
        let ((anne, anne_version), (mary, mary_version)) = balances(client).await?;
        let left = anne.checked_sub(amount).ok_or("anne has not so much")?;
        let txn = Txn::new()
            .when_version(ANNE, anne_version)
            .when_version(MARY, mary_version)
            .put(ANNE, left.to_string())
            .put(MARY, (mary + amount).to_string());
        if client.txn(txn).await?.succeeded {
            println!("{amount} moved");
            return Ok(());
        }
    }
}
