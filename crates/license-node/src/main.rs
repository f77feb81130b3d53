//! The vendor's program: makes signing keys, signs entitlements, shows what an envelope says.
//!
//! It runs at the vendor, best on a machine without a network, and knows nothing of any cluster
//! but its id. Exit codes: 0 done; 1 refused, with the file, field, value and fix on standard
//! error; 2 wrong usage. A command that ends with 1 has left no new file behind.

mod draft;
mod file;
mod keygen;
mod keys;
mod show;
mod sign;
mod summary;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use leasehold_core::id::ClusterId;

/// Makes keys for, signs and shows Leasehold entitlements.
#[derive(Parser)]
#[command(name = "license-node", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a key pair: NAME.private.pem, which stays with the vendor, and NAME.public.pem, which
    /// clusters trust.
    Keygen {
        /// Folder for both files; made if missing.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What the files are called.
        #[arg(long, default_value = "vendor", value_parser = keygen::parse_name)]
        name: String,
    },
    /// Signs the entitlement that a readable TOML file describes.
    Sign {
        /// The vendor's private key, as `keygen` writes it.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// What to sign; deploy/entitlement.example.toml explains each field.
        #[arg(long = "in", value_name = "FILE")]
        input: PathBuf,
        /// Where the envelope goes; an older envelope there is replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The cluster, as 32 hexadecimal digits, if the file leaves it out.
        #[arg(long, value_name = "HEX")]
        cluster: Option<ClusterId>,
    },
    /// Prints what an envelope says, and whether a trusted key signed it.
    Show {
        file: PathBuf,
        /// A public key to check the signature with; may be repeated.
        #[arg(long, value_name = "PUBKEY")]
        trust: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match run(&Arguments::parse().command, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed too.
            let _ = writeln!(std::io::stderr(), "license-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command, out: &mut impl Write) -> anyhow::Result<()> {
    match command {
        Command::Keygen { out: folder, name } => keygen::keygen(folder, name, out),
        Command::Sign { key, input, out: envelope, cluster } => {
            sign::sign(key, input, envelope, *cluster, out)
        }
        Command::Show { file, trust } => show::show(file, trust, out),
    }
}
