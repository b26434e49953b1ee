//! A counter that several tasks raise at the same time, by compare-and-swap: read, compute, swap if nobody was faster.
//!
//! `cargo run -p flotilla-client --example cas_counter -- 127.0.0.1:7400`; exits with 1 if a step was lost or doubled.

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;

use flotilla_client::{Client, Swap, Value};
use futures_util::future::try_join_all;

const COUNTER: &str = "example:counter";
const TASKS: usize = 4;
const STEPS: u64 = 25;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned())).await
}

/// All of it, at this endpoint.
pub async fn run(endpoint: String) -> Result<(), Box<dyn Error>> {
    let client = Client::builder([endpoint]).build().await?;
    client.delete(COUNTER).await?;

    let conflicts: u64 = try_join_all((0..TASKS).map(|_| raise(&client))).await?.into_iter().sum();
    let count = read(client.get(COUNTER).await?.as_ref())?;
    println!("{TASKS} tasks made {STEPS} steps each, with {conflicts} conflicts: the counter says {count}");

    client.delete(COUNTER).await?;
    if count == TASKS as u64 * STEPS { Ok(()) } else { Err("a step was lost or doubled".into()) }
}

/// Raises the counter step by step. Returns how often somebody else was faster.
async fn raise(client: &Client) -> Result<u64, Box<dyn Error>> {
    let mut conflicts = 0;
    let mut seen = client.get(COUNTER).await?;
    for _ in 0..STEPS {
        loop {
            // Version 0 says that there must be no such key yet.
            let version = seen.as_ref().map_or(0, |value| value.version);
            let next = (read(seen.as_ref())? + 1).to_string();
            match client.compare_and_swap(COUNTER, version, next.clone()).await? {
                Swap::Swapped(version) => {
                    seen = Some(Value { bytes: next.into(), version, expires: None });
                    break;
                }
                // It tells what is there, so there is no need to read again.
                Swap::Conflict(current) => {
                    conflicts += 1;
                    seen = current;
                }
            }
        }
    }
    Ok(conflicts)
}

fn read(value: Option<&Value>) -> Result<u64, Box<dyn Error>> {
    value.map_or(Ok(0), |value| Ok(std::str::from_utf8(&value.bytes)?.parse()?))
}
