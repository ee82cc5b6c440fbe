//! The report for people.

use std::fmt::Write;

use super::{Judgement, RegionReport, Report};

/// The columns after the name of the region.
const COLUMNS: [&str; 10] = [
    "commits/s",
    "commit p50",
    "p99",
    "bound",
    "p50/bound",
    "p99/bound",
    "strict p50",
    "p99",
    "snapshot p50",
    "p99",
];

impl Report {
    /// The report as lines of text: latencies in milliseconds by region, then the run as a whole.
    pub fn table(&self) -> String {
        let mut text = format!("{}, seed {}\n\n", self.scenario, self.seed);
        let name_width = self
            .regions
            .iter()
            .map(|(name, _)| name.chars().count())
            .fold("region".len(), usize::max);
        let rows = self.regions.iter().map(|(name, region)| (name.as_str(), cells(region)));
        let head = ("region", COLUMNS.map(str::to_owned));
        for (name, cells) in std::iter::once(head).chain(rows) {
            let _ = write!(text, "{name:name_width$}");
            for (cell, column) in cells.iter().zip(COLUMNS) {
                let width = column.len().max("12345.6".len());
                let _ = write!(text, "  {cell:>width$}");
            }
            text.push('\n');
        }
        text.push_str(
            "(latencies in ms, from the intended start; bound: what the delays between the nodes allow at least)\n\n",
        );
        for (label, value) in self.lines() {
            for (place, line) in wrapped(&value).into_iter().enumerate() {
                let label = if place == 0 { label } else { "" };
                let _ = writeln!(text, "{label:14} {line}");
            }
        }
        text
    }

    /// What concerns the run as a whole.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let (transactions, asides) = (&self.transactions, &self.asides);
        let mut ends = format!(
            "{} submitted, {} committed, {} aborted",
            transactions.submitted, transactions.committed, transactions.aborted
        );
        if !asides.aborted.is_empty() {
            let reasons = asides
                .aborted
                .iter()
                .map(|(reason, count)| format!("{reason}: {count}"));
            let _ = write!(ends, " ({})", reasons.collect::<Vec<_>>().join(", "));
        }
        let _ = write!(ends, ", {} refused, {} unknown", asides.refused, transactions.unknown);
        let faults = self.faults.iter().map(|(kind, times)| format!("{kind} {times}"));
        let faults = faults.collect::<Vec<_>>().join(", ");
        let checks = [Judgement::Fail, Judgement::Unknown, Judgement::Pass].map(|judgement| {
            let of_it = self.checks.iter().filter(|(_, other)| **other == judgement);
            let names: Vec<&str> = of_it.map(|(check, _)| check.as_str()).collect();
            let label = match judgement {
                Judgement::Pass => "checks passed",
                Judgement::Fail => "FAILED",
                Judgement::Unknown => "undecided",
            };
            (label, names.join(", "))
        });
        let mut lines = vec![
            (
                "throughput",
                format!("{:.1} commits a virtual second", self.throughput_per_virtual_second),
            ),
            ("transactions", ends),
            (
                "reads",
                format!(
                    "{} sent, {} answered; {} late answers in all",
                    asides.reads.0, asides.reads.1, asides.late
                ),
            ),
            (
                "doubts",
                format!(
                    "{} pursued, {} cleared; {} transactions submitted to two nodes, {} further answers compared",
                    asides.doubts.0, asides.doubts.1, asides.doubled, asides.echoes
                ),
            ),
            (
                "stages",
                format!(
                    "run again {} times; those of one transaction run {} times at most",
                    asides.stages.0, asides.stages.1
                ),
            ),
            ("faults", if faults.is_empty() { "none".to_owned() } else { faults }),
            (
                "run",
                format!(
                    "{:.1} virtual seconds in {:.2} s, {} events, {:.0} events a second",
                    self.virtual_seconds, self.wall_seconds, self.events, self.events_per_second
                ),
            ),
            ("trace hash", self.trace_hash.clone()),
        ];
        if (asides.doubts.0, asides.doubled) == (0, 0) {
            lines.retain(|(label, _)| *label != "doubts");
        }
        if asides.stages.1 <= 1 {
            lines.retain(|(label, _)| *label != "stages");
        }
        lines.extend(checks.into_iter().filter(|(_, names)| !names.is_empty()));
        lines
    }
}

/// A value in lines that fit below the table, broken at blanks.
fn wrapped(value: &str) -> Vec<String> {
    const WIDTH: usize = 105;
    let mut lines = vec![String::new()];
    for word in value.split(' ') {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn cells(region: &RegionReport) -> [String; 10] {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let ratio = |value: Option<f64>| match value {
        Some(value) if region.bound_ms > 0.0 => format!("{:.2}", value / region.bound_ms),
        _ => "-".to_owned(),
    };
    let (commit, strict, snapshot) = (&region.commit_ms, &region.strict_read_ms, &region.snapshot_read_ms);
    [
        format!("{:.1}", region.throughput),
        ms(commit.p50),
        ms(commit.p99),
        ms(Some(region.bound_ms)),
        ratio(commit.p50),
        ratio(commit.p99),
        ms(strict.p50),
        ms(strict.p99),
        ms(snapshot.p50),
        ms(snapshot.p99),
    ]
}
