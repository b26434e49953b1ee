//! Many puts at once. There is no call for a batch: what is asked at the same time travels together by itself.
//!
//! `cargo run -p flotilla-client --example many -- 127.0.0.1:7400`; exits with 1 if anything is not as it should be.

#![allow(clippy::print_stdout, reason = "it shows what it does")]

use std::error::Error;
use std::time::Instant;

use flotilla_client::Client;
use futures_util::future::try_join_all;

const COUNT: usize = 2_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7400".to_owned())).await
}

/// All of it, at this endpoint.
pub async fn run(endpoint: String) -> Result<(), Box<dyn Error>> {
    let client = Client::builder([endpoint]).build().await?;
    let key = |number: usize| format!("example:many:{number}");

    let began = Instant::now();
    try_join_all((0..COUNT).map(|number| client.put(key(number), number.to_string()))).await?;
    println!("{COUNT} puts in {} ms", began.elapsed().as_millis());

    let began = Instant::now();
    let values = try_join_all((0..COUNT).map(|number| client.get(key(number)))).await?;
    println!("{COUNT} gets in {} ms", began.elapsed().as_millis());
    for (number, value) in values.into_iter().enumerate() {
        let value = value.ok_or_else(|| format!("{} is not there", key(number)))?;
        if value.bytes != number.to_string() {
            return Err(format!("{}: {:?}", key(number), value.bytes).into());
        }
    }

    let deleted = try_join_all((0..COUNT).map(|number| client.delete(key(number)))).await?;
    let count = deleted.into_iter().filter(|existed| *existed).count();
    println!("{count} deleted");
    if count == COUNT { Ok(()) } else { Err(format!("{COUNT} were there").into()) }
}
