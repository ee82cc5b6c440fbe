//! What the program does for each of its subcommands.

pub(crate) mod bench;
pub(crate) mod completions;

use std::io::{self, Write};

/// Done, and all that was checked holds.
pub(crate) const DONE: u8 = 0;
/// The operation failed, or what was checked does not hold.
pub(crate) const FAILED: u8 = 1;
/// The arguments cannot be used; nothing was done.
pub(crate) const USAGE: u8 = 2;

/// Why a command did not do what it was asked, in words for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments cannot be used.
    #[error("error: {0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// It went wrong.
    #[error("error: {0}")]
    Failed(String),
    /// What was to be said has been said.
    #[error("")]
    Told,
}

/// Says why a command failed. *Gives* the exit status.
pub(crate) fn conclude(result: Result<(), Failure>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(Failure::Told) => FAILED,
        Err(failure) => {
            eprintln!("{failure}");
            match failure {
                Failure::Usage(_) => USAGE,
                Failure::Failed(_) | Failure::Told => FAILED,
            }
        }
    }
}

/// Writes to standard output, which may be a full disk or a pipe that nobody reads any more.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| Failure::Failed(format!("standard output cannot be written: {error}")))
}
