//! The command line of the simulator.

mod command;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use command::run::{RunArguments, run_scenario};
use command::sweep::{SweepArguments, run_sweep};
use command::{NOT_WRITTEN, PASSED, UNUSABLE, print};
use plimsoll_sim::bundled;

const EXAMPLES: &str = "\
Examples:
  plimsoll-sim list
  plimsoll-sim run three-regions
  plimsoll-sim run three-regions --seed 7 --json report.json --history history.edn
  plimsoll-sim sweep swarm --seeds 1..51
  plimsoll-sim run my/scenario.toml --set world.load_s=30 --set faults.loss=0.05

Exit status:
  0   all checks passed
  1   a check failed; the violation and a command that replays it are printed
  2   no check failed, but one could not decide
  64  the arguments or the scenario cannot be used
  74  a file or standard output could not be written";

/// Runs whole Plimsoll clusters in virtual time, under faults, and checks what their clients saw.
#[derive(Parser)]
#[command(name = "plimsoll-sim", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario and print its report.
    #[command(after_help = EXAMPLES)]
    Run(RunArguments),
    /// Run a scenario with many seeds and print what they come to together.
    #[command(after_help = EXAMPLES)]
    Sweep(SweepArguments),
    /// List the bundled scenarios.
    List,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Asking for help or the version is no mistake. That printing fails changes nothing: there is no one to tell.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { UNUSABLE } else { PASSED });
        }
    };
    ExitCode::from(match arguments.command {
        Command::List => list(),
        Command::Run(arguments) => run_scenario(&arguments),
        Command::Sweep(arguments) => run_sweep(&arguments),
    })
}

fn list() -> u8 {
    let scenarios = bundled::descriptions();
    let width = scenarios.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: String = scenarios
        .iter()
        .map(|(name, description)| format!("{name:width$}  {description}\n"))
        .collect();
    match print(&lines) {
        Ok(()) => PASSED,
        Err(message) => {
            eprintln!("{message}");
            NOT_WRITTEN
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
