//! `plimsoll-model`: searches all that can happen to a small cluster, within bounds, and says what it found.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use plimsoll_model::search::search;
use plimsoll_model::settings::Settings;

/// Searches everything that can happen to two or three nodes of the protocol core, within bounds.
///
/// Exits with 0 when every property holds, with 1 when one is broken, and with 2 when the arguments do not fit together.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    let Arguments { settings } = Arguments::parse();
    if let Err(what) = settings.scene.check(&settings) {
        eprintln!("plimsoll-model: {what}");
        return ExitCode::from(2);
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // An assertion of the core that fails is a finding, and stands in the report.
        let is_checker = std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("checker-"));
        if !is_checker {
            hook(info);
        }
    }));
    #[expect(
        clippy::disallowed_methods,
        reason = "how long the search takes is for who waits for it"
    )]
    let started = Instant::now();
    let found = search(&settings);
    print!("{found}");
    println!("{:.1} s, {}", started.elapsed().as_secs_f64(), memory());
    if found.broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
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
