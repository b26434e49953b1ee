//! `kvrouter`: a stateless door to a Flotilla fleet. All of it is in the library.

/// Every operation allocates and frees on different threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    flotilla_router::main_with(std::env::args_os())
}
