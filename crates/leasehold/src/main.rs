//! The program `leasehold`.

use std::process::ExitCode;

fn main() -> ExitCode {
    leasehold::cli::main()
}
