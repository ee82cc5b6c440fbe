//! `serve`: one node of a cluster.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, print};
use crate::serve::config::{Flags, Settings};

const ABOUT: &str = "\
Everything can be given by a flag, in the environment or in the file, and counts in this order. The keys of the file (TOML) are those that
`plimsoll serve --print-config` prints, each with its default and its variable; an unknown one is refused. Folders in the file are meant from where the
file is. Who this node is stands in its certificate.

The node knows the built-in transactions, those of `plimsoll txn`, and the workloads of `plimsoll bench`.

When it serves it says so in one line on standard error: its number, its address and its folder. SIGTERM and SIGINT shut it down: it tells the
others, and ends with status 0.

Exit status:
  0  it was told to stop, and has
  1  it did not start, or its replica has failed: the log says why
  2  the arguments or the file cannot be used; nothing was started";

/// Run one node of a cluster.
#[derive(Args)]
#[command(after_help = ABOUT)]
pub(crate) struct ServeArguments {
    /// The file of settings.
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Print the settings as a file, and start nothing.
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Serves until it is told to stop.
pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let settings = Settings::new(arguments.flags.clone(), arguments.config.as_deref())?;
    match arguments.print_config {
        true => print(settings.file().as_bytes()),
        false => crate::serve::run(settings.complete()?),
    }
}
