//! Clients of an embedded database: each draws a transaction of the standard's mix, waits for its end, and draws the next.

#![allow(dead_code, reason = "each of those who include it uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "what clients measure is real time; no test depends on it"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use plimsoll::Plimsoll;
use plimsoll::client::staged::{Stage, Staging};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::{Query, ReadMode, Scan};
use plimsoll::runtime::{Builder, Committed, ReadFailed, StagedCommitted, StagedError, SubmitError};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Abort;

use crate::workload::conditions;
use crate::workload::delivery::{Deliver, Delivery};
use crate::workload::load;
use crate::workload::new_order::{NO_SUCH_ITEM, NewOrder};
use crate::workload::order_status::{OrderStatus, ShowOrder};
use crate::workload::payment::{NamedPayment, Payment};
use crate::workload::stock_level::{CountLow, StockLevel};
use crate::workload::{Dice, Scale, Seeded, Token, percent};

/// The thunks of all transactions.
pub(crate) fn with_thunks(builder: Builder) -> Builder {
    builder
        .thunk::<NewOrder>()
        .thunk::<Payment>()
        .thunk::<Deliver>()
        .thunk::<ShowOrder>()
        .thunk::<CountLow>()
}

/// Writes the data. *Gives* when all of them were there.
pub(crate) async fn load(database: &Plimsoll, scale: &Scale, seed: u64) -> Result<Timestamp, SubmitError> {
    let mut last = Timestamp::last_at(Hlc::ZERO);
    for put in load::puts(scale, seed)? {
        last = database.submit(&put).await?.timestamp;
    }
    Ok(last)
}

/// The conditions that do not hold in one snapshot of this mode.
pub(crate) async fn broken(database: &Plimsoll, mode: ReadMode) -> Result<Vec<(&'static str, String)>, ReadFailed> {
    let query = Query {
        keys: Vec::new(),
        ranges: vec![Scan::forward(KeyRange::from(Key::default()), usize::MAX)],
    };
    let rows = database.read(mode, query).await?;
    let entries = rows.answer.ranges.into_iter().flatten();
    let picture: BTreeMap<Key, Value> = entries.map(|(key, found)| (key, found.value)).collect();
    Ok(conditions::broken(&picture))
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kinds: BTreeMap<&'static str, Kind>,
    /// New orders that were rolled back because of an item that does not exist.
    pub(crate) invalid_items: u64,
    /// What ended otherwise, by cause.
    pub(crate) failed: BTreeMap<String, u64>,
}

/// How it went with the transactions of one kind that committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kind {
    /// From the start to the end, in microseconds.
    pub(crate) latencies_us: Vec<u64>,
    /// Runs of stages beyond the first of each, and the most of one.
    pub(crate) reruns: u64,
    pub(crate) runs_max: u32,
    /// Transactions that reserved what they read.
    pub(crate) reserved: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.invalid_items += other.invalid_items;
        for (cause, times) in other.failed {
            *self.failed.entry(cause).or_default() += times;
        }
        for (name, kind) in other.kinds {
            let own = self.kinds.entry(name).or_default();
            own.latencies_us.extend(kind.latencies_us);
            own.reruns += kind.reruns;
            own.runs_max = own.runs_max.max(kind.runs_max);
            own.reserved += kind.reserved;
        }
    }

    pub(crate) fn committed(&self) -> usize {
        self.kinds.values().map(|kind| kind.latencies_us.len()).sum()
    }

    pub(crate) fn runs_max(&self) -> u32 {
        self.kinds.values().map(|kind| kind.runs_max).max().unwrap_or_default()
    }

    fn note(&mut self, name: &'static str, started: Instant) -> &mut Kind {
        let kind = self.kinds.entry(name).or_default();
        kind.latencies_us.push(started.elapsed().as_micros() as u64);
        kind
    }

    /// A transaction of one thunk has ended.
    fn ended<O>(&mut self, name: &'static str, started: Instant, end: Result<Committed<O>, SubmitError>) {
        match end {
            Ok(_) => {
                self.note(name, started);
            }
            Err(SubmitError::Aborted {
                abort: Abort::Refused(why),
                ..
            }) if why == NO_SUCH_ITEM => self.invalid_items += 1,
            Err(error) => self.fail(name, &error),
        }
    }

    /// A transaction in stages has ended.
    fn staged<O>(&mut self, name: &'static str, started: Instant, end: Result<StagedCommitted<O>, StagedError>) {
        match end {
            Ok(committed) => {
                let kind = self.note(name, started);
                kind.reruns += u64::from(committed.runs - 1);
                kind.runs_max = kind.runs_max.max(committed.runs);
                kind.reserved += u64::from(committed.has_reserved);
            }
            Err(error) => self.fail(name, &error),
        }
    }

    fn fail(&mut self, name: &'static str, error: &dyn std::error::Error) {
        *self.failed.entry(format!("{name}: {error}")).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}  {:>7} {:>5} {:>9}",
            "", "committed", "p50 ms", "p90", "p99", "p99.9", "max", "re-runs", "worst", "reserving"
        )?;
        for (name, kind) in &self.kinds {
            let mut sorted = kind.latencies_us.clone();
            sorted.sort_unstable();
            let at = |share: f64| {
                let place = (sorted.len() as f64 * share).ceil() as usize;
                sorted.get(place.saturating_sub(1)).map_or(0.0, |us| *us as f64 / 1e3)
            };
            writeln!(
                f,
                "{name:<22} {:>9} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}  {:>7} {:>5} {:>9}",
                sorted.len(),
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                at(1.0),
                kind.reruns,
                kind.runs_max,
                kind.reserved
            )?;
        }
        writeln!(f, "rolled back for an invalid item: {}", self.invalid_items)?;
        for (cause, times) in &self.failed {
            writeln!(f, "failed {times} times: {cause}")?;
        }
        Ok(())
    }
}

/// How staged transactions go about it. *Given* when the data were there: before that there is nothing to find.
pub(crate) fn staging(loaded: Timestamp) -> Staging {
    Staging {
        runs_max: 10_000,
        first_read: ReadMode::After(loaded),
        ..Staging::default()
    }
}

/// Calls until it has done enough.
///
/// *Given* what says whether it goes on after so many transactions.
pub(crate) async fn client(
    database: Plimsoll,
    scale: Scale,
    seed: u64,
    staging: Staging,
    goes_on: impl Fn(u64) -> bool,
) -> Tally {
    let mut dice = Seeded::new(seed);
    let mut tally = Tally::default();
    let mut done = 0;
    while goes_on(done) {
        one(&database, &scale, &staging, &mut dice, &mut tally).await;
        done += 1;
    }
    tally
}

async fn one(database: &Plimsoll, scale: &Scale, staging: &Staging, dice: &mut Seeded, tally: &mut Tally) {
    // The time first, so that those who look for the oldest order find it in front.
    let token: Token = Plimsoll::new_id().as_u128();
    let (id, staging) = (Plimsoll::new_id(), staging.clone());
    let drawn = dice.below(100);
    let started = Instant::now();
    match drawn {
        0..45 => {
            let order = NewOrder::draw(scale, token, dice);
            tally.ended("new order", started, database.submit_as(id, &order).await);
        }
        45..88 if percent(60, dice) => {
            let payment = NamedPayment::draw(scale, token, dice);
            let stages = move |stage: Stage| payment.clone().stages(stage);
            let end = database.staged_as(id, staging, stages).await;
            tally.staged("payment by name", started, end);
        }
        45..88 => {
            let payment = Payment::draw(scale, token, dice);
            tally.ended("payment by number", started, database.submit_as(id, &payment).await);
        }
        88..92 => {
            let status = OrderStatus::draw(scale, dice);
            let stages = move |stage: Stage| status.clone().stages(stage);
            let end = database.staged_as(id, staging, stages).await;
            tally.staged("order status", started, end);
        }
        92..96 => {
            let delivery = Delivery::draw(scale, dice);
            let stages = move |stage: Stage| delivery.clone().stages(stage);
            let end = database.staged_as(id, staging, stages).await;
            tally.staged("delivery", started, end);
        }
        _ => {
            let level = StockLevel::draw(scale, dice);
            let stages = move |stage: Stage| level.clone().stages(stage);
            let end = database.staged_as(id, staging, stages).await;
            tally.staged("stock level", started, end);
        }
    }
}
