//! `completions`: a script for a shell.

use clap_complete::Shell;

use super::{Failure, print};

#[derive(clap::Args)]
pub(crate) struct CompletionsArguments {
    /// The shell that the script is for.
    shell: Shell,
}

/// Prints the script that completes the arguments of `program`.
pub(crate) fn run(arguments: &CompletionsArguments, program: &mut clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, program, "plimsoll", &mut script);
    print(&script)
}
