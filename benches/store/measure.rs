//! Measuring by turns, and what is printed of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    /// Enough to see that it runs.
    Tiny,
}

impl Scale {
    /// So many, or a few.
    pub(crate) fn of(self, full: usize) -> usize {
        const SHARE: usize = 500;
        const LEAST: usize = 2;
        match self {
            Self::Full => full,
            Self::Tiny => full.min((full / SHARE).max(LEAST)),
        }
    }
}

/// What is compared at the end.
#[derive(Debug, Default)]
pub(crate) struct Ratios(Vec<(String, f64)>);

impl Ratios {
    /// Prints both rates and notes how ours stands to the limit's.
    pub(crate) fn rates(&mut self, name: &str, unit: &str, (ours, limit): (f64, f64)) {
        println!(
            "{name:<36} {ours:>12.0} {unit}, the limit {limit:>12.0}: {:.2}",
            ours / limit
        );
        self.0.push((name.to_owned(), ours / limit));
    }

    /// Prints both costs, of which less is better, and notes how the limit's stands to ours.
    pub(crate) fn costs(&mut self, name: &str, unit: &str, (ours, limit): (f64, f64)) {
        println!(
            "{name:<36} {ours:>12.2} {unit}, the limit {limit:>12.2}: {:.2}",
            limit / ours
        );
        self.0.push((name.to_owned(), limit / ours));
    }

    pub(crate) fn print(&self) {
        for (name, value) in &self.0 {
            println!("ratio {name} {value:.2}");
        }
    }
}

/// Runs all contenders in every round, see [`one_round`]. *Gives* the median of what each gave.
pub(crate) fn by_turns<const N: usize>(rounds: usize, mut contenders: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let given: Vec<[f64; N]> = (0..rounds).map(|round| one_round(round, &mut contenders)).collect();
    medians(&given)
}

/// Runs all contenders once. *Given* the number of the round: another one is first each time, and every other time they come backwards, so
/// that what one leaves to be written does not always meet the same one behind it.
pub(crate) fn one_round<const N: usize>(round: usize, contenders: &mut [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut given = [0.0; N];
    for turn in 0..N {
        let turn = if round.is_multiple_of(2) { turn } else { N - 1 - turn };
        let place = (round / 2 + turn) % N;
        given[place] = contenders[place]();
    }
    given
}

/// Of each contender the median. *Panics* when there was no round.
pub(crate) fn medians<const N: usize>(rounds: &[[f64; N]]) -> [f64; N] {
    std::array::from_fn(|place| median(&mut rounds.iter().map(|given| given[place]).collect::<Vec<_>>()))
}

/// *Panics* when there are none.
pub(crate) fn median(given: &mut [f64]) -> f64 {
    given.sort_by(f64::total_cmp);
    given[given.len() / 2]
}

pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let made = work();
    (made, begin.elapsed())
}

/// How many a second.
pub(crate) fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Bytes of the files of a folder whose names begin like this.
pub(crate) fn file_bytes(folder: &Path, prefix: &str) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder of this run").flatten();
    let files = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    files.map(|entry| entry.metadata().map_or(0, |found| found.len())).sum()
}

/// Bytes that this process holds in memory; zero where that cannot be asked.
pub(crate) fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * PAGE_BYTES
}

/// Bytes that this process wrote to files so far; zero where that cannot be asked.
pub(crate) fn written_bytes() -> u64 {
    let counters = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}
