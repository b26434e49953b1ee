//! `kvctl`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    flotilla_kvctl::main_with(std::env::args_os())
}
