//! The worker.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowherd_worker::start::main()
}
