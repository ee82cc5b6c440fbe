//! What an action does: drives the production core as its contract says, and remembers what it said.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use plimsoll::id::{NodeId, RequestId, TransactionId};
use plimsoll::key::Value;
use plimsoll::protocol::message::Message;
use plimsoll::protocol::node::Node;
use plimsoll::protocol::{Batch, Effect, Evaluated, Input, LogEntry, Query, ReadMode, Recovered, Reply};
use plimsoll::time::{Hlc, Monotonic, Now, Timestamp};
use plimsoll::transaction::{Footprint, Outcome, Settlement, ThunkId, Transaction};

use crate::action::{Action, Arrival};
use crate::history::History;
use crate::host::Host;
use crate::property::{Broken, Invariant, Milestone, judge};
use crate::settings::{Disk, Executor, SILENCE, Settings, wall};
use crate::state::{Frame, State};

/// Requests from here on are reads; those below are transactions.
const FIRST_READ: u64 = 1 << 32;

/// So often in a row a node is woken that asks for it; none needs as many.
const WAKES_MAX: u32 = 16;

thread_local! {
    static STEPPING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside the core, whose panics are caught: a hook may stay silent about them.
pub fn is_stepping() -> bool {
    STEPPING.get()
}

/// The nodes have started, and what they need before they can issue anything is durable; nothing is in flight.
pub fn genesis(settings: &Settings) -> State {
    let start = |place| {
        let mut node = Node::new(settings.node_config(place), settings.genesis(), Hlc::ZERO);
        settings.bug.into_iter().for_each(|bug| node.plant(bug));
        Arc::new(Host::new(node))
    };
    let mut state = State::new((0..settings.count()).map(start).collect(), History::default());
    for place in 0..settings.count() {
        run(settings, &mut state, place, Input::Wake);
        sync(settings, &mut state, place);
    }
    state.lose_frames();
    state.seal()
}

/// The state after `action`, judged.
///
/// *Panics* when the action is not possible: a script that does not fit.
pub fn after(settings: &Settings, state: &State, action: Action) -> State {
    let mut state = state.clone();
    state.depth += 1;
    match action {
        Action::Deliver {
            from,
            to,
            place,
            arrival,
        } => deliver(settings, &mut state, (from, to, place), arrival),
        Action::Sync(node) => sync(settings, &mut state, node),
        Action::Evaluated(node) => {
            let host = Arc::make_mut(&mut state.hosts[node]);
            let batch = host.work.take().expect("a batch is out");
            let input = Input::Evaluated(evaluate(host, &batch));
            run(settings, &mut state, node, input);
        }
        Action::Submit(node) => {
            state.spent.transactions += 1;
            let history = Arc::make_mut(&mut state.history);
            let number = history.submitted.len() as u64;
            history.submitted.push(history.answered_upto());
            let input = Input::Submit {
                request: RequestId(number),
                transaction: transaction(number),
            };
            run(settings, &mut state, node, input);
        }
        Action::Read(node) => {
            state.spent.reads += 1;
            let epoch = running(&state.hosts[node]).membership().epoch;
            let history = Arc::make_mut(&mut state.history);
            let request = RequestId(FIRST_READ + history.reads.len() as u64);
            history.reads.push(Some((history.answered_upto(), epoch)));
            let input = Input::Read {
                request,
                mode: ReadMode::Strict,
                query: Query::default(),
            };
            run(settings, &mut state, node, input);
        }
        Action::Wake(node) => {
            state.spent.silences += 1;
            pass(Arc::make_mut(&mut state.hosts[node]));
            run(settings, &mut state, node, Input::Wake);
        }
        Action::Crash { node, kept } => {
            state.spent.crashes += 1;
            change(&mut state, node, |host| host.crash(kept));
        }
        Action::Restart(node) => restart(settings, &mut state, node),
    }
    judge(settings, &mut state);
    state.seal()
}

fn deliver(settings: &Settings, state: &mut State, (from, to, place): (usize, usize, usize), arrival: Arrival) {
    let frame = match arrival {
        Arrival::Again => {
            state.spent.duplicates += 1;
            state.link(from, to)[place].clone()
        }
        Arrival::Late => {
            state.spent.silences += 1;
            pass(Arc::make_mut(&mut state.hosts[to]));
            state.take(from, to, place)
        }
        Arrival::Once => state.take(from, to, place),
    };
    let input = Input::Receive {
        from: Settings::node_id(from),
        messages: frame.messages.clone(),
    };
    run(settings, state, to, input);
}

fn sync(settings: &Settings, state: &mut State, place: usize) {
    if let Some(mark) = Arc::make_mut(&mut state.hosts[place]).sync() {
        run(settings, state, place, Input::Persisted(mark));
    }
}

fn restart(settings: &Settings, state: &mut State, place: usize) {
    let (config, genesis) = (settings.node_config(place), settings.genesis());
    change(state, place, |host| {
        let entries = host.log.iter().map(|entry| LogEntry::clone(entry));
        let recovered = Recovered::from_entries(entries);
        let mut node = Node::recover(config, genesis, &recovered, Hlc::ZERO, host.now);
        settings.bug.into_iter().for_each(|bug| node.plant(bug));
        host.node = Some(node);
    });
    let history = Arc::make_mut(&mut state.history);
    history.restarted.insert(Settings::node_id(place));
    run(settings, state, place, Input::Wake);
}

/// All time-outs pass.
fn pass(host: &mut Host) {
    host.now = host.now.plus(SILENCE);
}

fn change<T>(state: &mut State, place: usize, change: impl FnOnce(&mut Host) -> T) -> T {
    let host = Arc::make_mut(&mut state.hosts[place]);
    let result = change(host);
    host.seal();
    result
}

fn running(host: &Host) -> &Node {
    host.node.as_ref().expect("only running nodes act")
}

/// Everything that follows at one node from an input: instant syncs and evaluations, and the wakes that are due at once. What it says to another node
/// goes as one frame.
fn run(settings: &Settings, state: &mut State, place: usize, input: Input) {
    let host = Arc::make_mut(&mut state.hosts[place]);
    let history = Arc::make_mut(&mut state.history);
    let broken = &mut state.broken;
    let mut frames: Vec<(NodeId, Vec<Message>)> = Vec::new();
    let mut inputs = VecDeque::from([input]);
    let mut wakes = 0;
    while let Some(input) = inputs.pop_front() {
        let now = Now {
            wall: wall(),
            monotonic: host.now,
        };
        let node = host.node.as_mut().expect("only running nodes act");
        let before = (node.watermark(), node.evaluated());
        let mut effects = Vec::new();
        STEPPING.set(true);
        let stepped = catch_unwind(AssertUnwindSafe(|| node.step(now, input, &mut effects)));
        STEPPING.set(false);
        if let Err(panic) = stepped {
            broken.add(Invariant::Sound);
            state.failed = Some(words(&*panic).into());
            break;
        }
        let (epoch, watermark, evaluated) = (node.membership().epoch, node.watermark(), node.evaluated());
        if watermark < before.0 || evaluated < before.1 {
            broken.add(Invariant::Monotone);
        }
        for effect in effects {
            carry_out(effect, place, host, history, broken, &mut frames);
        }
        let known = history.watermarks.entry(epoch).or_default();
        *known = watermark.max(*known);
        history.on_evaluated(&host.sequence, evaluated, broken);
        if settings.disk == Disk::Instant {
            inputs.extend(host.sync().map(Input::Persisted));
        }
        if settings.executor == Executor::Instant
            && let Some(batch) = host.work.take()
        {
            inputs.push_back(Input::Evaluated(evaluate(host, &batch)));
        }
        let is_due = running(host).wake_at() <= host.now;
        if inputs.is_empty() && is_due {
            wakes += 1;
            assert!(wakes < WAKES_MAX, "{:?} wants to be woken for ever", host.node);
            inputs.push_back(Input::Wake);
        }
    }
    host.seal();
    for (to, messages) in frames {
        let to = to.number() as usize - 1;
        state.put(place, to, Frame::new(messages), settings.frames.into());
    }
}

fn carry_out(
    effect: Effect,
    place: usize,
    host: &mut Host,
    history: &mut History,
    broken: &mut Broken,
    frames: &mut Vec<(NodeId, Vec<Message>)>,
) {
    let own = Settings::node_id(place);
    match effect {
        Effect::Persist { mark, entries } => {
            entries.iter().for_each(|entry| history.on_written(own, entry, broken));
            host.pending.push((mark, entries.into_iter().map(Arc::new).collect()));
        }
        Effect::Send { to, messages } => {
            messages.iter().for_each(|message| history.on_said(own, message));
            // The next step finds the slot of its frames unused.
            host.now = Monotonic(host.now.0 + 1);
            match frames.iter_mut().find(|(peer, _)| *peer == to) {
                Some((_, frame)) => frame.extend(messages),
                None => frames.push((to, messages)),
            }
        }
        Effect::Evaluate(batch) => host.work = Some(batch),
        Effect::Reply { request, reply } => answer(request, reply, history, broken),
        Effect::Read { request, at, .. } => answer_read(request, at, host, history, broken),
        Effect::Quarantine(_) => broken.add(Invariant::Sound),
        Effect::Resigned => {}
        Effect::ServeChunk { .. } | Effect::AddChunk { .. } | Effect::Restore { .. } | Effect::DiscardChunks => {
            unreachable!("nothing is flushed here, so nothing is dropped that somebody needs")
        }
    }
}

/// The trivial executor: a transaction's output is nothing, and it takes effect where it stands first.
fn evaluate(host: &mut Host, batch: &Batch) -> Evaluated {
    let mut settlements = Vec::new();
    for (timestamp, record) in &batch.records {
        let id = record.transaction.id;
        host.sequence.push((*timestamp, id));
        let first = host.sequence.iter().find(|(_, known)| *known == id);
        settlements.push(Settlement {
            record: *timestamp,
            id,
            effective: first.map_or(*timestamp, |(first, _)| *first),
            outcome: Outcome::Committed(Value::default()),
        });
    }
    Evaluated {
        upto: batch.upto,
        settlements,
        digests: Vec::new(),
        flushed: Hlc::ZERO,
        blocked: None,
    }
}

fn answer(request: RequestId, reply: Reply, history: &mut History, broken: &mut Broken) {
    let Reply::Settled(settlement) = reply else { return };
    history.milestones.add(Milestone::Answered);
    let submitted = history.submitted.get(request.0 as usize);
    if submitted.is_none_or(|before| settlement.effective.hlc <= *before) {
        broken.add(Invariant::RealTime);
    }
    history.answered.insert(settlement.effective);
}

fn answer_read(request: RequestId, at: Hlc, host: &Host, history: &mut History, broken: &mut Broken) {
    let place = (request.0 - FIRST_READ) as usize;
    let (after, epoch) = history.reads[place].take().expect("a read is answered once");
    let node = running(host);
    let sees = |answered: &Timestamp| host.sequence.iter().any(|(timestamp, _)| timestamp == answered);
    let mut before = history.answered.iter().filter(|answered| answered.hlc <= after);
    if at < after || node.evaluated() < at || !before.all(sees) {
        broken.add(Invariant::StrictRead);
    }
    history.milestones.add(Milestone::ReadAnswered);
    if node.membership().epoch > epoch {
        history.milestones.add(Milestone::ReadAgain);
    }
}

fn transaction(number: u64) -> Transaction {
    Transaction {
        id: TransactionId::from_u128(number.into()),
        thunk: ThunkId {
            name: "t".into(),
            version: 1,
        },
        arguments: Value::default(),
        footprint: Footprint::default(),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
        .to_owned()
}
