//! `kvrouter`: a stateless door to a Flotilla fleet. All of it is in the library.

fn main() -> std::process::ExitCode {
    flotilla_router::main_with(std::env::args_os())
}
