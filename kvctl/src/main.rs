//! `kvctl`: see the library.

use std::process::ExitCode;

/// Every operation allocates and frees on different threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flotilla_kvctl::main_with(std::env::args_os())
}
