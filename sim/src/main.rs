//! The command line of the simulator.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll_sim::bundled;
use plimsoll_sim::report::{Judgement, Report};
use plimsoll_sim::run::{Finished, run};
use plimsoll_sim::scenario::ScenarioError;
use plimsoll_sim::world::Progress;

/// All checks passed.
const PASSED: u8 = 0;
/// A check failed.
const FAILED: u8 = 1;
/// No check failed, but one could not decide.
const INCONCLUSIVE: u8 = 2;
/// The arguments or the scenario cannot be used; nothing was run.
const UNUSABLE: u8 = 64;
/// The run came to its end, but a file or standard output could not be written.
const NOT_WRITTEN: u8 = 74;

/// Events before the end that are shown of a run that failed.
const EVENTS_SHOWN_MAX: usize = 20;

const EXAMPLES: &str = "\
Examples:
  plimsoll-sim list
  plimsoll-sim run three-regions
  plimsoll-sim run three-regions --seed 7 --json report.json --history history.edn
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
    /// List the bundled scenarios.
    List,
}

#[derive(clap::Args)]
struct RunArguments {
    /// A scenario file, or the bare name of a bundled scenario.
    scenario: String,
    /// The seed of all draws: the same scenario and seed give the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write what the clients saw to this file: EDN for .edn, lines of JSON for .json, .jsonl and .ndjson.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Set a key of the scenario, whatever the file says; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
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

/// Writes to standard output, which may be a full disk or a pipe that nobody reads any more.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| format!("standard output cannot be written: {error}"))
}

fn run_scenario(arguments: &RunArguments) -> u8 {
    if let Some(message) = arguments.history.as_deref().and_then(unusable_history) {
        eprintln!("{message}");
        return UNUSABLE;
    }
    let finished = match simulate(arguments) {
        Ok(finished) => finished,
        Err(error) => {
            eprintln!("{error}");
            return UNUSABLE;
        }
    };
    let printed = print(&finished.report.table());
    let written = write_files(arguments, &finished).and(printed);
    let judged = conclude(arguments, &finished);
    match (judged, written) {
        (PASSED, Err(message)) => {
            eprintln!("{message}");
            NOT_WRITTEN
        }
        (judged, written) => {
            if let Err(message) = written {
                eprintln!("{message}");
            }
            judged
        }
    }
}

/// What is wrong with the name of a history file; found before the run, not after it.
fn unusable_history(path: &Path) -> Option<String> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    (!matches!(ending, Some("edn" | "json" | "jsonl" | "ndjson"))).then(|| {
        format!(
            "--history {}: the name must end in .edn, .json, .jsonl or .ndjson",
            path.display()
        )
    })
}

fn simulate(arguments: &RunArguments) -> Result<Finished, ScenarioError> {
    let scenario = bundled::load(&arguments.scenario, &arguments.settings)?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("the template is a constant that parses");
    bar.set_style(style);
    let finished = run(
        &arguments.scenario,
        &scenario,
        arguments.seed,
        &mut |progress: Progress| {
            bar.set_message(format!(
                "{:.1} of {:.1} virtual seconds of load, {} events, {} answers",
                progress.time_us as f64 / 1e6,
                progress.load_us as f64 / 1e6,
                progress.events,
                progress.answers
            ));
            bar.tick();
        },
    );
    bar.finish_and_clear();
    finished.map_err(|problems| ScenarioError {
        file: arguments.scenario.clone(),
        problems,
    })
}

fn write_files(arguments: &RunArguments, finished: &Finished) -> Result<(), String> {
    let say = |path: &Path, error: std::io::Error| format!("{} cannot be written: {error}", path.display());
    if let Some(path) = &arguments.json {
        let mut json = serde_json::to_string_pretty(&finished.report).map_err(|error| error.to_string())?;
        json.push('\n');
        fs::write(path, json).map_err(|error| say(path, error))?;
    }
    if let Some(path) = &arguments.history {
        finished.history.write_to_file(path).map_err(|error| say(path, error))?;
    }
    Ok(())
}

/// Says what the checks come to. *Gives* the exit status.
fn conclude(arguments: &RunArguments, finished: &Finished) -> u8 {
    let report = &finished.report;
    match report.judgement() {
        Judgement::Pass => PASSED,
        Judgement::Unknown => {
            print_undecided(report);
            INCONCLUSIVE
        }
        Judgement::Fail => {
            for violation in &report.violations {
                eprintln!("\n{} failed: {}", violation.check, violation.violation);
            }
            print_undecided(report);
            eprintln!("\nthe last events (virtual microseconds, kind, node or client):");
            let events = &finished.last_events;
            for event in &events[events.len().saturating_sub(EVENTS_SHOWN_MAX)..] {
                eprintln!("  {:>12}  {:?}  {}", event.time_us, event.kind, event.place);
            }
            eprintln!("\nseed {}; replay with:\n  {}", arguments.seed, replay(arguments));
            FAILED
        }
    }
}

fn print_undecided(report: &Report) {
    for (check, why) in &report.undecided {
        eprintln!("\n{check} could not decide: {why}");
    }
}

/// The command that makes the same run again.
fn replay(arguments: &RunArguments) -> String {
    let mut command = format!(
        "plimsoll-sim run {} --seed {}",
        quoted(&arguments.scenario),
        arguments.seed
    );
    for setting in &arguments.settings {
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
        let arguments = RunArguments {
            scenario: "a b.toml".to_owned(),
            seed: 7,
            json: None,
            history: None,
            settings: vec!["faults.loss=0.2".to_owned(), "world.delays=\"aws\"".to_owned()],
        };
        assert_eq!(
            replay(&arguments),
            "plimsoll-sim run 'a b.toml' --seed 7 --set faults.loss=0.2 --set 'world.delays=\"aws\"'"
        );
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
