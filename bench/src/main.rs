//! `kvbench`: see the library.

/// Every operation allocates and frees on different threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    flotilla_bench::main_with(std::env::args_os())
}
