//! What must hold when everything has been answered.

use std::time::Duration;

use plimsoll::time::Timestamp;
use plimsoll_sim::history::MicroOperation;
use plimsoll_sim::scenario::WorkloadKind;
use plimsoll_sim::workload::Call;
use tokio::time::sleep;

use super::load::Ends;
use super::record::{Caller, End, Record};
use super::target::Target;

/// How often a read is tried.
const ATTEMPTS: u32 = 5;

/// How long to wait between.
const PAUSE: Duration = Duration::from_millis(200);

/// Processes of the last reads: above any that a client has, one for each read, since its end may stay unknown.
const READERS: u64 = 1 << 40;

/// What the check comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds: what was found.
    Holds(String),
    /// It is broken: how.
    Broken(String),
    /// It cannot be told: why not.
    Undecided(String),
    /// The workload has none.
    None,
}

/// What all data of a workload come to.
#[derive(Debug, Default)]
pub(super) struct Sums {
    counters: i128,
    /// The lowest counter.
    least: Option<(u64, i64)>,
    keys: usize,
    /// Pairs of registers that differ, and the first of them in words.
    torn: usize,
    torn_first: Option<String>,
    /// Whether a datum was found that somebody has written.
    pub(super) is_any_written: bool,
}

/// Reads everything by strict reads, and records them if there is a record.
///
/// *Errors* say what could not be read, or what is no answer.
pub(super) async fn read_all(
    target: &Target,
    calls: &[Call],
    record: Option<&Record>,
) -> Result<Vec<ReadBack>, String> {
    let mut all = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let caller = Caller {
            process: READERS + number as u64,
            function: call.function,
            id: None,
        };
        all.push(read(target, call, &caller, record).await?);
    }
    Ok(all)
}

/// One read's steps with what was read.
pub(super) struct ReadBack {
    steps: Vec<MicroOperation>,
    is_any_written: bool,
}

async fn read(target: &Target, call: &Call, caller: &Caller, record: Option<&Record>) -> Result<ReadBack, String> {
    let mut attempt = 1;
    loop {
        if let Some(record) = record {
            record.invoked(caller, &call.steps);
        }
        let end = |steps, end| {
            if let Some(record) = record {
                record.ended(caller, steps, end);
            }
        };
        match target.read(call.query()).await {
            Ok(rows) => {
                let steps = call.steps_of_answer(&rows.answer).map_err(|error| error.to_string())?;
                end(steps.clone(), End::Ok(Timestamp::last_at(rows.at)));
                let is_any_written = rows.answer.keys.iter().any(Option::is_some);
                return Ok(ReadBack { steps, is_any_written });
            }
            Err(error) => {
                end(call.steps.clone(), End::Failed(error.to_string()));
                if attempt == ATTEMPTS {
                    return Err(format!("a strict read of {} keys failed: {error}", call.steps.len()));
                }
                attempt += 1;
                sleep(PAUSE).await;
            }
        }
    }
}

impl Sums {
    pub(super) fn of(reads: &[ReadBack]) -> Self {
        let mut sums = Self::default();
        for read in reads {
            sums.is_any_written |= read.is_any_written;
            sums.keys += read.steps.len();
            for step in &read.steps {
                if let MicroOperation::ReadCounter {
                    key,
                    value: Some(value),
                } = *step
                {
                    sums.counters += i128::from(value);
                    if sums.least.is_none_or(|(_, least)| value < least) {
                        sums.least = Some((key, value));
                    }
                }
            }
            for pair in read.steps.chunks(2) {
                if let [
                    MicroOperation::ReadRegister { key, value },
                    MicroOperation::ReadRegister {
                        key: other,
                        value: second,
                    },
                ] = pair
                    && value != second
                {
                    sums.torn += 1;
                    sums.torn_first.get_or_insert_with(|| {
                        format!(
                            "register {key} holds {:?} and register {other} {:?}",
                            value.flatten(),
                            second.flatten()
                        )
                    });
                }
            }
        }
        sums
    }
}

/// Holds what is there against what was there before, and what was answered.
pub(super) fn judge(kind: WorkloadKind, before: &Sums, after: Result<Vec<ReadBack>, String>, whole: &Ends) -> Verdict {
    let after = match after {
        Ok(after) => Sums::of(&after),
        Err(why) => return Verdict::Undecided(format!("after the load: {why}")),
    };
    match kind {
        WorkloadKind::Transfer => transfer(before, &after),
        WorkloadKind::Counter => counter(after.counters - before.counters, whole),
        WorkloadKind::Put2 => pairs(&after),
        WorkloadKind::Retwis | WorkloadKind::YcsbT | WorkloadKind::ListAppend | WorkloadKind::Cycle => Verdict::None,
    }
}

fn transfer(before: &Sums, after: &Sums) -> Verdict {
    if before.counters != after.counters {
        return Verdict::Broken(format!(
            "the accounts held {} together before the load, and hold {} after it",
            before.counters, after.counters
        ));
    }
    match after.least {
        Some((account, balance)) if balance < 0 => {
            Verdict::Broken(format!("account {account} holds {balance}, which is less than nothing"))
        }
        _ => Verdict::Holds(format!(
            "{} accounts hold {} together as before, and none is negative",
            after.keys, after.counters
        )),
    }
}

fn counter(grown: i128, whole: &Ends) -> Verdict {
    let least = i128::from(whole.committed);
    let most = least + i128::from(whole.unknown);
    let text = format!(
        "the counters have grown by {grown}; {} increments were committed and {} are unknown",
        whole.committed, whole.unknown
    );
    match (least..=most).contains(&grown) {
        true => Verdict::Holds(text),
        false => Verdict::Broken(text),
    }
}

fn pairs(after: &Sums) -> Verdict {
    match &after.torn_first {
        None => Verdict::Holds(format!("both registers of all {} pairs hold the same", after.keys / 2)),
        Some(first) => Verdict::Broken(format!("{} of {} pairs differ: {first}", after.torn, after.keys / 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(values: &[i64]) -> Vec<ReadBack> {
        let step = |(key, value): (usize, &i64)| MicroOperation::ReadCounter {
            key: key as u64,
            value: Some(*value),
        };
        vec![ReadBack {
            steps: values.iter().enumerate().map(step).collect(),
            is_any_written: true,
        }]
    }

    fn registers(values: &[Option<u64>]) -> Vec<ReadBack> {
        let step = |(key, value): (usize, &Option<u64>)| MicroOperation::ReadRegister {
            key: key as u64,
            value: Some(*value),
        };
        vec![ReadBack {
            steps: values.iter().enumerate().map(step).collect(),
            is_any_written: true,
        }]
    }

    fn is_broken(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Broken(_))
    }

    #[test]
    fn money_that_is_lost_or_owed_is_seen() {
        let before = Sums::of(&counters(&[10, 10]));
        let judged = |after: &[i64]| judge(WorkloadKind::Transfer, &before, Ok(counters(after)), &Ends::default());
        assert!(matches!(judged(&[3, 17]), Verdict::Holds(_)));
        assert!(is_broken(&judged(&[3, 16])));
        assert!(is_broken(&judged(&[-1, 21])));
        let unread = judge(
            WorkloadKind::Transfer,
            &before,
            Err("gone".to_owned()),
            &Ends::default(),
        );
        assert!(matches!(unread, Verdict::Undecided(_)));
    }

    #[test]
    fn increments_that_are_lost_or_repeated_are_seen() {
        let before = Sums::of(&counters(&[5]));
        let ends = Ends {
            committed: 10,
            unknown: 2,
            ..Ends::default()
        };
        let broken: Vec<bool> = (14..=18)
            .map(|after| is_broken(&judge(WorkloadKind::Counter, &before, Ok(counters(&[after])), &ends)))
            .collect();
        assert_eq!(broken, [true, false, false, false, true]);
    }

    #[test]
    fn half_a_pair_is_seen() {
        let judged = |after: &[Option<u64>]| {
            let (before, after) = (Sums::default(), Ok(registers(after)));
            judge(WorkloadKind::Put2, &before, after, &Ends::default())
        };
        assert!(matches!(judged(&[None, None, Some(4), Some(4)]), Verdict::Holds(_)));
        assert!(is_broken(&judged(&[None, None, Some(4), Some(5)])));
        assert!(is_broken(&judged(&[None, Some(1)])));
    }
}
