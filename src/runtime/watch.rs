//! Watching a range of keys: every committed change, in the order of timestamps.
//!
//! A [`Watch`] asks, and a replica answers when there is something: nothing is sent that was not asked for, and so nobody has to hold more than one
//! answer. What is evaluated is final and the same on every replica, so a watch may go on at any other; it holds nothing but its place. The
//! replica's half is in `changes`, where the changes come from in [`executor`](crate::executor).

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::calls::Call;
use super::changes::{NotTold, nothing_new};
use super::database::{PAUSE, Plimsoll, is_passing};
use super::error::{Unavailable, WatchError};
use super::replica::ReplicaHandle;
use crate::executor::{Changes, ChangesQuery, KeyChange, Place, ReadError};
use crate::key::KeyRange;
use crate::limits::CHANGES_MAX;
use crate::protocol::{Query, ReadMode, Refusal};
use crate::time::{Hlc, Timestamp};

/// Changes in one batch, unless the watch says otherwise.
const LIMIT: usize = 1_000;

/// How long one replica is waited for before another one is asked. A node elsewhere answers before that if it is alone with what it knows.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon after an answer without changes the next question may be asked.
const QUESTION_EVERY: Duration = Duration::from_millis(50);

/// A watch on a range of keys. It goes on for ever, and fails over from replica to replica.
///
/// Each change comes at least once: exactly once from one watch, and again from one that begins at an earlier place. Nothing is fetched while
/// nobody waits in [`Watch::next`], so a slow consumer costs no memory. One that falls behind by more than what is
/// [kept](crate::limits::VERSION_RETENTION) gets [`WatchError::Collected`].
///
/// To have everything, read the range at a snapshot and watch after that one:
///
/// ```
/// # use plimsoll::Plimsoll;
/// # use plimsoll::key::KeyRange;
/// # use plimsoll::protocol::{Query, ReadMode, Scan};
/// # use plimsoll::thunk::Put;
/// # use plimsoll::time::Timestamp;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = Plimsoll::builder().replicas(3).open().await?;
/// let range = KeyRange::prefix("user/".into());
/// let query = Query { keys: vec![], ranges: vec![Scan::forward(range.clone(), 1_000)] };
/// let rows = database.read(ReadMode::Strict, query).await?;
/// // ... keep what was read, and then:
/// let mut watch = database.watch(range).after(Timestamp::last_at(rows.at));
/// database.submit(&Put { entries: vec![("user/ann".into(), "1".into())] }).await?;
/// let batch = watch.next().await?;
/// assert_eq!(batch.changes[0].key, "user/ann".into());
/// // A watch that begins after this one sees what follows, also in another process.
/// let resume: Timestamp = batch.resume;
/// # database.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    database: Plimsoll,
    range: KeyRange,
    limit: usize,
    /// How far it was answered; none before it has begun.
    place: Option<Place>,
    /// Where whoever has seen what was given goes on.
    resume: Timestamp,
    /// What has come of a transaction that has not come as a whole: it has more than one answer holds.
    begun: Vec<KeyChange>,
    /// Which replica is asked first.
    turn: usize,
}

/// What a watch gives at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The changes, ascending by timestamp, and of one timestamp by key; one at least. A transaction is in it with everything that it did in the
    /// range, or not at all.
    pub changes: Vec<KeyChange>,
    /// Where to [go on](Watch::after) once these have been dealt with: every change of the range at or below it has been given.
    pub resume: Timestamp,
}

impl Plimsoll {
    /// Watches a range of keys: from what follows now, unless it is told to begin [after](Watch::after) a place.
    pub fn watch(&self, range: KeyRange) -> Watch {
        Watch {
            turn: self.shared().turn(),
            database: self.clone(),
            range,
            limit: LIMIT,
            place: None,
            resume: Timestamp::last_at(Hlc::ZERO),
            begun: Vec::new(),
        }
    }
}

impl Watch {
    /// Begins behind this timestamp: the `resume` of a batch, where a transaction took effect, or `Timestamp::last_at(rows.at)` of a read.
    ///
    /// How far back it may lie: at least [`VERSION_RETENTION`](crate::limits::VERSION_RETENTION), by the clock of timestamps.
    pub fn after(mut self, timestamp: Timestamp) -> Self {
        self.go_to(timestamp);
        self
    }

    /// Gives so many changes at a time: 1,000 unless this says otherwise, and from 1 to [`CHANGES_MAX`]. A single transaction that has more is
    /// nevertheless given as a whole.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit.clamp(1, CHANGES_MAX);
        self
    }

    /// Begins now, if it has not begun: what follows on this is seen, and what was answered anywhere before is not. Without it the first
    /// [`Watch::next`] does it.
    ///
    /// *Gives* the place where it stands.
    ///
    /// *Errors* when nobody can say what now is, see [`ReadMode::Strict`]; trying again is safe.
    pub async fn begin(&mut self) -> Result<Timestamp, WatchError> {
        if self.place.is_none() {
            let now = self.database.read(ReadMode::Strict, Query::default()).await;
            let now = now.map_err(WatchError::NotBegun)?;
            self.go_to(Timestamp::last_at(now.at));
        }
        Ok(self.resume)
    }

    /// Where a watch that is to go on from here begins; none before this one has begun.
    ///
    /// It moves on also while nothing in the range changes, so that it does not grow older than what is kept: who keeps it takes it now and then.
    pub fn resume(&self) -> Option<Timestamp> {
        self.place.as_ref().map(|_| self.resume)
    }

    /// Waits for the next changes.
    ///
    /// It may be dropped at any time, as with a time-out around it: nothing is lost, and the next call goes on.
    ///
    /// *Errors*: see [`WatchError`]. All but [`WatchError::Collected`] may pass, and the next call goes on.
    pub async fn next(&mut self) -> Result<Batch, WatchError> {
        self.begin().await?;
        loop {
            let asked = Instant::now();
            let changes = self.ask().await?;
            let is_empty = changes.changes.is_empty();
            if let Some(batch) = self.take_in(changes) {
                return Ok(batch);
            }
            if is_empty {
                // A replica that has no room for one who waits answers at once.
                sleep(QUESTION_EVERY.saturating_sub(asked.elapsed())).await;
            }
        }
    }

    fn go_to(&mut self, timestamp: Timestamp) {
        self.place = Some(Place::after(timestamp));
        self.resume = timestamp;
        self.begun.clear();
    }

    /// *Gives* what has come as a whole, if anything has.
    fn take_in(&mut self, answer: Changes) -> Option<Batch> {
        let Changes { changes, upto } = answer;
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend(changes);
        match &upto.key {
            None => self.resume = upto.timestamp,
            Some(_) => {
                let split = whole.partition_point(|change| change.timestamp < upto.timestamp);
                self.begun = whole.split_off(split);
                self.resume = whole.last().map_or(self.resume, |last| last.timestamp);
            }
        }
        self.place = Some(upto);
        let resume = self.resume;
        let changes = whole;
        (!changes.is_empty()).then_some(Batch { changes, resume })
    }

    /// The answer of the first replica that has one.
    async fn ask(&mut self) -> Result<Changes, WatchError> {
        let since = Instant::now();
        let after = self.place.clone().expect("the watch has begun");
        let query = ChangesQuery {
            range: self.range.clone(),
            after,
            limit: self.limit,
        };
        loop {
            let (mut refusal, mut oldest_kept) = (None, None::<Hlc>);
            let replicas = self.database.shared().beginning_at(self.turn);
            for (further, replica) in replicas.iter().enumerate() {
                match ask_one(replica, &query).await {
                    Asked::Answer(changes) => {
                        // One that has not come on may be cut off from the others.
                        let has_come_on = changes.upto > query.after;
                        self.turn += further + usize::from(!has_come_on);
                        return Ok(changes);
                    }
                    Asked::Refused(why) => refusal = Some(why),
                    Asked::Collected(oldest) => {
                        oldest_kept = Some(oldest_kept.map_or(oldest, |other| other.min(oldest)));
                    }
                    Asked::Gone => {}
                }
            }
            if let Some(oldest) = oldest_kept {
                let after = self.resume;
                return Err(WatchError::Collected { after, oldest });
            }
            let is_over = since.elapsed() >= self.database.deadline();
            match refusal {
                Some(refusal) if is_over || !is_passing(&refusal) => return Err(WatchError::Refused(refusal)),
                None if self.database.shared().have_all_stopped() => return Err(Unavailable.into()),
                None if is_over => return Err(WatchError::Deadline(self.database.deadline())),
                _ => sleep(PAUSE).await,
            }
        }
    }
}

/// What came of asking one replica.
enum Asked {
    /// Nothing new is an answer as well.
    Answer(Changes),
    Refused(Refusal),
    /// It has all changes above this bound, and the question lies below.
    Collected(Hlc),
    /// It has stopped, or the way to it has broken.
    Gone,
}

async fn ask_one(replica: &ReplicaHandle, query: &ChangesQuery) -> Asked {
    let (reply, answer) = oneshot::channel();
    let query = query.clone();
    let upto = query.after.clone();
    match replica.calls.send(Call::Changes { query, reply }) {
        Err(Some(refusal)) => return Asked::Refused(refusal),
        Err(None) => return Asked::Gone,
        Ok(()) => {}
    }
    match timeout(PATIENCE, answer).await {
        Ok(Ok(Ok(changes))) => Asked::Answer(changes),
        Ok(Ok(Err(NotTold::Refused(refusal)))) => Asked::Refused(refusal),
        Ok(Ok(Err(NotTold::Read(ReadError::Collected { oldest, .. })))) => Asked::Collected(oldest),
        Ok(Ok(Err(NotTold::Read(_))) | Err(_)) => Asked::Gone,
        Err(_) => Asked::Answer(nothing_new(upto)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    fn at(count: u64) -> Timestamp {
        Timestamp {
            hlc: Hlc::from_bits(count),
            node: NodeId::new(1),
        }
    }

    fn changes(names: &[(u64, &str)], upto: Place) -> Changes {
        let changes = names.iter().map(|(count, key)| KeyChange {
            timestamp: at(*count),
            key: (*key).into(),
            value: None,
        });
        Changes {
            changes: changes.collect(),
            upto,
        }
    }

    fn inside(count: u64, key: &str) -> Place {
        Place {
            timestamp: at(count),
            key: Some(key.into()),
        }
    }

    #[tokio::test]
    async fn a_transaction_that_comes_in_pieces_is_given_as_a_whole_and_resumed_in_front_of() {
        let database = Plimsoll::builder().open().await.expect("one replica in memory");
        let mut watch = database.watch(KeyRange::from("".into())).after(at(1));
        let names = |batch: Option<Batch>| {
            let batch = batch?;
            let counts = batch.changes.iter().map(|change| change.timestamp.hlc.bits());
            Some((counts.collect::<Vec<_>>(), batch.resume))
        };
        let given = watch.take_in(changes(&[(2, "a"), (3, "a")], inside(3, "a")));
        assert_eq!(names(given), Some((vec![2], at(2))));
        let given = watch.take_in(changes(&[(3, "b")], inside(3, "b")));
        assert_eq!((names(given), watch.resume()), (None, Some(at(2))));
        let given = watch.take_in(changes(&[(3, "c"), (4, "a")], Place::after(at(7))));
        assert_eq!(names(given), Some((vec![3, 3, 3, 4], at(7))));
        assert_eq!(names(watch.take_in(changes(&[], Place::after(at(9))))), None);
        assert_eq!(watch.resume(), Some(at(9)), "it moves on although nothing has changed");
    }
}
