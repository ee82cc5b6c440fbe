//! What is printed of a measurement.

use std::collections::BTreeMap;
use std::fmt::Write;

use plimsoll_sim::scenario::Distribution;
use serde::Serialize;

use super::load::{Ends, Latencies};
use super::target::{Durability, EmbeddedSettings, Where};
use super::{Outcome, Plan, Verdict};

/// One measurement. Counts are of the measured time unless they say otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: String,
    keys: u64,
    distribution: String,
    clients: u32,
    place: &'static str,
    replicas: u32,
    durability: &'static str,
    /// Calls a second that arrived; absent in a closed loop.
    rate: Option<f64>,
    /// Of the replicas, in milliseconds; absent: the library's own.
    tick_ms: Option<f64>,
    seed: u64,
    warm_up_seconds: f64,
    seconds: f64,
    committed: u64,
    aborted: u64,
    aborted_by: BTreeMap<String, u64>,
    refused: u64,
    refused_by: BTreeMap<String, u64>,
    unknown: u64,
    unsent: u64,
    /// Commits a second.
    throughput: f64,
    latency_ms: LatencyMs,
    /// Processor time of this process, clients and all replicas, for each commit; absent without one.
    cpu_us_per_txn: Option<f64>,
    /// Processors that were busy on average.
    cpus_busy: f64,
    /// `holds`, `broken`, `undecided`, or `none` for a workload without any.
    invariant: &'static str,
    invariant_detail: String,
    /// Of the whole run.
    pub(crate) wrong_answers: u64,
    wrong_answer_first: Option<String>,
    whole_run: WholeRun,
}

/// From the call, or its arrival in an open loop, to the answer that it has committed. Absent where nothing has.
#[derive(Debug, Serialize)]
struct LatencyMs {
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

/// Counts from the start of the warm-up to the last answer.
#[derive(Debug, Serialize)]
struct WholeRun {
    committed: u64,
    aborted: u64,
    refused: u64,
    unknown: u64,
}

impl Report {
    pub(crate) fn new(plan: &Plan, outcome: Outcome) -> Self {
        let Outcome {
            measured,
            measured_for,
            cpu,
            whole,
            replicas,
            verdict,
            history: _,
        } = outcome;
        let seconds = measured_for.as_secs_f64();
        let (invariant, invariant_detail) = match verdict {
            Verdict::Holds(detail) => ("holds", detail),
            Verdict::Broken(detail) => ("broken", detail),
            Verdict::Undecided(detail) => ("undecided", detail),
            Verdict::None => ("none", "the workload has none that its end state shows".to_owned()),
        };
        Self {
            workload: plan.workload_name.clone(),
            keys: plan.workload.keys,
            distribution: distribution(plan.workload.distribution),
            clients: plan.clients,
            place: match plan.place {
                Where::Here(_) => "embedded",
                Where::There(_) => "remote",
            },
            replicas,
            durability: match plan.place {
                Where::Here(EmbeddedSettings {
                    durability: Durability::None,
                    ..
                }) => "none",
                Where::Here(_) | Where::There(_) => "fsync",
            },
            rate: plan.rate,
            tick_ms: match &plan.place {
                Where::Here(settings) => settings.tick.map(|tick| tick.as_secs_f64() * 1e3),
                Where::There(_) => None,
            },
            seed: plan.seed,
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            seconds,
            committed: measured.committed,
            aborted: measured.aborted_all(),
            refused: measured.refused_all(),
            unknown: measured.unknown,
            unsent: measured.unsent,
            throughput: measured.committed as f64 / seconds,
            latency_ms: LatencyMs::of(&measured.latencies),
            cpu_us_per_txn: (measured.committed > 0).then(|| cpu.as_secs_f64() * 1e6 / measured.committed as f64),
            cpus_busy: cpu.as_secs_f64() / seconds,
            aborted_by: measured.aborted,
            refused_by: measured.refused.by_text(),
            invariant,
            invariant_detail,
            wrong_answers: whole.wrong_answers,
            whole_run: WholeRun::of(&whole),
            wrong_answer_first: whole.wrong_first,
        }
    }

    /// One JSON object, and the end of the line.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("names, numbers and texts have a form in JSON");
        json.push(b'\n');
        json
    }

    /// A short table.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let loop_kind = self
            .rate
            .map_or("closed loop".to_owned(), |rate| format!("{rate} calls/s arriving"));
        let mut line = |name: &str, value: String| {
            writeln!(text, "{name:<12}{value}").expect("a string takes any text");
        };
        line(
            &self.workload,
            format!(
                "{} keys {}, {} clients, {loop_kind}, {} replicas, durability {}",
                self.keys, self.distribution, self.clients, self.replicas, self.durability
            ),
        );
        let Self {
            seconds, throughput, ..
        } = self;
        line(
            "committed",
            format!("{} in {seconds} s: {throughput:.0}/s", self.committed),
        );
        line("aborted", counted(self.aborted, &self.aborted_by));
        line("unknown", self.unknown.to_string());
        if self.refused > 0 {
            line("refused", counted(self.refused, &self.refused_by));
        }
        if self.unsent > 0 {
            line(
                "unsent",
                format!(
                    "{} arrivals that no client came to; the latencies are without them",
                    self.unsent
                ),
            );
        }
        let LatencyMs {
            p50,
            p90,
            p99,
            p999,
            max,
        } = self.latency_ms;
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        line(
            "latency ms",
            format!(
                "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
                shown(p50),
                shown(p90),
                shown(p99),
                shown(p999),
                shown(max)
            ),
        );
        let per_commit = self.cpu_us_per_txn.map_or("-".to_owned(), |cpu| format!("{cpu:.1}"));
        line(
            "processor",
            format!("{per_commit} us per commit, {:.2} processors busy", self.cpus_busy),
        );
        line("invariant", format!("{}: {}", self.invariant, self.invariant_detail));
        if let Some(first) = &self.wrong_answer_first {
            line("wrong", format!("{} answers; the first: {first}", self.wrong_answers));
        }
        text
    }

    /// What was checked and does not hold, in a sentence.
    pub(crate) fn what_is_wrong(&self) -> String {
        match &self.wrong_answer_first {
            Some(first) => format!("{} answers are wrong; the first: {first}", self.wrong_answers),
            None => format!("the invariant is {}: {}", self.invariant, self.invariant_detail),
        }
    }
}

impl LatencyMs {
    fn of(latencies: &Latencies) -> Self {
        Self {
            p50: latencies.quantile_ms(0.5),
            p90: latencies.quantile_ms(0.9),
            p99: latencies.quantile_ms(0.99),
            p999: latencies.quantile_ms(0.999),
            max: latencies.quantile_ms(1.0),
        }
    }
}

impl WholeRun {
    fn of(whole: &Ends) -> Self {
        Self {
            committed: whole.committed,
            aborted: whole.aborted_all(),
            refused: whole.refused_all(),
            unknown: whole.unknown,
        }
    }
}

/// As the argument has it.
fn distribution(distribution: Distribution) -> String {
    match distribution {
        Distribution::Uniform => "uniform".to_owned(),
        Distribution::Zipf { theta } => format!("zipf:{theta}"),
        Distribution::Hot { keys } => format!("hot:{keys}"),
        Distribution::Hotspot { data, operations } => format!("hotspot:{data}:{operations}"),
    }
}

fn counted(all: u64, by_reason: &BTreeMap<String, u64>) -> String {
    let reasons: Vec<String> = by_reason
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    match reasons.is_empty() {
        true => all.to_string(),
        false => format!("{all} ({})", reasons.join("; ")),
    }
}
