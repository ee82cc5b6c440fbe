//! Staged transactions: what is read decides what is read next, and what is written.
//!
//! Realises the staged transactions of section 4 of the design, on the side of the client. The stages are an async closure that
//! reads through a [`Stage`], all of one snapshot, and ends in a thunk, or refuses. That end is submitted with [guards](crate::thunk::Guards) over
//! everything that was read. If something of it has changed by the transaction's own timestamp, the closure is run again, on a newer
//! snapshot; after a few such runs what was read is [reserved](crate::thunk::Reserve) first, so that the stages take their turn. [`start`] is
//! all of this without I/O: a future, and a [`Mailbox`] from which a driver takes what is to be read and submitted. Tests:
//! `tests/staged/`, and the workload `cycle` of the simulator.

mod mailbox;
mod stage;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

pub use mailbox::{Ask, AskId, Mailbox, Told};
pub use stage::Stage;

use super::{NotSubmitted, admit, arguments};
use crate::codec::{self, EncodeError};
use crate::id::TransactionId;
use crate::key::{Key, KeyRange};
use crate::protocol::{Query, ReadMode};
use crate::thunk::{Guarded, Guards, Refuse, Registry, Reservations, Reserve, Thunk};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Outcome, Settlement, ThunkId, Transaction};

/// How a staged transaction goes about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Staging {
    /// How often the stages are run at most; 1: never again.
    pub runs_max: u32,
    /// After how many stale runs what was read is reserved; none: never.
    pub reserve_after: Option<u32>,
    /// How long a reservation holds at most, in timestamp time: what others wait if this client is gone.
    pub reservation: Duration,
    /// The snapshot of the first run. The guards see to it that an old one does no harm: it costs another run.
    pub first_read: ReadMode,
    /// The pause after the first stale run. It doubles from run to run.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// The time between two looks whether it is our turn, each a read of the nearest replica: as long stands still at most what all wait for.
    pub look_every: Duration,
}

/// 32 runs, the fourth and later ones with a reservation of 2 s; the first on the nearest snapshot; pauses of 1 to 64 ms, and a look every 4 ms.
impl Default for Staging {
    fn default() -> Self {
        Self {
            runs_max: 32,
            reserve_after: Some(3),
            reservation: Duration::from_secs(2),
            first_read: ReadMode::Snapshot,
            pause: Duration::from_millis(1),
            pause_max: Duration::from_millis(64),
            look_every: Duration::from_millis(4),
        }
    }
}

/// How a staged transaction ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// What came of it.
    pub end: End,
    /// How often the stages were run.
    pub runs: u32,
    /// Whether it had to reserve what it read.
    pub has_reserved: bool,
}

/// What came of a staged transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It was evaluated with all that it had seen unchanged: its thunk's outcome, or the stages' refusal.
    Settled(Settlement),
    /// Its last stage cannot be submitted. Nothing happened.
    Invalid(Invalid),
    /// It was stale in every run. Nothing happened.
    Exhausted {
        /// Keys that had changed in the last run, or were reserved by another; none if its snapshot was no longer kept when they were done.
        keys: Vec<Key>,
    },
}

/// Why the last stage cannot be submitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It is no transaction.
    #[error(transparent)]
    Transaction(#[from] NotSubmitted),
    /// Its arguments have no encoding.
    #[error("the arguments of the thunk have no encoding: {0}")]
    Arguments(#[from] EncodeError),
}

/// Runs `stages` until their end takes effect, refuses, or has been stale too often.
///
/// *Given* the thunks of the cluster; an id, under which all of it takes effect once, however often it is started; another one, of this start alone, for its
/// reservations; and a closure that may be run several times. The driver polls the future, takes what is asked from the mailbox, answers it, and polls again. It may drop
/// both at any time; if a transaction was submitted last, that may take effect.
pub fn start<T, F>(
    registry: Arc<Registry>,
    id: TransactionId,
    holder: TransactionId,
    staging: Staging,
    stages: F,
) -> (Mailbox, impl Future<Output = Ended>)
where
    T: Thunk,
    F: AsyncFn(Stage) -> Result<T, Abort>,
{
    let mailbox = Mailbox::default();
    let course = Course {
        registry,
        id,
        holder,
        ends: 0,
        reservations: 0,
        random: Xoshiro256PlusPlus::seed_from_u64(holder.as_u128() as u64),
        pause: staging.pause,
        staging,
        since: None,
        mailbox: mailbox.clone(),
    };
    (mailbox, course.run(stages))
}

/// One staged transaction on its way.
struct Course {
    registry: Arc<Registry>,
    id: TransactionId,
    /// Who it is among the reservations. Another start under the same id is somebody else there: neither takes away what the other holds.
    holder: TransactionId,
    staging: Staging,
    mailbox: Mailbox,
    /// Ends of runs submitted so far.
    ends: u32,
    /// Reservations submitted so far.
    reservations: u32,
    random: Xoshiro256PlusPlus,
    /// The next pause.
    pause: Duration,
    /// The seniority of the reservation, once there is one.
    since: Option<Timestamp>,
}

impl Course {
    async fn run<T: Thunk>(mut self, stages: impl AsyncFn(Stage) -> Result<T, Abort>) -> Ended {
        let mut mode = self.staging.first_read;
        let mut runs = 0;
        let end = loop {
            runs += 1;
            self.mailbox.begin_run(runs, mode);
            let decided = stages(Stage::new(self.mailbox.clone(), runs));
            let Some(decided) = self.mailbox.unless_gone(decided).await else {
                if runs >= self.staging.runs_max {
                    break End::Exhausted { keys: Vec::new() };
                }
                mode = ReadMode::Strict;
                continue;
            };
            let guards = self.mailbox.guards();
            let settlement = match self.last_stage(decided, guards.clone()) {
                Ok(transaction) => self.submit(transaction).await,
                Err(invalid) => break End::Invalid(invalid),
            };
            let (keys, yielded) = match &settlement.outcome {
                Outcome::Aborted(Abort::Stale { keys, .. }) => (keys.clone(), None),
                Outcome::Aborted(Abort::Reserved { key, .. }) => (vec![key.clone()], Some(key.clone())),
                _ => break End::Settled(settlement),
            };
            if runs >= self.staging.runs_max {
                break End::Exhausted { keys };
            }
            mode = if self.staging.reserve_after.is_some_and(|stale| runs >= stale) {
                let keys = guards.keys().cloned().chain(yielded).collect();
                let ranges = guards.ranges().cloned().collect();
                self.take_turn(keys, ranges).await
            } else {
                self.pause_longer().await;
                ReadMode::After(settlement.effective)
            };
        };
        let has_reserved = self.since.is_some();
        if has_reserved && !has_let_go(&end) {
            self.reserve(Vec::new(), Vec::new()).await;
        }
        Ended {
            end,
            runs,
            has_reserved,
        }
    }

    /// The transaction of a run's end.
    ///
    /// Of all that are ever started under one id, the first ends have one id, and so one outcome, together, the second ones too, and so on. So nobody
    /// gets past the end that took effect, whatever else each does on its way.
    fn last_stage<T: Thunk>(&mut self, decided: Result<T, Abort>, guards: Guards) -> Result<Transaction, Invalid> {
        let (thunk, encoded) = match decided {
            Ok(thunk) => (ThunkId::of::<T>(), arguments(&thunk)),
            Err(abort) => {
                let reason = match abort {
                    Abort::Refused(reason) => reason,
                    other => other.to_string(),
                };
                (ThunkId::of::<Refuse>(), arguments(&Refuse { reason }))
            }
        };
        let holder = self.since.map(|_| self.holder);
        let guarded = Guarded::new(&thunk, encoded?, guards, holder);
        let encoded = arguments(&guarded)?;
        let id = self.id.attempt(self.ends);
        self.ends += 1;
        Ok(admit(&self.registry, id, ThunkId::of::<Guarded>(), encoded)?)
    }

    /// Reserves keys and ranges, and waits until nobody who waits longer is in the way. *Gives* the snapshot to go on with: also without a reservation,
    /// if there are too many others, if this is too much, or if it has expired before it can be looked at.
    async fn take_turn(&mut self, keys: Vec<Key>, ranges: Vec<KeyRange>) -> ReadMode {
        loop {
            let mut mode = self.reserve(keys.clone(), ranges.clone()).await;
            let mut is_first_look = true;
            loop {
                let (at, reservations) = self.look(mode).await;
                mode = ReadMode::After(Timestamp::last_at(at));
                let is_there = reservations.has(self.holder);
                if !is_there && is_first_look {
                    self.pause_longer().await;
                    return mode;
                }
                if !is_there {
                    // It has expired while others had their turns: it is made again, and its place in the order is the same.
                    break;
                }
                if reservations.ahead_of(self.holder).is_none() {
                    return mode;
                }
                self.part(self.staging.look_every).await;
                is_first_look = false;
            }
        }
    }

    /// The reservations of a snapshot.
    async fn look(&self, mode: ReadMode) -> (Hlc, Reservations) {
        let query = Query::keys([Reservations::key()]);
        let Told::Rows(at, answer) = self.mailbox.ask(Ask::Read(mode, query)).await else {
            unreachable!("a driver answers a read of no certain snapshot with rows")
        };
        let found = answer.keys.into_iter().next().flatten();
        let reservations = Reservations::decode(found.map(|found| found.value).as_ref(), at);
        // Bytes that are no reservations are told by the next guarded transaction, which reads them too.
        (at, reservations.unwrap_or_default())
    }

    /// Reserves keys and ranges in place of what was reserved. *Gives* a snapshot in which that is so.
    async fn reserve(&mut self, keys: Vec<Key>, ranges: Vec<KeyRange>) -> ReadMode {
        let reserve = Reserve {
            holder: self.holder,
            since: self.since,
            keys,
            ranges,
            lasts_ms: u64::try_from(self.staging.reservation.as_millis()).unwrap_or(u64::MAX),
        };
        let id = self.holder.attempt(self.reservations);
        self.reservations += 1;
        let encoded =
            arguments(&reserve).expect("keys, ranges and numbers have an encoding, as the guards of them had");
        let reservation = admit(&self.registry, id, ThunkId::of::<Reserve>(), encoded);
        let reservation = reservation.expect("it holds less than the transaction that was stale");
        let settlement = self.submit(reservation).await;
        if let Outcome::Committed(since) = &settlement.outcome {
            self.since = codec::decode_value(since).ok().or(self.since);
        }
        ReadMode::After(settlement.effective)
    }

    async fn submit(&self, transaction: Transaction) -> Settlement {
        match self.mailbox.ask(Ask::Submit(transaction)).await {
            Told::Settled(settlement) => settlement,
            told => unreachable!("a driver answers a submission with its end, not with {told:?}"),
        }
    }

    /// Waits, and longer the next time.
    async fn pause_longer(&mut self) {
        self.part(self.pause).await;
        self.pause = (self.pause * 2).min(self.staging.pause_max);
    }

    /// Waits, between half of this time and all of it, so that those who were stale together part.
    async fn part(&mut self, at_most: Duration) {
        let half = at_most / 2;
        let more = half.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX));
        self.mailbox.ask(Ask::Pause(half + more)).await;
    }
}

/// Whether the reservation went with the end: it did if this start's own last stage has committed. One that was only told of the commit, of an earlier
/// start or of its own at the second try, may have reserved since.
fn has_let_go(end: &End) -> bool {
    matches!(end, End::Settled(settlement) if matches!(settlement.outcome, Outcome::Committed(_)) && settlement.record == settlement.effective)
}
