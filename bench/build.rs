//! Compiles the few messages of etcd that are needed, and an echo service, with `protox`: no system `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let etcd = protox::compile(["etcd.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).bytes(".etcdserverpb").compile_fds(etcd)?;
    let echo = protox::compile(["echo.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".flotilla.bench").compile_fds(echo)?;
    Ok(())
}
