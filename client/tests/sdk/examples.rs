//! The examples do what they say, against a fake fleet.

#![allow(dead_code, reason = "an example has a main function of its own")]

#[path = "../../examples/cas_counter.rs"]
mod cas_counter;
#[path = "../../examples/many.rs"]
mod many;
#[path = "../../examples/put_get.rs"]
mod put_get;
#[path = "../../examples/scan.rs"]
mod scan;
#[path = "../../examples/txn_transfer.rs"]
mod txn_transfer;

use crate::fake::{Does, Fleet};

/// A fleet, and where it is.
async fn fleet() -> (Fleet, String) {
    let fleet = Fleet::start(3, |_| Does::Answer).await;
    let endpoint = fleet.sea.addresses[0].clone();
    (fleet, endpoint)
}

#[tokio::test]
async fn put_get_works() {
    let (_fleet, endpoint) = fleet().await;
    put_get::run(endpoint).await.unwrap();
}

#[tokio::test]
async fn many_works() {
    let (_fleet, endpoint) = fleet().await;
    many::run(endpoint).await.unwrap();
}

#[tokio::test]
async fn cas_counter_works() {
    let (_fleet, endpoint) = fleet().await;
    cas_counter::run(endpoint).await.unwrap();
}

#[tokio::test]
async fn txn_transfer_works() {
    let (_fleet, endpoint) = fleet().await;
    txn_transfer::run(endpoint).await.unwrap();
}

#[tokio::test]
async fn scan_works() {
    let (_fleet, endpoint) = fleet().await;
    scan::run(endpoint).await.unwrap();
}
