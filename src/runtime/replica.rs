//! One replica: the thread that steps its node, and what it sets in motion.
//!
//! Inputs come through two channels: a bounded one from outside (frames, calls), so that a flood is felt by whoever makes it, and one from
//! the replica's own threads, which must never wait for this one. Of both as many as are there are taken in before effects
//! wait for the machine again.

use bincode::{Decode, Encode};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;

use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::oneshot;

use super::calls::{Call, Calls, Place, ReadReply, Tried};
use super::changes::{ChangesReply, NotTold};
use super::code::Code;
use super::evaluator::{Evaluator, Work};
use super::log::{self, LogView, MayBeFull, Write};
use super::time::{Clocks, Waiter};
use super::transport::Transport;
use crate::executor::{Answer, ChangesQuery, ReadError, Search};
use crate::id::{Epoch, NodeId, RequestId};
use crate::protocol::message::Message;
use crate::protocol::node::{Counters, Node};
use crate::protocol::{ChunkTaken, Divergence, Effect, Evaluated, Input, LogEntry, Query, Refusal, Reply, SyncMark};
use crate::replica::{ReplicaLog, ReplicaState};
use crate::store::Log;
use crate::time::{Hlc, Monotonic};
use crate::transaction::{ThunkId, Transaction};

/// Frames and calls that wait for a replica. Beyond: a frame is lost, and a call is refused as overloaded.
pub(crate) const INBOX_MAX: usize = 65_536;

/// Bytes of records after which the log is looked at for what can be dropped.
const PRUNE_BYTES: usize = 8 << 20;

/// Inputs that are taken in before the clock is read again.
const INPUTS_AT_ONCE: usize = 256;

/// What comes from outside.
pub(crate) enum Event {
    Frame {
        from: NodeId,
        messages: Vec<Message>,
    },
    Resign(oneshot::Sender<()>),
    /// The process has other code than before.
    Load,
    Stop,
}

/// What the replica's own threads have done.
pub(crate) enum Done {
    Persisted(SyncMark),
    Evaluated(Evaluated),
    ChunkTaken(ChunkTaken),
    Restored(Hlc),
    Send { to: NodeId, messages: Vec<Message> },
    Failed(String),
}

/// How a replica stands.
#[derive(Clone, Debug, Encode, Decode)]
pub struct ReplicaStatus {
    /// Which node.
    pub node: NodeId,
    /// The epoch that it is in.
    pub epoch: Epoch,
    /// The nodes that store data in it, ascending.
    pub members: Vec<NodeId>,
    /// The nodes that issue timestamps in it, ascending.
    pub coordinators: Vec<NodeId>,
    /// Nothing that is not known yet has a timestamp at or below.
    pub watermark: Hlc,
    /// Everything at or below is evaluated here.
    pub evaluated: Hlc,
    /// The thunk that is not registered here and stops evaluation; absent in a sound one.
    pub blocked: Option<ThunkId>,
    /// The thunks that are registered there, ascending.
    pub thunks: Vec<ThunkId>,
    /// Those of them that members lack as far as this node knows, and which members: a transaction of one is refused there.
    pub lacking: BTreeMap<ThunkId, Vec<NodeId>>,
    /// Why it has stopped serving; absent in a sound one.
    pub divergence: Option<Divergence>,
    /// What it has counted since it started.
    pub counters: Counters,
}

/// The way to a running replica. It goes on while any clone of this is there, until it is told to stop.
#[derive(Clone)]
pub(crate) struct ReplicaHandle {
    pub(crate) node: NodeId,
    pub(crate) inbox: Sender<Event>,
    /// Of their own, and few: frames do not wait behind calls, and who calls too much is told so at once.
    pub(crate) calls: Calls,
}

/// Where a replica gets what comes from outside.
pub(crate) struct Inbox {
    pub(crate) events: Receiver<Event>,
    pub(crate) calls: Receiver<Call>,
    /// Where the replica says that its evaluation is behind.
    pub(crate) is_behind: Arc<AtomicBool>,
}

/// The way to a replica, and its end. *Given* how many transactions may wait there.
pub(crate) fn inbox(node: NodeId, submissions_max: usize) -> (ReplicaHandle, Inbox) {
    let (inbox, events) = channel(INBOX_MAX);
    let (calls_in, calls) = Calls::new(submissions_max);
    let is_behind = calls_in.behind();
    let handle = ReplicaHandle {
        node,
        inbox,
        calls: calls_in,
    };
    let inbox = Inbox {
        events,
        calls,
        is_behind,
    };
    (handle, inbox)
}

/// The parts that a replica is started with.
pub(crate) struct Parts<L, S, T> {
    pub(crate) node: Node,
    pub(crate) log: ReplicaLog<L>,
    pub(crate) state: S,
    pub(crate) transport: T,
    pub(crate) clocks: Clocks,
    pub(crate) code: Arc<Code>,
    /// The replica's own; none in memory.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) inbox: Inbox,
}

/// Starts the replica's threads. *Gives* the one that ends last.
///
/// *Errors* when the machine has no room for another thread.
pub(crate) fn start<L, S, T>(parts: Parts<L, S, T>) -> std::io::Result<thread::JoinHandle<()>>
where
    L: Log<Entry = LogEntry> + Send + 'static,
    L::Error: MayBeFull,
    S: ReplicaState + 'static,
    T: Transport,
{
    let Parts {
        node,
        log,
        state,
        transport,
        clocks,
        code,
        folder,
        inbox,
    } = parts;
    let id = node.id();
    let (done_in, done) = unbounded_channel();
    let (writes, to_write) = mpsc::channel();
    let (work, to_do) = mpsc::channel();
    let view = LogView::default();
    let evaluator = Evaluator::new(
        state,
        id,
        folder,
        Arc::clone(&view.logged),
        work.clone(),
        done_in.clone(),
    );
    let (log_done, work_done) = (done_in.clone(), done_in);
    let log_view = view.clone();
    let name = |part: &str| format!("plimsoll-{id}-{part}");
    let log_thread = thread::Builder::new().name(name("log")).spawn(move || {
        loud(&log_done, "the log's thread", || {
            log::run(log, &to_write, &log_view, &log_done)
        });
    })?;
    let work_thread = thread::Builder::new().name(name("executor")).spawn(move || {
        loud(&work_done, "the executor's thread", || evaluator.run(&to_do));
    })?;
    let replica = Replica {
        node,
        clocks,
        code,
        transport,
        writes,
        work,
        view,
        mark: SyncMark::default(),
        unwritten: Vec::new(),
        unpruned_bytes: 0,
        calls: BTreeMap::new(),
        is_behind: inbox.is_behind.clone(),
        requests: 0,
        resigned: Vec::new(),
        effects: Vec::new(),
        has_resigned: false,
    };
    thread::Builder::new().name(name("protocol")).spawn(move || {
        let stop = replica.work.clone();
        replica.run(inbox, done);
        // Nobody sends to the log any more; the folder is free once both are gone.
        let _ = stop.send(Work::Stop);
        for thread in [log_thread, work_thread] {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    })
}

/// Runs `part`, and tells the replica if it panics: half a replica must not go on.
fn loud(done: &UnboundedSender<Done>, what: &str, part: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(part)).is_err() {
        let _ = done.send(Done::Failed(format!("{what} has panicked")));
    }
}

enum Waiting {
    Submit(oneshot::Sender<Reply>, Place),
    Change(oneshot::Sender<Reply>),
    Read(oneshot::Sender<ReadReply<Answer>>),
    DryRun(Transaction, oneshot::Sender<ReadReply<Tried>>),
}

struct Replica<T> {
    node: Node,
    clocks: Clocks,
    code: Arc<Code>,
    transport: T,
    writes: mpsc::Sender<Write>,
    work: mpsc::Sender<Work>,
    view: LogView,
    /// The last one under which something was written.
    mark: SyncMark,
    /// What is to be written, until all inputs that are there have been taken in: the sync that follows is one for all of them.
    unwritten: Vec<LogEntry>,
    /// Bytes of records written since the log was last looked at for what can be dropped.
    unpruned_bytes: usize,
    calls: BTreeMap<RequestId, Waiting>,
    /// Told to those who call, so that they ask another replica.
    is_behind: Arc<AtomicBool>,
    requests: u64,
    /// Who waits for the node to have resigned.
    resigned: Vec<oneshot::Sender<()>>,
    has_resigned: bool,
    effects: Vec<Effect>,
}

/// The replica is to stop.
struct Stop;

/// What a replica that waited was woken by.
enum First {
    Done(Done),
    Event(Event),
    Call(Call),
    /// Nobody can send any more.
    Nobody,
}

impl<T: Transport> Replica<T> {
    fn run(mut self, mut inbox: Inbox, mut done: UnboundedReceiver<Done>) {
        let id = self.node.id();
        let waiter = Waiter::of_this_thread();
        self.declare();
        loop {
            let wake_at = self.node.wake_at();
            let deadline = (wake_at != Monotonic::NEVER).then(|| self.clocks.moment(wake_at));
            let first = waiter.wait(deadline, |context| {
                // What the replica's own threads have done comes first.
                if let Poll::Ready(Some(done)) = done.poll_recv(context) {
                    return Poll::Ready(First::Done(done));
                }
                if let Poll::Ready(event) = inbox.events.poll_recv(context) {
                    return Poll::Ready(event.map_or(First::Nobody, First::Event));
                }
                match inbox.calls.poll_recv(context) {
                    Poll::Ready(Some(call)) => Poll::Ready(First::Call(call)),
                    // Who still has the inbox may say to stop.
                    Poll::Ready(None) | Poll::Pending => Poll::Pending,
                }
            });
            let result = match first {
                Some(First::Done(done)) => self.on_done(done),
                Some(First::Event(event)) => self.on_event(event),
                Some(First::Call(call)) => {
                    self.on_call(call);
                    Ok(())
                }
                Some(First::Nobody) => Err(Stop),
                None => {
                    self.step(Input::Wake);
                    Ok(())
                }
            };
            let result = result.and_then(|()| self.take_in(&mut inbox, &mut done));
            self.write();
            if result.is_err() {
                break;
            }
        }
        tracing::info!(node = %id, "has stopped");
    }

    /// Takes in what is there already.
    fn take_in(&mut self, inbox: &mut Inbox, done: &mut UnboundedReceiver<Done>) -> Result<(), Stop> {
        for _ in 0..INPUTS_AT_ONCE {
            if let Ok(next) = done.try_recv() {
                self.on_done(next)?;
            } else if let Ok(event) = inbox.events.try_recv() {
                self.on_event(event)?;
            } else if let Ok(call) = inbox.calls.try_recv() {
                self.on_call(call);
            } else {
                break;
            }
        }
        Ok(())
    }

    fn on_done(&mut self, done: Done) -> Result<(), Stop> {
        match done {
            Done::Persisted(mark) => self.step(Input::Persisted(mark)),
            Done::Evaluated(evaluated) => {
                self.step(Input::Evaluated(evaluated));
                self.is_behind.store(self.node.is_behind(), Ordering::Relaxed);
            }
            Done::ChunkTaken(taken) => self.step(Input::ChunkTaken(taken)),
            Done::Restored(bound) => self.step(Input::Restored { bound }),
            Done::Send { to, messages } => self.transport.send(to, messages),
            Done::Failed(why) => {
                tracing::error!(node = %self.node.id(), why, "stops: a part of it has failed");
                return Err(Stop);
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Frame { from, messages } => self.step(Input::Receive { from, messages }),
            Event::Resign(told) => {
                if self.has_resigned {
                    let _ = told.send(());
                } else {
                    self.resigned.push(told);
                    self.step(Input::Resign);
                }
            }
            Event::Load => {
                self.hand_out(Work::Load(self.code.current()));
                self.declare();
            }
            Event::Stop => return Err(Stop),
        }
        Ok(())
    }

    /// Tells the node which code there is. The executor has it, or is given it before the next batch.
    fn declare(&mut self) {
        let thunks = self.code.current().ids().cloned().collect();
        self.step(Input::Declare { thunks });
    }

    fn on_call(&mut self, call: Call) {
        if self.view.is_full.load(Ordering::Acquire)
            && let Call::Submit { reply, .. } = call
        {
            let node = self.node.id();
            let _ = reply.send(Reply::Refused(Refusal::StorageFull { node }));
            return;
        }
        let request = RequestId(self.requests + 1);
        let (waiting, input) = match call {
            Call::Submit {
                transaction,
                reply,
                place,
            } => (Waiting::Submit(reply, place), Input::Submit { request, transaction }),
            Call::Change { change, reply } => (Waiting::Change(reply), Input::Change { request, change }),
            Call::Read { mode, query, reply } => (Waiting::Read(reply), Input::Read { request, mode, query }),
            Call::DryRun {
                mode,
                transaction,
                reply,
            } => {
                // For the node it is a read, of nothing: it decides on the snapshot.
                let query = Query::default();
                let waiting = Waiting::DryRun(transaction, reply);
                (waiting, Input::Read { request, mode, query })
            }
            Call::Changes { query, reply } => return self.on_watch(query, reply),
            Call::Status { id, reply } => return self.hand_out(Work::Status { id, reply }),
            Call::Inspect { reply } => {
                let _ = reply.send(self.status());
                return;
            }
        };
        self.requests += 1;
        self.calls.insert(request, waiting);
        self.step(input);
    }

    /// What was evaluated is told without the node, if it serves at all.
    fn on_watch(&self, query: ChangesQuery, reply: oneshot::Sender<ChangesReply>) {
        let after = query.after.timestamp.hlc;
        match self.node.check_tells(after, self.clocks.now().wall) {
            Ok(()) => self.hand_out(Work::Changes {
                search: Search::new(query),
                reply,
            }),
            Err(refusal) => drop(reply.send(Err(NotTold::Refused(refusal)))),
        }
    }

    fn step(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.node.step(self.clocks.now(), input, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects = effects;
        if self.unpruned_bytes >= PRUNE_BYTES {
            self.unpruned_bytes = 0;
            let (floor, restated) = (self.node.log_floor(), self.node.restate());
            // What is restated must stand behind what the node has said before.
            self.write();
            drop(self.writes.send(Write::Prune { floor, restated }));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, messages } => self.transport.send(to, messages),
            // A thread that is gone has said so, and the replica stops in a moment.
            Effect::Persist { mark, entries } => {
                self.mark = mark;
                self.unpruned_bytes += entries.iter().map(record_bytes).sum::<usize>();
                self.unwritten.extend(entries);
            }
            Effect::Evaluate(batch) => self.hand_out(Work::Evaluate(batch, self.mark)),
            Effect::Read { request, at, query } => match self.calls.remove(&request) {
                Some(Waiting::Read(caller)) => {
                    let reply = reading(caller);
                    self.hand_out(Work::Read { at, query, reply });
                }
                Some(Waiting::DryRun(transaction, caller)) => {
                    let reply = reading(caller);
                    self.hand_out(Work::DryRun { at, transaction, reply });
                }
                Some(Waiting::Submit(..) | Waiting::Change(_)) | None => {}
            },
            Effect::Reply { request, reply } => match self.calls.remove(&request) {
                Some(Waiting::Submit(caller, place)) => {
                    // Before the caller is awake, who may have another one.
                    drop(place);
                    drop(caller.send(reply));
                }
                Some(Waiting::Change(caller)) => drop(caller.send(reply)),
                Some(Waiting::Read(caller)) => drop(caller.send(ReadReply::Reply(reply))),
                Some(Waiting::DryRun(_, caller)) => drop(caller.send(ReadReply::Reply(reply))),
                None => {}
            },
            Effect::ServeChunk { to, epoch, request } => self.hand_out(Work::ServeChunk { to, epoch, request }),
            Effect::AddChunk { bytes } => self.hand_out(Work::AddChunk(bytes)),
            Effect::Restore { bound } => self.hand_out(Work::Restore(bound)),
            Effect::DiscardChunks => self.hand_out(Work::DiscardChunks),
            Effect::Resigned => {
                self.has_resigned = true;
                for told in self.resigned.drain(..) {
                    let _ = told.send(());
                }
            }
            Effect::Quarantine(divergence) => {
                tracing::error!(node = %self.node.id(), ?divergence, "is quarantined: its state differs from that of a majority");
                self.hand_out(Work::Dump(divergence));
            }
        }
    }

    /// Hands the log what is to be written.
    fn write(&mut self) {
        if !self.unwritten.is_empty() {
            let entries = std::mem::take(&mut self.unwritten);
            drop(self.writes.send(Write::Entries {
                mark: self.mark,
                entries,
            }));
        }
    }

    fn hand_out(&self, work: Work) {
        drop(self.work.send(work));
    }

    fn status(&self) -> ReplicaStatus {
        let membership = self.node.membership();
        let (code, now) = (self.code.current(), self.clocks.now().monotonic);
        let lacking = code.ids().map(|thunk| (thunk.clone(), self.node.lacking(thunk, now)));
        ReplicaStatus {
            node: self.node.id(),
            epoch: membership.epoch,
            members: membership.members.clone(),
            coordinators: membership.coordinators.clone(),
            watermark: self.node.watermark(),
            evaluated: self.node.evaluated(),
            blocked: self.node.blocked_by().cloned(),
            thunks: code.ids().cloned().collect(),
            lacking: lacking.filter(|(_, nodes)| !nodes.is_empty()).collect(),
            divergence: self.node.quarantine().cloned(),
            counters: *self.node.counters(),
        }
    }
}

/// Tells a caller where to wait for what is read. *Gives* where it is to be sent.
fn reading<A>(caller: oneshot::Sender<ReadReply<A>>) -> oneshot::Sender<Result<(Hlc, A), ReadError>> {
    let (reply, reading) = oneshot::channel();
    let _ = caller.send(ReadReply::Reading(reading));
    reply
}

/// Bytes of the records of an entry.
fn record_bytes(entry: &LogEntry) -> usize {
    match entry {
        LogEntry::Records { records, .. } => records.iter().map(|record| record.weight()).sum(),
        _ => 0,
    }
}
