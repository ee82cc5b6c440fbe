//! `run`: one scenario with one seed.

use std::fs;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll_sim::bundled;
use plimsoll_sim::report::{Judgement, Report};
use plimsoll_sim::run::{Finished, run};
use plimsoll_sim::scenario::ScenarioError;
use plimsoll_sim::world::Progress;

use super::{FAILED, INCONCLUSIVE, NOT_WRITTEN, PASSED, UNUSABLE, print, replay};

/// Events before the end that are shown of a run that failed.
const EVENTS_SHOWN_MAX: usize = 20;

#[derive(clap::Args)]
pub(crate) struct RunArguments {
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
    /// Run it twice and compare: two runs of one seed must be the same.
    #[arg(long)]
    twice: bool,
    /// Set a key of the scenario, whatever the file says; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// Runs one scenario and says what came of it. *Gives* the exit status.
pub(crate) fn run_scenario(arguments: &RunArguments) -> u8 {
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
    if arguments.twice
        && let Some(message) = differs(arguments, &finished)
    {
        eprintln!("{message}");
        return FAILED;
    }
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
            eprintln!(
                "\nseed {}; replay with:\n  {}",
                arguments.seed,
                replay(&arguments.scenario, arguments.seed, &arguments.settings)
            );
            FAILED
        }
    }
}

fn print_undecided(report: &Report) {
    for (check, why) in &report.undecided {
        eprintln!("\n{check} could not decide: {why}");
    }
}

/// Runs once more. *Gives* in what the two runs differ.
fn differs(arguments: &RunArguments, first: &Finished) -> Option<String> {
    let second = match simulate(arguments) {
        Ok(second) => second,
        Err(error) => return Some(error.to_string()),
    };
    let told = |finished: &Finished| (finished.report.trace_hash.clone(), finished.report.events);
    if told(first) == told(&second) {
        return None;
    }
    let parting = first
        .last_events
        .iter()
        .zip(&second.last_events)
        .find(|(one, other)| one != other);
    let parting = parting.map_or_else(String::new, |(one, other)| {
        format!("; of the last events the first that differ are {one:?} and {other:?}")
    });
    Some(format!(
        "two runs of seed {} differ: trace {} after {} events, and trace {} after {} events{parting}",
        arguments.seed, first.report.trace_hash, first.report.events, second.report.trace_hash, second.report.events
    ))
}
