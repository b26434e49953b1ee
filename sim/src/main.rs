//! `kvsim`: see the library.

fn main() -> std::process::ExitCode {
    flotilla_sim::cli::main_with(std::env::args_os())
}
