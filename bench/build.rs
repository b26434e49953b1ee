//! Compiles the few messages of etcd that are needed, with `protox`: no system `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["etcd.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).bytes(".etcdserverpb").compile_fds(descriptors)?;
    Ok(())
}
