//! The program of the README, word for word.
#![allow(clippy::print_stdout, reason = "it shows what it does")]

use flotilla_client::Client;

#[tokio::main]
async fn main() -> Result<(), flotilla_client::Error> {
    let router = std::env::args().nth(1).unwrap_or("127.0.0.1:7400".to_owned());
    let client = Client::builder([router]).build().await?;
    let version = client.put("ship", "Argo").await?;
    let value = client.get("ship").await?;
    println!("wrote version {version}, read {value:?}");
    Ok(())
}
