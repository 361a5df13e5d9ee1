//! The coordinator's Lambda function, for the tests of this crate to run.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowherd_coordinator::lambda::main()
}
