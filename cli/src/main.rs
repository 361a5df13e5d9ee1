//! The command `flowherd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    flowherd_cli::main()
}
