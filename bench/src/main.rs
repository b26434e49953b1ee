//! `kvbench`: see the library.

fn main() -> std::process::ExitCode {
    flotilla_bench::main_with(std::env::args_os())
}
