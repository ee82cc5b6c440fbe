//! How many events the simulator handles in a second, by scenario: medians of several runs, each with another seed.
//!
//! `cargo bench -p plimsoll-sim`. The goal is at least 1,000,000 in `three-regions` on one core.

use std::process::ExitCode;

use plimsoll_sim::bundled;
use plimsoll_sim::run::run;

const RUNS: u64 = 7;

fn main() -> ExitCode {
    // Whoever lists or filters benchmarks gets what the harness would say: there is nothing to choose from.
    if std::env::args().any(|argument| argument == "--list") {
        println!("simulator: benchmark");
        return ExitCode::SUCCESS;
    }
    println!(
        "{:20} {:>12} {:>12} {:>12}",
        "events a second", "least", "median", "most"
    );
    for name in [
        "three-regions",
        "five-regions",
        "three-regions-busy",
        "five-regions-busy",
        "crash",
    ] {
        let scenario = match bundled::load(name, &[]) {
            Ok(scenario) => scenario,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        let mut speeds = Vec::new();
        for seed in 1..=RUNS {
            match run(name, &scenario, seed, &mut |_| {}) {
                Ok(finished) => speeds.push(finished.report.events_per_second),
                Err(problems) => {
                    eprintln!("{problems:?}");
                    return ExitCode::FAILURE;
                }
            }
        }
        speeds.sort_by(f64::total_cmp);
        println!(
            "{name:20} {:>12.0} {:>12.0} {:>12.0}",
            speeds[0],
            speeds[speeds.len() / 2],
            speeds[speeds.len() - 1]
        );
    }
    ExitCode::SUCCESS
}
