//! The coordinator's Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowherd_coordinator::lambda::main()
}
