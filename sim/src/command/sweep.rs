//! `sweep`: one scenario with many seeds.

use std::fs;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_sim::bundled;
use plimsoll_sim::scenario::ScenarioError;
use plimsoll_sim::shrink::shrink;
use plimsoll_sim::swarm::draw;
use plimsoll_sim::sweep::{Summary, sweep};

use super::{FAILED, INCONCLUSIVE, NOT_WRITTEN, PASSED, UNUSABLE, print, replay};

/// How many of the failures are shrunk.
const SHRUNK_MAX: usize = 3;

#[derive(clap::Args)]
pub(crate) struct SweepArguments {
    /// A scenario file, or the bare name of a bundled scenario.
    scenario: String,
    /// The seeds: from A up to, and without, B.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: (u64, u64),
    /// How many runs are made side by side; as many as there are processors if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Write the summary as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the first failures, made as small as they get, as scenario files into this folder.
    #[arg(long, value_name = "FOLDER")]
    shrink_to: Option<PathBuf>,
    /// Set a key of the scenario, whatever the file says; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// `A..B`.
fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (first, end) = text
        .split_once("..")
        .ok_or("seeds are given as A..B, for example 1..51")?;
    let number = |part: &str| {
        part.parse::<u64>()
            .map_err(|error| format!("`{part}` is no seed: {error}"))
    };
    let (first, end) = (number(first)?, number(end)?);
    match first < end {
        true => Ok((first, end)),
        false => Err(format!("there is no seed from {first} up to {end}")),
    }
}

/// Runs a sweep and says what came of it. *Gives* the exit status.
pub(crate) fn run_sweep(arguments: &SweepArguments) -> u8 {
    let scenario = match bundled::load(&arguments.scenario, &arguments.settings) {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("{error}");
            return UNUSABLE;
        }
    };
    let (first, end) = arguments.seeds;
    let jobs = arguments
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let bar = ProgressBar::new(end - first);
    let style = ProgressStyle::with_template("{elapsed} [{wide_bar}] {pos} of {len} seeds, {msg} failed, {eta} to go")
        .expect("the template is a constant that parses");
    bar.set_style(style);
    bar.set_message("0");
    let failed = std::sync::atomic::AtomicU64::new(0);
    let on_done = |has_failed: bool| {
        let before = failed.fetch_add(u64::from(has_failed), std::sync::atomic::Ordering::Relaxed);
        bar.set_message((before + u64::from(has_failed)).to_string());
        bar.inc(1);
    };
    let replay = |seed| replay(&arguments.scenario, seed, &arguments.settings);
    let result = sweep(&arguments.scenario, &scenario, first..end, jobs, replay, &on_done);
    bar.finish_and_clear();
    let summary = match result {
        Ok(summary) => summary,
        Err(problems) => {
            let file = arguments.scenario.clone();
            eprintln!("{}", ScenarioError { file, problems });
            return UNUSABLE;
        }
    };
    let mut written = print(&summary.table()).and(write_json(arguments, &summary));
    if let Some(folder) = &arguments.shrink_to {
        for failure in summary.failures.iter().take(SHRUNK_MAX) {
            let Some(shrunk) = shrink(&draw(&scenario, failure.seed), failure.seed) else {
                continue;
            };
            let stem = arguments.scenario.trim_end_matches(".toml").replace(['/', '\\'], "-");
            let path = folder.join(format!("shrunk-{stem}-{}.toml", failure.seed));
            let text = toml::to_string(&shrunk.scenario).map_err(|error| error.to_string());
            let saved = text.and_then(|text| {
                let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text));
                written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
            });
            if saved.is_ok() {
                let faults = shrunk.scenario.faults.count();
                let path = path.display();
                eprintln!(
                    "seed {}: {} fails with {faults} faults after {} runs; replay with\n  plimsoll-sim run {path} --seed {}",
                    failure.seed, shrunk.check, shrunk.runs, failure.seed
                );
            }
            written = written.and(saved);
        }
    }
    let judged = match (summary.is_pass(), summary.unknown) {
        (false, _) => FAILED,
        (true, 0) => PASSED,
        (true, _) => INCONCLUSIVE,
    };
    match (judged, written) {
        (PASSED | INCONCLUSIVE, Err(message)) => {
            eprintln!("{message}");
            NOT_WRITTEN
        }
        (judged, _) => judged,
    }
}

fn write_json(arguments: &SweepArguments, summary: &Summary) -> Result<(), String> {
    let Some(path) = &arguments.json else {
        return Ok(());
    };
    let mut json = serde_json::to_string_pretty(summary).map_err(|error| error.to_string())?;
    json.push('\n');
    fs::write(path, json).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
