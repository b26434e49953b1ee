//! Compiles the `.proto` files with `protox`, so that building needs no system `protoc`.

use prost::Message;
use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 6] = [
    "flotilla/v1/error.proto",
    "flotilla/v1/routing.proto",
    "flotilla/v1/kv.proto",
    "flotilla/v1/cluster.proto",
    "flotilla/v1/raft.proto",
    "flotilla/v1/peer.proto",
];

/// What encodes and decodes the messages of all methods.
const CODEC: &str = "crate::codec::CountingCodec";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    std::fs::write(out.join("flotilla.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".flotilla.v1").codec_path(CODEC).compile_fds(descriptors)?;
    Ok(())
}
