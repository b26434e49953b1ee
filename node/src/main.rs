//! `kvnode`: one node of a Flotilla fleet. All of it is in the library.

fn main() -> std::process::ExitCode {
    flotilla_node::main_with(std::env::args_os())
}
