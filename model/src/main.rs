//! `plimsoll-model`: searches all that can happen to a small cluster, within bounds, and says what it found.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use plimsoll_model::search::search;
use plimsoll_model::settings::Settings;
use plimsoll_model::walk::walk;

/// Searches everything that can happen to two or three nodes of the protocol core, within bounds.
///
/// Exits with 0 when every property holds, with 1 when one is broken, and with 2 when the arguments do not fit together.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Walk so often at random instead, each time until nothing can happen any more; without regard to the depth.
    #[arg(long, value_name = "COUNT")]
    walks: Option<u64>,
    /// The seed of the first walk; each one after it takes the next.
    #[arg(long, default_value_t = 0, requires = "walks")]
    seed: u64,
}

fn main() -> ExitCode {
    let Arguments { settings, walks, seed } = Arguments::parse();
    if let Err(what) = settings.scene.check(&settings) {
        eprintln!("plimsoll-model: {what}");
        return ExitCode::from(2);
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // An assertion of the core that fails is a finding, and stands in the report.
        if !plimsoll_model::step::is_stepping() {
            hook(info);
        }
    }));
    #[expect(
        clippy::disallowed_methods,
        reason = "how long the search takes is for who waits for it"
    )]
    let started = Instant::now();
    let (is_sound, report) = match walks {
        Some(count) => {
            let walked = walk(&settings, seed..seed.saturating_add(count));
            (walked.failed.is_none(), walked.to_string())
        }
        None => {
            let found = search(&settings);
            (found.broken.is_empty(), found.to_string())
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    // Who has closed the output does not want to know.
    let _ = writeln!(io::stdout(), "{report}{seconds:.1} s, {}", memory());
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The most memory that was used, where the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(
        || "memory unknown".to_owned(),
        |peak| format!("{} of memory at most", peak.trim()),
    )
}
