//! The bench: clients that keep a database busy, what they measure, and the check at the end.
//!
//! The workloads, their thunks and the form of the histories are those of the simulator: what is measured here is what is judged
//! there. [`target`] is what is measured, [`load`] the clients, [`invariant`] the check, [`report`] what is printed.

mod cpu;
mod invariant;
mod load;
mod record;
pub(crate) mod report;
pub(crate) mod target;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_sim::history::History;
use plimsoll_sim::scenario::WorkloadConfig;
use plimsoll_sim::workload;

pub(crate) use invariant::Verdict;
use invariant::{Sums, read_all};
use load::{Ends, Load};
use record::Record;
use target::{Target, Where};

use crate::command::Failure;

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) workload_name: String,
    pub(crate) workload: WorkloadConfig,
    pub(crate) clients: u32,
    pub(crate) measured: Duration,
    pub(crate) warm_up: Duration,
    /// Calls a second of all clients together; absent in a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) seed: u64,
    /// Whether a history is kept.
    pub(crate) is_recorded: bool,
    /// How long a client waits for an answer.
    pub(crate) deadline: Duration,
    pub(crate) place: Where,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Of the time that is measured.
    pub(crate) measured: Ends,
    /// How long that was.
    pub(crate) measured_for: Duration,
    /// How many replicas the database had.
    pub(crate) replicas: u32,
    /// Processor time of this process within it: the clients, and the database if it is in this process.
    pub(crate) cpu: Duration,
    /// Of the whole run, from the start of the warm-up to the last answer.
    pub(crate) whole: Ends,
    pub(crate) verdict: Verdict,
    /// What the clients saw, if it was kept.
    pub(crate) history: Option<History>,
}

/// Opens the database, puts it under load, and checks it.
///
/// *Errors* when it cannot be opened or read before the load.
pub(crate) async fn measure(plan: &Plan) -> Result<Outcome, Failure> {
    let target = Target::open(&plan.place, plan.deadline).await?;
    let result = measure_target(plan, &target).await;
    target.close().await;
    result
}

async fn measure_target(plan: &Plan, target: &Target) -> Result<Outcome, Failure> {
    let unusable = |error: workload::ChoiceError| Failure::Usage(error.to_string());
    let mut workload = workload::build(&plan.workload).map_err(unusable)?;
    let final_reads = workload.final_reads();
    let found = read_all(target, &final_reads, None).await;
    let before = Sums::of(&found.map_err(|why| Failure::Failed(format!("before the load: {why}")))?);
    if plan.is_recorded && before.is_any_written {
        let text = "--history needs a new database, since its checkers know nothing of what was written before: \
                    give another --folder, or none";
        return Err(Failure::Failed(text.to_owned()));
    }
    let record = plan.is_recorded.then(|| Arc::new(Record::start()));
    let load = Load {
        plan,
        target,
        record: record.clone(),
    };
    let done = load.run(workload).await?;
    let after = read_all(target, &final_reads, record.as_deref()).await;
    let verdict = invariant::judge(plan.workload.kind, &before, after, &done.whole);
    Ok(Outcome {
        replicas: target.replicas(),
        measured: done.measured,
        measured_for: done.measured_for,
        cpu: done.cpu,
        whole: done.whole,
        verdict,
        history: record.map(|record| record.history()),
    })
}
