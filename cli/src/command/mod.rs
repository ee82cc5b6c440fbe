//! What the program does for each of its subcommands.

pub(crate) mod bench;
pub(crate) mod certs;
pub(crate) mod completions;
pub(crate) mod doubt;
pub(crate) mod members;
pub(crate) mod read;
pub(crate) mod serve;
pub(crate) mod watch;
pub(crate) mod write;

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

/// What a command has to say, in both forms.
#[derive(Debug)]
pub(crate) struct Answer {
    text: Vec<u8>,
    json: serde_json::Value,
    /// Why the command failed although there is an answer; it is told beside it.
    failure: Option<String>,
}

impl Answer {
    /// An answer of a command that did what it was asked.
    pub(crate) fn new(text: impl Into<Vec<u8>>, json: serde_json::Value) -> Self {
        Self {
            text: text.into(),
            json,
            failure: None,
        }
    }

    /// The answer of a command that did not, for this reason.
    pub(crate) fn failed(self, why: impl Into<String>) -> Self {
        Self {
            failure: Some(why.into()),
            ..self
        }
    }

    /// Prints it.
    pub(crate) fn tell(self, as_json: bool) -> Result<(), Failure> {
        match as_json {
            true => print(format!("{}\n", self.json).as_bytes())?,
            false => print(&self.text)?,
        }
        self.failure.map_or(Ok(()), |why| Err(Failure::Failed(why)))
    }
}
