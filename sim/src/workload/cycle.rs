//! A ring that is turned round piece by piece: three reads, each of which depends on the one before, and three writes.
//!
//! After FoundationDB's test of the same name. Each of n places names the next one. A transaction follows the ring three times from a random
//! place and takes one place out of its way and puts it in one further on: if it was evaluated on what it has read, the ring stays one
//! ring through all places. A place is stored as the distance between what it names and what it named at first, so that what was
//! never written is 0.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::client::staged::{Stage, Staging};
use plimsoll::id::TransactionId;
use plimsoll::protocol::ReadMode;
use plimsoll::thunk::Registry;
use plimsoll::transaction::Abort;

use super::counters::Increments;
use super::thunks::SetCounters;
use super::{Choice, ChoiceError, Workload, registry, stored};
use crate::client::{Noted, Script, Scripts, StagedScript};
use crate::history::MicroOperation;
use crate::random::Stream;
use crate::scenario::CounterMode;

/// More runs than any transaction takes: the workload is to show that all of them end.
const RUNS_MAX: u32 = 100_000;

/// The place that a place names, of what is stored of it.
pub(crate) fn next_place(place: u64, places: u64, stored: i64) -> u64 {
    (place as i64 + 1 + stored).rem_euclid(places as i64) as u64
}

pub(super) struct Cycle {
    choice: Choice,
    registry: Arc<Registry>,
    staging: Staging,
    /// Its reads of all places, or of some.
    reads: Box<dyn Workload>,
}

impl Cycle {
    /// *Given* after how many stale runs a transaction reserves what it reads; 0: never.
    ///
    /// *Errors* where there are too few places for three different ones.
    pub(super) fn new(choice: Choice, reserve_after: u32) -> Result<Self, ChoiceError> {
        if choice.size() < 3 {
            return Err(ChoiceError {
                what: "the number of places",
                value: choice.size() as f64,
                accepted: "at least 3: a transaction turns three of them",
            });
        }
        let staging = Staging {
            runs_max: RUNS_MAX,
            reserve_after: (reserve_after > 0).then_some(reserve_after),
            // Delays are those of regions: others are stale again before a pause of the default has passed.
            pause: Duration::from_millis(5),
            pause_max: Duration::from_millis(320),
            look_every: Duration::from_millis(20),
            ..Staging::default()
        };
        Ok(Self {
            reads: Box::new(Increments::new(choice.clone(), CounterMode::Merge)),
            registry: Arc::new(registry()),
            choice,
            staging,
        })
    }
}

impl Scripts for Cycle {
    fn transaction(&mut self, random: &mut Stream) -> Box<dyn Script> {
        let first = self.choice.draw(random);
        let places = self.choice.size();
        let mut entropy = [0; 10];
        random.fill(&mut entropy);
        let id = TransactionId::from_parts(0, entropy);
        let noted = Noted::default();
        let notes = noted.clone();
        let stages = move |stage| turn(stage, first, places, notes.clone());
        let staging = Staging {
            first_read: ReadMode::Snapshot,
            ..self.staging.clone()
        };
        Box::new(StagedScript::new("turn", &self.registry, id, staging, noted, stages))
    }

    fn read(&mut self, mode: ReadMode, random: &mut Stream) -> Box<dyn Script> {
        Scripts::read(&mut self.reads, mode, random)
    }

    fn final_reads(&mut self) -> Vec<Box<dyn Script>> {
        Scripts::final_reads(&mut self.reads)
    }
}

/// One transaction: from a, the ring goes a, b, c, d; then a, c, b, d.
async fn turn(stage: Stage, a: u64, places: u64, noted: Noted) -> Result<SetCounters, Abort> {
    let (at_a, b) = follow(&stage, a, places).await?;
    let (at_b, c) = follow(&stage, b, places).await?;
    let (at_c, d) = follow(&stage, c, places).await?;
    let seen = [(a, at_a), (b, at_b), (c, at_c)];
    let named = [(a, c), (b, d), (c, b)];
    let read = |(key, value): (u64, i64)| MicroOperation::ReadCounter {
        key,
        value: Some(value),
    };
    let written = named.map(|(place, next)| (place, next as i64 - (place as i64 + 1) % places as i64));
    let add = |((key, value), (_, before)): ((u64, i64), (u64, i64))| MicroOperation::Add {
        key,
        amount: value - before,
    };
    let steps = seen.into_iter().map(read).chain(written.into_iter().zip(seen).map(add));
    noted.note(steps.collect());
    Ok(SetCounters {
        counters: written.to_vec(),
    })
}

/// *Gives* what is stored of a place, and the one that it names.
async fn follow(stage: &Stage, place: u64, places: u64) -> Result<(i64, u64), Abort> {
    let found = stage.get(stored::counter_key(place)).await;
    let stored = found.as_ref().map_or(Ok(0), stored::decode_counter)?;
    Ok((stored, next_place(place, places, stored)))
}
