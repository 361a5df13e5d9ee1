//! The worker, for the tests of this crate to run.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowherd_tests::command::end_with_stdin();
    flowherd_worker::start::main()
}
