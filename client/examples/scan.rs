//! Reads a range of keys in order, over all shards, forwards and backwards.
//!
//! `cargo run -p flotilla-client --example scan -- 127.0.0.1:7400`; exits with 1 if a record is missing, doubled or out of order.

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;

use flotilla_client::{Client, ScanRange};
use futures_util::future::try_join_all;
use tokio_stream::StreamExt;

const COUNT: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned())).await
}

/// All of it, at this endpoint.
pub async fn run(endpoint: String) -> Result<(), Box<dyn Error>> {
    let client = Client::builder([endpoint]).build().await?;
    let key = |number: usize| format!("example:scan:{number:03}");
    try_join_all((0..COUNT).map(|number| client.put(key(number), "x"))).await?;

    // All keys that begin so: `;` is the byte after `:`.
    let all =
        ScanRange { from: "example:scan:".into(), to: Some("example:scan;".into()), ..ScanRange::default() };
    let mut expected = (0..COUNT).map(key);
    // A scan is a stream: what was not taken is not fetched, and dropping it ends it.
    let mut records = client.scan(all.clone());
    while let Some(record) = records.next().await {
        let found = record?.key;
        if expected.next().is_none_or(|key| found != key) {
            return Err(format!("{} came out of order", found.escape_ascii()).into());
        }
    }
    if let Some(missing) = expected.next() {
        return Err(format!("{missing} is missing").into());
    }
    println!("{COUNT} records in order");

    let last = ScanRange { reverse: true, limit: Some(3), ..all };
    let last: Vec<_> = client.scan(last).collect::<Result<_, _>>().await?;
    let last: Vec<String> = last.iter().map(|record| record.key.escape_ascii().to_string()).collect();
    println!("the last three, backwards: {last:?}");

    try_join_all((0..COUNT).map(|number| client.delete(key(number)))).await?;
    let expected: Vec<String> = (0..COUNT).rev().take(3).map(key).collect();
    if last == expected { Ok(()) } else { Err("those are not the last three".into()) }
}
