//! What the program does for each of its subcommands.

pub(crate) mod run;
pub(crate) mod sweep;

use std::io::{self, Write};

/// All checks passed.
pub(crate) const PASSED: u8 = 0;
/// A check failed.
pub(crate) const FAILED: u8 = 1;
/// No check failed, but one could not decide.
pub(crate) const INCONCLUSIVE: u8 = 2;
/// The arguments or the scenario cannot be used; nothing was run.
pub(crate) const UNUSABLE: u8 = 64;
/// The run came to its end, but a file or standard output could not be written.
pub(crate) const NOT_WRITTEN: u8 = 74;

/// Writes to standard output, which may be a full disk or a pipe that nobody reads any more.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("standard output cannot be written: {error}"))
}

/// The command that makes the same run again.
pub(crate) fn replay(scenario: &str, seed: u64, settings: &[String]) -> String {
    let mut command = format!("plimsoll-sim run {} --seed {seed}", quoted(scenario));
    for setting in settings {
        command.push_str(&format!(" --set {}", quoted(setting)));
    }
    command
}

/// The word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=+:,".contains(letter);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replay_command_repeats_scenario_seed_and_settings() {
        let settings = ["faults.loss=0.2".to_owned(), "world.delays=\"aws\"".to_owned()];
        assert_eq!(
            replay("a b.toml", 7, &settings),
            "plimsoll-sim run 'a b.toml' --seed 7 --set faults.loss=0.2 --set 'world.delays=\"aws\"'"
        );
    }
}
