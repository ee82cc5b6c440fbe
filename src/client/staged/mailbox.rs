//! Between the stages, which are user's code that awaits, and the driver, which reads and submits for them.
//!
//! A question is put into the mailbox and awaited; whoever drives the stages takes it out, and puts the answer in. So the same
//! stages run over a network, and step by step in a simulator.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::executor::Answer;
use crate::protocol::{Query, ReadMode};
use crate::thunk::{Guards, Seen};
use crate::time::Hlc;
use crate::transaction::{Settlement, Transaction};

/// What the stages of a transaction want next.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Read, and answer with [`Told::Rows`], or with [`Told::Gone`].
    Read(ReadMode, Query),
    /// Submit, as often as it takes to learn what became of it, and answer with [`Told::Settled`].
    Submit(Transaction),
    /// Let some time pass, and answer with [`Told::Passed`].
    Pause(Duration),
}

/// What the driver answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// What was found, and in which snapshot.
    Rows(Hlc, Answer),
    /// The snapshot that was to be read is no longer kept: the stages are run again on a newer one.
    Gone,
    /// What became of a transaction.
    Settled(Settlement),
    /// Time has passed.
    Passed,
}

/// The name of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskId(u64);

/// Questions and answers of one staged transaction.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    waiting: VecDeque<(AskId, Question)>,
    /// Questions that were taken or wait: whoever awaits an answer, to be woken, and the answer once it is there.
    open: BTreeMap<AskId, Open>,
    run: Run,
}

/// What the present run of the stages has seen.
#[derive(Default)]
struct Run {
    number: u32,
    /// How to find the snapshot, before it is found.
    mode: Option<ReadMode>,
    at: Option<Hlc>,
    seen: Seen,
    /// The snapshot is no longer kept: what the stages still wait for does not come.
    is_gone: bool,
}

enum Question {
    /// Of a stage: at the snapshot of its run.
    Stage(Query),
    Ask(Ask),
}

#[derive(Default)]
struct Open {
    waker: Option<Waker>,
    told: Option<Told>,
}

impl Mailbox {
    /// The next question that waits for the driver; none while the stages wait for something else, or for an answer.
    pub fn take(&self) -> Option<(AskId, Ask)> {
        let mut state = self.lock();
        let (id, question) = state.waiting.pop_front()?;
        let ask = match question {
            Question::Ask(ask) => ask,
            Question::Stage(query) => {
                let found = state.run.at.map(ReadMode::At);
                let mode = found.or(state.run.mode).expect("a run begins with a mode");
                Ask::Read(mode, query)
            }
        };
        Some((id, ask))
    }

    /// Answers a question. Then the stages are to be polled again.
    pub fn answer(&self, id: AskId, told: Told) {
        let mut guard = self.lock();
        // One that nobody awaits any more is not open.
        let state = &mut *guard;
        let Some(open) = state.open.get_mut(&id) else {
            return;
        };
        match told {
            // Whoever awaits it is dropped with its run.
            Told::Gone => state.run.is_gone = true,
            told => open.told = Some(told),
        }
        let waker = open.waker.take();
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A run of the stages begins, which reads a snapshot of this mode.
    pub(super) fn begin_run(&self, number: u32, mode: ReadMode) {
        self.lock().run = Run {
            number,
            mode: Some(mode),
            ..Run::default()
        };
    }

    /// Runs `stages`, as long as their snapshot is kept. *Gives* nothing when it is gone.
    pub(super) async fn unless_gone<O>(&self, stages: impl Future<Output = O>) -> Option<O> {
        let mut stages = pin!(stages);
        poll_fn(|context| {
            let polled = stages.as_mut().poll(context).map(Some);
            // What they come to without a read that they have asked for is nothing that counts.
            if self.lock().run.is_gone {
                Poll::Ready(None)
            } else {
                polled
            }
        })
        .await
    }

    /// What the present run has seen, as guards.
    pub(super) fn guards(&self) -> Guards {
        let mut state = self.lock();
        let run = std::mem::take(&mut state.run);
        run.seen.into_guards(run.at.unwrap_or(Hlc::ZERO))
    }

    pub(super) async fn ask(&self, ask: Ask) -> Told {
        self.put(Question::Ask(ask)).await
    }

    /// Reads for a stage of run `number`, and notes what it has seen.
    ///
    /// *Panics* when that run is over.
    pub(super) async fn read(&self, number: u32, query: Query) -> Answer {
        let check = |state: &State| {
            let present = state.run.number;
            assert_eq!(
                present, number,
                "a stage is used after its run has ended: use the one that the closure is given"
            );
        };
        check(&self.lock());
        let Told::Rows(at, answer) = self.put(Question::Stage(query.clone())).await else {
            unreachable!("a driver answers a read with rows")
        };
        let mut state = self.lock();
        check(&state);
        let before = *state.run.at.get_or_insert(at);
        assert_eq!(before, at, "all stages of a run see one snapshot");
        for (key, found) in query.keys.into_iter().zip(&answer.keys) {
            state.run.seen.add_key(key, found.is_some());
        }
        for (scan, entries) in query.ranges.into_iter().zip(&answer.ranges) {
            state
                .run
                .seen
                .add_range(scan.range, scan.limit, scan.direction, entries);
        }
        answer
    }

    fn put(&self, question: Question) -> Asking {
        let mut state = self.lock();
        let id = AskId(state.next);
        state.next += 1;
        state.waiting.push_back((id, question));
        state.open.insert(id, Open::default());
        let mailbox = self.clone();
        Asking { mailbox, id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with the lock has changed nothing by halves.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for an answer.
struct Asking {
    mailbox: Mailbox,
    id: AskId,
}

impl Future for Asking {
    type Output = Told;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Told> {
        let mut state = self.mailbox.lock();
        let open = state.open.get_mut(&self.id).expect("it is open until this is dropped");
        match open.told.take() {
            Some(told) => Poll::Ready(told),
            None => {
                open.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Nobody awaits the answer any more.
impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.mailbox.lock();
        state.open.remove(&self.id);
        state.waiting.retain(|(id, _)| *id != self.id);
    }
}
