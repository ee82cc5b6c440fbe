//! The handle on a database: submit, read, ask, resolve, shut down.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::builder::Builder;
use super::calls::{Call, ReadReply};
use super::connect::RemoteBuilder;
use super::error::{ChangeFailed, ReadFailed, ResolveFailed, SubmitError, Unavailable, Uncertain};
use super::node::NodeBuilder;
use super::replica::{Event, ReplicaHandle, ReplicaStatus};
use super::shared::{Reach, Shared};
use super::time::wall;
use crate::client;
use crate::executor::{Answer, ReadError, Status};
use crate::id::{Epoch, NodeId, TransactionId};
use crate::key::{Key, KeyRange, Value};
use crate::net::{Address, Credentials};
use crate::protocol::{Change, Query, ReadMode, Refusal, Reply, Scan};
use crate::thunk::{Registry, Resolution, Resolve, Thunk};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Outcome, Settlement, ThunkId, Transaction};

/// How long to wait before the replicas are asked again when none of them takes a call just now.
pub(super) const PAUSE: Duration = Duration::from_millis(5);

/// How long a shutdown waits for the replicas to take back their holds.
const RESIGN_PATIENCE: Duration = Duration::from_secs(5);

/// A database. A clone is another handle on the same; when the last one is dropped, the replicas stop without saying goodbye.
///
/// Dropping a future abandons the wait, never the transaction.
#[derive(Clone)]
pub struct Plimsoll {
    pub(super) shared: Arc<Shared>,
}

/// A transaction that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed<O> {
    /// The transaction.
    pub id: TransactionId,
    /// Where it took effect: read at or after this to see what it wrote.
    pub timestamp: Timestamp,
    /// What its thunk gave.
    pub output: O,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The snapshot that was read: everything at or below it was seen, and nothing above.
    pub at: Hlc,
    /// The values.
    pub answer: Answer,
}

/// Says which replicas there are.
impl fmt::Debug for Plimsoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replicas = self.shared.replicas();
        let nodes: Vec<_> = replicas.iter().map(|replica| replica.node).collect();
        f.debug_tuple("Plimsoll").field(&nodes).finish()
    }
}

/// How the members of a database stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The newest epoch that a node has told of.
    pub epoch: Epoch,
    /// The nodes that store data in it, ascending.
    pub members: Vec<NodeId>,
    /// The nodes that issue timestamps in it, ascending.
    pub coordinators: Vec<NodeId>,
    /// Where nodes are, as far as it is known; of replicas in this process nothing is.
    pub addresses: BTreeMap<NodeId, Address>,
}

/// What has come of submitting a transaction so far.
#[derive(Default)]
struct Attempts {
    /// Whether a replica has it and has not answered.
    is_under_way: bool,
    /// Why a replica that had it does not know.
    doubt: Option<Uncertain>,
    /// Why the last one that was asked has refused.
    refusal: Option<Refusal>,
}

/// What came of asking one replica.
enum Asked<A> {
    Answer(A),
    /// It certainly did nothing.
    Refused(Refusal),
    /// It may have happened.
    Doubt(Uncertain),
    /// The replica has stopped, and has not seen the call.
    Gone,
}

impl Plimsoll {
    /// A database in this process: how many replicas, which thunks, and then [`Builder::open`].
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A node of a cluster in this process, with the credentials that were made for it: where the others are and where its files lie, and then
    /// [`NodeBuilder::open`].
    pub fn node(credentials: Credentials) -> NodeBuilder {
        NodeBuilder::new(credentials)
    }

    /// A database that runs elsewhere, with the credentials of a client: where one of its nodes is, and then [`RemoteBuilder::open`].
    pub fn remote(credentials: Credentials) -> RemoteBuilder {
        RemoteBuilder::new(credentials)
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn shared_registry(&self) -> Arc<Registry> {
        self.shared.code.current()
    }

    pub(super) fn deadline(&self) -> Duration {
        self.shared.deadline
    }

    /// A new transaction id, of this process's clock and randomness: for [`Plimsoll::submit_as`], to be kept where a crash does not reach it.
    pub fn new_id() -> TransactionId {
        let random = uuid::Uuid::new_v4().into_bytes();
        let mut ten = [0; 10];
        ten.copy_from_slice(&random[6..]);
        // Two of them hold bits that say which kind of UUID it is.
        ten[0] = random[0];
        ten[2] = random[1];
        TransactionId::from_parts(wall().unix_millis(), ten)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Submits a transaction and waits for its outcome, under a new id.
    ///
    /// *Errors*: see [`SubmitError`].
    pub async fn submit<T: Thunk>(&self, thunk: &T) -> Result<Committed<T::Output>, SubmitError> {
        self.submit_as(Self::new_id(), thunk).await
    }

    /// Submits a transaction under an id that the caller has chosen, as a UUIDv7 of the present time: submitted again under it, also after an
    /// error or a crash, it takes effect once, and the answer is the first outcome.
    ///
    /// *Errors*: see [`SubmitError`].
    pub async fn submit_as<T: Thunk>(&self, id: TransactionId, thunk: &T) -> Result<Committed<T::Output>, SubmitError> {
        // Before anything is made that would be thrown away.
        self.shared.check_room().map_err(SubmitError::Refused)?;
        let arguments = client::arguments(thunk)?;
        let transaction = client::admit(&self.shared_registry(), id, ThunkId::of::<T>(), arguments)?;
        let settlement = self.settle(transaction).await?;
        committed::<T>(&settlement)
    }

    /// Submits a transaction of a thunk that is known by name, with encoded arguments: for gateways and shells.
    ///
    /// *Errors*: see [`SubmitError`]; an abort is a value here.
    pub async fn submit_encoded(
        &self,
        id: TransactionId,
        thunk: ThunkId,
        arguments: Value,
    ) -> Result<Settlement, SubmitError> {
        self.shared.check_room().map_err(SubmitError::Refused)?;
        self.settle(client::admit(&self.shared_registry(), id, thunk, arguments)?)
            .await
    }

    /// A transaction's settlement. Asks one replica after the other as long as it does no harm: what is in doubt is submitted again under
    /// the same id.
    pub(super) async fn settle(&self, transaction: Transaction) -> Result<Settlement, SubmitError> {
        let id = transaction.id;
        let submit = |replica: &ReplicaHandle, reply| replica.calls.submit(|| transaction.clone(), reply);
        let mut attempts = Attempts::default();
        match timeout(self.shared.deadline, self.until_answered(submit, &mut attempts)).await {
            Ok(Some(settlement)) => return Ok(settlement),
            Ok(None) => {}
            Err(_) if attempts.is_under_way => {
                let why = Uncertain::Deadline(self.shared.deadline);
                return Err(SubmitError::Unknown { id, why });
            }
            Err(_) => {}
        }
        Err(match (attempts.doubt, attempts.refusal) {
            (Some(why), _) => SubmitError::Unknown { id, why },
            (None, Some(refusal)) => SubmitError::Refused(refusal),
            (None, None) => Unavailable.into(),
        })
    }

    /// *Gives* nothing when asking again would not help, or every replica has stopped.
    async fn until_answered(
        &self,
        hand_over: impl Fn(&ReplicaHandle, oneshot::Sender<Reply>) -> Result<(), Option<Refusal>>,
        attempts: &mut Attempts,
    ) -> Option<Settlement> {
        loop {
            let mut last = None;
            for replica in self.shared.by_turns().iter() {
                let (reply, answer) = oneshot::channel();
                let sent = hand_over(replica, reply);
                attempts.is_under_way = sent.is_ok();
                let asked = asked(sent, answer).await;
                attempts.is_under_way = false;
                match asked {
                    Asked::Answer(settlement) => return Some(settlement),
                    Asked::Refused(refusal) => {
                        self.shared.on_refusal(replica, &refusal);
                        last = Some(refusal);
                    }
                    Asked::Doubt(why) => {
                        self.shared.pass_over(replica);
                        attempts.doubt = Some(why);
                    }
                    Asked::Gone => {}
                }
            }
            attempts.refusal.clone_from(&last);
            match last {
                Some(refusal) if !is_passing(&refusal) => return None,
                None if self.shared.have_all_stopped() => return None,
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// Reads single keys and ranges at one snapshot.
    ///
    /// *Errors*: nothing was read; trying again is safe.
    pub async fn read(&self, mode: ReadMode, query: Query) -> Result<Rows, ReadFailed> {
        let call = |reply| Call::Read {
            mode,
            query: query.clone(),
            reply,
        };
        let (at, answer) = self.read_anywhere(mode, call).await?;
        Ok(Rows { at, answer })
    }

    /// What the first replica reads that can, by calls of this mode.
    pub(super) async fn read_anywhere<A>(
        &self,
        mode: ReadMode,
        call: impl Fn(oneshot::Sender<ReadReply<A>>) -> Call,
    ) -> Result<(Hlc, A), ReadFailed> {
        let mut refusal = None;
        let reading = self.read_by_turns(mode, call, &mut refusal);
        match (timeout(self.shared.deadline, reading).await, refusal) {
            (Ok(result), _) => result,
            (Err(_), Some(refusal)) => Err(ReadFailed::Refused(refusal)),
            (Err(_), None) => Err(ReadFailed::Deadline(self.shared.deadline)),
        }
    }

    /// The newest value of a key; absent if there is none. Sees everything that was answered anywhere before.
    ///
    /// *Errors*: nothing was read; trying again is safe.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<Value>, ReadFailed> {
        let rows = self.read(ReadMode::Strict, Query::keys([key.into()])).await?;
        let found = rows.answer.keys.into_iter().next().flatten();
        Ok(found.map(|versioned| versioned.value))
    }

    /// The first `limit` entries of a range, ascending. Sees everything that was answered anywhere before.
    ///
    /// *Errors*: nothing was read; trying again is safe.
    pub async fn scan(&self, range: KeyRange, limit: usize) -> Result<Vec<(Key, Value)>, ReadFailed> {
        let query = Query::scan(Scan::forward(range, limit));
        let rows = self.read(ReadMode::Strict, query).await?;
        let entries = rows.answer.ranges.into_iter().flatten();
        Ok(entries.map(|(key, versioned)| (key, versioned.value)).collect())
    }

    /// *Gives* beside its result why the last one refused when all were asked and none could answer.
    async fn read_by_turns<A>(
        &self,
        mode: ReadMode,
        call: impl Fn(oneshot::Sender<ReadReply<A>>) -> Call,
        why_none: &mut Option<Refusal>,
    ) -> Result<(Hlc, A), ReadFailed> {
        loop {
            let mut last = None;
            for replica in self.shared.by_turns().iter() {
                let (reply, answer) = oneshot::channel();
                match replica.calls.send(call(reply)) {
                    Err(Some(refusal)) => last = Some(refusal),
                    Err(None) => continue,
                    Ok(()) => match answer.await {
                        Ok(ReadReply::Reading(reading)) => {
                            match reading.await {
                                // The replica has leapt while the read was on its way to the versions, from what it had when it started.
                                Ok(Err(ReadError::Collected { .. })) if !matches!(mode, ReadMode::At(_)) => {}
                                Ok(result) => return Ok(result?),
                                Err(_) => {}
                            }
                        }
                        Ok(ReadReply::Reply(Reply::Refused(refusal))) => {
                            self.shared.on_refusal(replica, &refusal);
                            last = Some(refusal);
                        }
                        // It has stopped, or does not know: a read is asked again anywhere.
                        Ok(ReadReply::Reply(_)) | Err(_) => {}
                    },
                }
            }
            why_none.clone_from(&last);
            match last {
                Some(refusal) if !is_passing(&refusal) => return Err(ReadFailed::Refused(refusal)),
                None if self.shared.have_all_stopped() => return Err(Unavailable.into()),
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// What one replica knows of a transaction now; waits for nothing. See [`Status`].
    ///
    /// *Errors* when every replica has stopped.
    pub async fn status(&self, id: TransactionId) -> Result<Status, Unavailable> {
        self.inspect(|reply| Call::Status { id, reply }).await
    }

    /// Ends the doubt about a transaction: gives its outcome, or cancels it so that it never takes effect.
    ///
    /// *Errors*: the doubt remains; try again.
    pub async fn resolve(&self, target: TransactionId) -> Result<Resolution, ResolveFailed> {
        let failed = |error| ResolveFailed::Submit { target, error };
        let settlement = self
            .settle(client::resolve(Self::new_id(), target))
            .await
            .map_err(failed)?;
        let committed = committed::<Resolve>(&settlement).map_err(failed)?;
        Ok(committed.output)
    }

    /// How the replicas stand that this handle asks; those that do not answer are left out.
    pub async fn replicas(&self) -> Vec<ReplicaStatus> {
        let mut asked = Vec::new();
        for replica in self.shared.replicas().iter() {
            let (reply, answer) = oneshot::channel();
            if replica.calls.send(Call::Inspect { reply }).is_ok() {
                asked.push(answer);
            }
        }
        let mut all = Vec::new();
        let until = Instant::now() + self.shared.deadline;
        for answer in asked {
            // Who has not answered by then does not; who has is told of, whoever was waited for before.
            let answered = timeout_at(until, answer).await;
            all.extend(answered.ok().and_then(Result::ok));
        }
        all
    }

    /// The members, as the node tells that has come furthest, and where nodes are.
    ///
    /// *Errors* when no replica answers.
    pub async fn members(&self) -> Result<Members, Unavailable> {
        let all = self.replicas().await;
        let furthest = all.into_iter().max_by_key(|replica| replica.epoch).ok_or(Unavailable)?;
        Ok(Members {
            epoch: furthest.epoch,
            members: furthest.members,
            coordinators: furthest.coordinators,
            addresses: match &self.shared.reach {
                Reach::Within => BTreeMap::new(),
                Reach::Node(network) => network.addresses(),
                Reach::Remote(remotes) => remotes.addresses(),
            },
        })
    }

    /// Ends when a replica of this process has stopped: because it was told to, or because something in it has failed, which the log says.
    /// Of a database elsewhere it never ends.
    pub async fn stopped(&self) {
        let replicas = self.shared.replicas();
        let stopped = replicas.iter().map(|replica| Box::pin(replica.inbox.closed()));
        let mut stopped: Vec<_> = stopped.collect();
        std::future::poll_fn(|context| {
            let is_any = stopped
                .iter_mut()
                .any(|closed| closed.as_mut().poll(context).is_ready());
            if is_any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Changes the members, asked of the replica with this number. Answers once a majority of the new members holds everything.
    ///
    /// *Errors* say whether it was made.
    pub async fn change(&self, at: u32, change: Change) -> Result<Epoch, ChangeFailed> {
        let replica = self.replica(at)?;
        let (reply, answer) = oneshot::channel();
        let sent = replica.calls.send(Call::Change { change, reply });
        sent.map_err(|refusal| refusal.map_or(ChangeFailed::NoReplica(at), ChangeFailed::Refused))?;
        match answer.await {
            Ok(Reply::Changed { epoch }) => Ok(epoch),
            Ok(Reply::Refused(refusal)) => Err(ChangeFailed::Refused(refusal)),
            Ok(Reply::Unknown(doubt)) => Err(ChangeFailed::Unknown(Uncertain::Doubt(doubt))),
            Ok(Reply::Settled(_)) | Err(_) => Err(ChangeFailed::Unknown(Uncertain::Stopped)),
        }
    }

    /// Stops one replica at once, as a crash would; the others go on while they are a majority.
    ///
    /// *Errors* when no replica of this process has that number.
    pub async fn stop_replica(&self, number: u32) -> Result<(), ChangeFailed> {
        let replica = self.replica(number)?;
        // One that is gone has stopped.
        let _ = replica.inbox.send(Event::Stop).await;
        replica.inbox.closed().await;
        Ok(())
    }

    fn replica(&self, number: u32) -> Result<ReplicaHandle, ChangeFailed> {
        let replicas = self.shared.replicas();
        let found = replicas.iter().find(|replica| replica.node.number() == number);
        found.cloned().ok_or(ChangeFailed::NoReplica(number))
    }

    /// Shuts the replicas of this process down: they take nothing new, end what they have, and stop. Other handles get errors from then on.
    /// Those elsewhere go on, and this handle has let go of them.
    pub async fn shutdown(self) {
        if let Reach::Remote(remotes) = &self.shared.reach {
            return remotes.endpoint().close().await;
        }
        let replicas = self.shared.replicas();
        let mut resignations = Vec::new();
        for replica in replicas.iter() {
            let (told, resigned) = oneshot::channel();
            if replica.inbox.send(Event::Resign(told)).await.is_ok() {
                resignations.push(resigned);
            }
        }
        let all = async {
            for resigned in resignations {
                // One that has stopped meanwhile holds nobody.
                let _ = resigned.await;
            }
        };
        if timeout(RESIGN_PATIENCE, all).await.is_err() {
            tracing::warn!("not every replica has resigned in time: is a majority there?");
        }
        for replica in replicas.iter() {
            let _ = replica.inbox.send(Event::Stop).await;
        }
        let threads = std::mem::take(&mut *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for replica in replicas.iter() {
            replica.inbox.closed().await;
        }
        for thread in threads {
            // It ends now. One that has panicked has said so itself.
            let _ = thread.join();
        }
        if let Reach::Node(network) = &self.shared.reach {
            network.endpoint().close().await;
        }
    }

    /// Asks the first replica that answers.
    async fn inspect<A>(&self, call: impl Fn(oneshot::Sender<A>) -> Call) -> Result<A, Unavailable> {
        for replica in self.shared.by_turns().iter() {
            let (reply, answer) = oneshot::channel();
            if replica.calls.send(call(reply)).is_ok()
                && let Ok(answer) = answer.await
            {
                return Ok(answer);
            }
        }
        Err(Unavailable)
    }
}

/// Waits for what a replica says to a call that was handed to it.
async fn asked(sent: Result<(), Option<Refusal>>, answer: oneshot::Receiver<Reply>) -> Asked<Settlement> {
    match sent {
        Err(Some(refusal)) => return Asked::Refused(refusal),
        Err(None) => return Asked::Gone,
        Ok(()) => {}
    }
    match answer.await {
        Ok(Reply::Settled(settlement)) => Asked::Answer(settlement),
        Ok(Reply::Refused(refusal)) => Asked::Refused(refusal),
        Ok(Reply::Unknown(doubt)) => Asked::Doubt(Uncertain::Doubt(doubt)),
        Ok(Reply::Changed { .. }) | Err(_) => Asked::Doubt(Uncertain::Stopped),
    }
}

/// Whether a refusal passes by itself, in an instant: an epoch ends, a ceiling becomes durable.
pub(super) fn is_passing(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::ClockExhausted
            | Refusal::NotCoordinator { .. }
            | Refusal::NotMember { .. }
            | Refusal::Unreachable { .. }
    )
}

/// The typed answer.
pub(super) fn committed<T: Thunk>(settlement: &Settlement) -> Result<Committed<T::Output>, SubmitError> {
    let (id, timestamp) = (settlement.id, settlement.effective);
    if let Outcome::Aborted(abort) = &settlement.outcome {
        let abort = abort.clone();
        return Err(SubmitError::Aborted { id, timestamp, abort });
    }
    match client::output::<T>(&settlement.outcome) {
        Ok(Ok(output)) => Ok(Committed { id, timestamp, output }),
        Ok(Err(abort)) => Err(SubmitError::Aborted { id, timestamp, abort }),
        Err(error) => Err(SubmitError::Output { id, timestamp, error }),
    }
}
