//! The serial executor: one record after the other. What every other executor must agree with.

use bincode::{Decode, Encode};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::Checkpoint;
use super::digest::DigestFold;
use super::outcomes::{Ledger, Outcomes};
use super::recent::Recent;
use super::resolve::Status;
use crate::id::TransactionId;
use crate::key::{Key, KeyRange, Value};
use crate::limits::VERSION_RETENTION;
use crate::protocol::{Batch, Evaluated, Query, Scan};
use crate::store::Versions;
use crate::thunk::{Direction, Registry, Resolve, UnknownThunk, View, required};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Outcome, Record, Settlement, ThunkId, Transaction, Versioned};

/// How often versions that need not be kept any more are collected, in timestamp time.
const COLLECT_EVERY: Duration = Duration::from_secs(4);

/// Of how many records the versions are told before they are evaluated.
const EXPECTED: usize = 32;

/// Evaluates records in order over versions that it owns.
///
/// Where versions can fail, what it gives is [checked](crate::store::History::checked): nothing that was made of a read that failed gets out,
/// and after the first failure nothing does at all.
pub struct SerialExecutor<V> {
    registry: Arc<Registry>,
    pub(super) versions: V,
    pub(super) outcomes: Outcomes,
    pub(super) digest: DigestFold,
    /// The last record evaluated: a batch that is handed out again after a stop begins above it.
    pub(super) last: Timestamp,
    /// What was written last, if somebody watches.
    pub(super) recent: Recent,
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// For each key of the query, in its order.
    pub keys: Vec<Option<Versioned>>,
    /// For each range of the query, in its order, the entries in the direction of the scan.
    pub ranges: Vec<Vec<(Key, Versioned)>>,
}

/// What a transaction would do at a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DryRun {
    /// Its outcome.
    pub outcome: Outcome,
    /// What it would write; none deletes. Empty if it aborts.
    pub writes: BTreeMap<Key, Option<Value>>,
}

/// Why a snapshot cannot be read. Nothing happened; read at another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[non_exhaustive]
pub enum ReadError {
    /// Its versions were collected.
    #[error("the snapshot at {at} is no longer kept: the oldest that can be read is at {oldest}")]
    Collected {
        /// The snapshot.
        at: Hlc,
        /// The oldest one kept.
        oldest: Hlc,
    },
    /// The versions can no longer be read; [`History::failure`](crate::store::History::failure) says why.
    #[error("the store of this node has failed: ask another one")]
    Failed,
}

impl<V: Versions> SerialExecutor<V> {
    /// An executor of a replica that has evaluated nothing beyond what `versions` hold.
    ///
    /// *Given* empty versions, or ones whose outcomes nobody will ask for: the outcomes of ids and the digest are kept beside the
    /// versions and are empty here, so an executor over versions of an earlier run would forget what it had answered. To go on
    /// from an earlier run, [restore](SerialExecutor::restore) its checkpoint.
    pub fn new(registry: Arc<Registry>, versions: V) -> Self {
        let last = Timestamp::last_at(versions.evaluated());
        let checkpoint = Checkpoint::new(versions, Outcomes::default(), DigestFold::default(), last);
        Self::restore(registry, checkpoint)
    }

    /// An executor that goes on where the one stood of which `checkpoint` was taken.
    ///
    /// *Given* a registry in which every thunk that the other one had evaluated behaves alike.
    pub fn restore(registry: Arc<Registry>, checkpoint: Checkpoint<V>) -> Self {
        let Checkpoint {
            versions,
            mut outcomes,
            digest,
            last,
            ..
        } = checkpoint;
        if versions.keeps_outcomes() {
            outcomes.flush_from_now_on();
        }
        Self {
            registry,
            versions,
            outcomes,
            digest,
            last,
            recent: Recent::default(),
        }
    }

    /// The state at the evaluated bound.
    ///
    /// *Cost*: that of cloning it, see [`Checkpoint`].
    pub fn checkpoint(&self) -> Checkpoint<V>
    where
        V: Clone,
    {
        let digest = DigestFold::resume(self.digest.noted(), self.digest.value());
        Checkpoint::new(self.versions.clone(), self.outcomes.clone(), digest, self.last)
    }

    /// The versions.
    pub fn versions(&self) -> &V {
        &self.versions
    }

    /// The thunks that this replica knows.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The same, to be shared with another executor.
    pub fn shared_registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Evaluates what follows with other thunks: what a replica does that was stopped by an unknown one.
    ///
    /// *Given* that a thunk which both registries hold, by name and version, behaves alike in both.
    pub fn set_registry(&mut self, registry: Arc<Registry>) {
        self.registry = registry;
    }

    /// Evaluates a batch. Stops before the first record whose thunk is not registered here, and before all others of its time, and says so.
    ///
    /// *Errors* where versions can fail: nothing was evaluated, and nothing ever will be. Stop the node.
    pub fn evaluate(&mut self, batch: &Batch) -> V::Checked<Evaluated> {
        let evaluated = self.evaluate_batch(batch);
        self.versions.checked(evaluated)
    }

    fn evaluate_batch(&mut self, batch: &Batch) -> Evaluated {
        let mut settlements = Vec::with_capacity(batch.records.len());
        for (place, (timestamp, record)) in batch.records.iter().enumerate() {
            if place % EXPECTED == 0 {
                let next = batch.records[place..].iter().take(EXPECTED);
                // Most keys that are read are written too, and need not be named twice.
                self.versions
                    .expect(next.flat_map(|(_, record)| &record.transaction.footprint.writes));
            }
            if *timestamp <= self.last {
                continue;
            }
            // A bound covers every record of its time, so evaluation stops before all of them or none.
            if let Some(thunk) = self.lacking_at(&batch.records[place..]) {
                return self.finish(timestamp.hlc.prev(), settlements, Some(thunk));
            }
            match self.settle(*timestamp, &record.transaction) {
                Ok(settlement) => settlements.push(settlement),
                Err(unknown) => return self.finish(timestamp.hlc.prev(), settlements, Some(unknown.thunk)),
            }
            self.last = *timestamp;
            if self.versions.failure().is_some() {
                break;
            }
        }
        self.finish(batch.upto, settlements, None)
    }

    /// The thunk that is not registered here and is needed by one of several records of the first one's time; a single record is stopped when
    /// it is evaluated.
    fn lacking_at(&self, records: &[(Timestamp, Arc<Record>)]) -> Option<ThunkId> {
        let [(first, _), (second, _), ..] = records else {
            return None;
        };
        if first.hlc != second.hlc {
            return None;
        }
        let of_time = records.iter().take_while(|(timestamp, _)| timestamp.hlc == first.hlc);
        let mut transactions = of_time.map(|(timestamp, record)| (timestamp, &record.transaction));
        transactions.find_map(|(timestamp, transaction)| {
            let is_lacking = |thunk: &ThunkId| !Resolve::is(thunk) && !self.registry.contains(thunk);
            let thunk = required(transaction).find(is_lacking)?;
            let is_due = Outcomes::check_age(transaction.id, timestamp.hlc).is_ok();
            (is_due && self.ledger().first(transaction.id).is_none()).then_some(thunk)
        })
    }

    /// What is known of the end of `id` here: absent if it was not evaluated, or longer ago than outcomes are kept.
    pub fn outcome(&self, id: TransactionId) -> V::Checked<Option<(Timestamp, Outcome)>> {
        let is_expired = Outcomes::is_expired(id, self.versions.evaluated());
        let ended = if is_expired { None } else { self.ledger().first(id) };
        self.versions.checked(ended)
    }

    /// What is known of `id` here. It never goes back as the evaluated bound goes up, see [`Known`](super::Known).
    ///
    /// A client that has been told something by one replica and asks another one compares the bounds: one that lies behind may
    /// know less.
    pub fn status(&self, id: TransactionId) -> V::Checked<Status> {
        self.versions.checked(self.ledger().status(id))
    }

    /// Reads the snapshot at `at`.
    ///
    /// *Given* that everything up to `at` is evaluated (it may lie above the last batch, if there is nothing between).
    ///
    /// *Errors* when the snapshot is older than what is kept, or the versions have failed.
    pub fn read(&self, at: Hlc, query: &Query) -> Result<Answer, ReadError> {
        let at = self.check_kept(at)?;
        let scan = |scan: &Scan| {
            self.versions
                .scan(&scan.range.of_users(), at, scan.limit, scan.direction)
        };
        let answer = Answer {
            keys: query.keys.iter().map(|key| self.versions.get(key, at)).collect(),
            ranges: query.ranges.iter().map(scan).collect(),
        };
        self.unless_failed(answer)
    }

    /// Evaluates `transaction` over the snapshot at `at` and keeps nothing of it.
    ///
    /// *Errors* when the snapshot is no longer kept, or the versions have failed; the inner one when the thunk is not registered here.
    pub fn dry_run(&self, transaction: &Transaction, at: Hlc) -> Result<Result<DryRun, UnknownThunk>, ReadError> {
        let at = self.check_kept(at)?;
        let effects = self.effects(at, transaction);
        self.unless_failed(effects.map(|Effects { outcome, writes, .. }| DryRun { outcome, writes }))
    }

    pub(super) fn unless_failed<T>(&self, found: T) -> Result<T, ReadError> {
        match self.versions.failure() {
            None => Ok(found),
            Some(_) => Err(ReadError::Failed),
        }
    }

    fn ledger(&self) -> Ledger<'_, V> {
        Ledger {
            outcomes: &self.outcomes,
            versions: &self.versions,
        }
    }

    /// What a transaction comes to at `at`, whose id has no outcome yet.
    fn effects(&self, at: Timestamp, transaction: &Transaction) -> Result<Effects, UnknownThunk> {
        if Resolve::is(&transaction.thunk) {
            let (outcome, cancels) = self.ledger().resolve(transaction, at);
            let writes = BTreeMap::new();
            return Ok(Effects {
                outcome,
                writes,
                cancels,
            });
        }
        let view = Snapshot {
            versions: &self.versions,
            at,
        };
        let (outcome, writes) = self.registry.evaluate(transaction, at, &view)?;
        Ok(Effects {
            outcome,
            writes,
            cancels: None,
        })
    }

    /// One record: an id that is too old is refused, one that has an outcome keeps it, all others are evaluated.
    fn settle(&mut self, at: Timestamp, transaction: &Transaction) -> Result<Settlement, UnknownThunk> {
        let id = transaction.id;
        let mut writes = BTreeMap::new();
        let (effective, outcome) = if let Err(abort) = Outcomes::check_age(id, at.hlc) {
            // The age comes first: when an expired outcome is forgotten depends on where batches end, which differs among
            // replicas, and so must not be seen.
            (at, Outcome::Aborted(abort))
        } else if let Some(ended) = self.ledger().first(id) {
            ended
        } else {
            let effects = self.effects(at, transaction)?;
            writes = effects.writes;
            self.outcomes.insert(id, at, effects.outcome.clone());
            if let Some(target) = effects.cancels {
                self.cancel(target, at, id);
            }
            (at, effects.outcome)
        };
        let settlement = Settlement {
            record: at,
            id,
            effective,
            outcome,
        };
        self.digest.fold(&settlement, &writes);
        for (key, value) in writes {
            self.recent.note(at, &key, value.as_ref());
            self.versions.put(key, at, value);
        }
        Ok(settlement)
    }

    /// Gives `target`, which has no outcome, that of having been cancelled.
    fn cancel(&mut self, target: TransactionId, at: Timestamp, by: TransactionId) {
        let cancelled = Settlement {
            record: at,
            id: target,
            effective: at,
            outcome: Outcome::Aborted(Abort::Cancelled { by }),
        };
        self.digest.fold(&cancelled, &BTreeMap::new());
        self.outcomes.insert(target, at, cancelled.outcome);
    }

    fn finish(&mut self, upto: Hlc, settlements: Vec<Settlement>, blocked: Option<ThunkId>) -> Evaluated {
        // Who is stopped again before the same record has not come further.
        let upto = upto.max(self.versions.evaluated());
        self.versions.set_evaluated(upto);
        self.digest.pass(upto);
        self.outcomes.expire(upto);
        if upto.minus(VERSION_RETENTION + COLLECT_EVERY) >= self.versions.oldest() {
            self.versions.collect(upto.minus(VERSION_RETENTION));
        }
        let digests = self.digest.take_passed();
        Evaluated {
            upto,
            settlements,
            digests,
            flushed: self.versions.flushed(),
            blocked,
        }
    }

    fn check_kept(&self, at: Hlc) -> Result<Timestamp, ReadError> {
        let oldest = self.versions.oldest();
        if at < oldest {
            Err(ReadError::Collected { at, oldest })
        } else {
            Ok(Timestamp::last_at(at))
        }
    }
}

/// What one transaction does.
struct Effects {
    outcome: Outcome,
    writes: BTreeMap<Key, Option<Value>>,
    /// The id that is not to take effect any more.
    cancels: Option<TransactionId>,
}

/// The versions at or below one timestamp.
struct Snapshot<'a, V> {
    versions: &'a V,
    at: Timestamp,
}

impl<V: Versions> View for Snapshot<'_, V> {
    fn get(&self, key: &Key) -> Option<Versioned> {
        self.versions.get(key, self.at)
    }

    fn scan(&self, range: &KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Versioned)> {
        self.versions.scan(range, self.at, limit, direction)
    }
}
