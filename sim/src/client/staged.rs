//! Staged transactions of simulated clients: the production's course of stages, request by request.
//!
//! The stages are an async closure, as a user of the library writes it; what they ask for is taken out of their mailbox, made a request of
//! the client, and answered. In the simulator a stage may await its own reads and nothing else.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use plimsoll::client::staged::{self, Ask as Asked, AskId, End as StagedEnd, Ended, Mailbox, Stage, Staging, Told};
use plimsoll::id::TransactionId;
use plimsoll::thunk::{Guarded, Registry, Thunk};
use plimsoll::transaction::{Abort, Outcome, Settlement};

use super::recorder::End;
use super::script::{Ask, Ending, Event, Next, Reply, Script};
use crate::history::MicroOperation;

/// What the last run of the stages has done, for the history: its stages say so before they end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Mutex<Steps>>);

#[derive(Clone, Debug, Default)]
struct Steps {
    invoked: Vec<MicroOperation>,
    done: Vec<MicroOperation>,
}

impl Noted {
    /// The steps with what was read, and the same with nothing read.
    pub(crate) fn note(&self, done: Vec<MicroOperation>) {
        let invoked = done.iter().map(unread).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Steps { invoked, done };
    }

    fn steps(&self) -> Steps {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn unread(step: &MicroOperation) -> MicroOperation {
    use MicroOperation as M;
    match step {
        M::ReadRegister { key, .. } => M::ReadRegister { key: *key, value: None },
        M::ReadCounter { key, .. } => M::ReadCounter { key: *key, value: None },
        M::ReadList { key, .. } => M::ReadList {
            key: *key,
            elements: None,
        },
        written => written.clone(),
    }
}

/// One staged transaction.
pub(crate) struct StagedScript {
    function: &'static str,
    mailbox: Mailbox,
    course: Pin<Box<dyn Future<Output = Ended>>>,
    asked: Option<AskId>,
    /// What is asked is the end of the stages, which writes.
    is_end: bool,
    noted: Noted,
    invoked: Vec<MicroOperation>,
    runs: u32,
}

impl StagedScript {
    /// *Given* an id that no other one has, and stages that note what they did.
    pub(crate) fn new<T, F>(
        function: &'static str,
        registry: &Arc<Registry>,
        id: TransactionId,
        staging: Staging,
        noted: Noted,
        stages: F,
    ) -> Self
    where
        T: Thunk,
        F: AsyncFn(Stage) -> Result<T, Abort> + 'static,
    {
        // It is started once, so who it is among the reservations may follow from its id.
        let holder = id.attempt(u32::MAX);
        let (mailbox, course) = staged::start(Arc::clone(registry), id, holder, staging, stages);
        Self {
            function,
            mailbox,
            course: Box::pin(course),
            asked: None,
            is_end: false,
            noted,
            invoked: Vec::new(),
            runs: 1,
        }
    }

    /// Lets the stages go on as far as they can.
    fn go_on(&mut self) -> Result<Next, String> {
        let polled = self.course.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(ended) = polled {
            return self.ended(ended);
        }
        let (id, asked) = self
            .mailbox
            .take()
            .ok_or("a stage awaits something else than its reads")?;
        self.asked = Some(id);
        self.is_end = matches!(&asked, Asked::Submit(transaction) if Guarded::is(&transaction.thunk));
        let ask = match asked {
            Asked::Read(mode, query) => Ask::Read { mode, query },
            Asked::Pause(time) => Ask::Pause(time),
            Asked::Submit(transaction) => {
                self.invoked = self.noted.steps().invoked;
                Ask::Submit {
                    thunk: transaction.thunk,
                    arguments: transaction.arguments,
                }
            }
        };
        Ok(Next::Ask(ask))
    }

    fn ended(&mut self, ended: Ended) -> Result<Next, String> {
        self.runs = ended.runs;
        let done = Some(self.noted.steps().done);
        let ending = match ended.end {
            StagedEnd::Settled(Settlement { effective, outcome, .. }) => match outcome {
                Outcome::Committed(_) => Ending {
                    end: End::Ok(effective),
                    steps: done,
                },
                Outcome::Aborted(abort) => Ending::of(End::Aborted(abort.to_string())),
            },
            StagedEnd::Exhausted { .. } => Ending::of(End::Aborted("stale in every run".to_owned())),
            StagedEnd::Invalid(invalid) => return Err(invalid.to_string()),
        };
        Ok(Next::Done(ending))
    }
}

impl Script for StagedScript {
    fn function(&self) -> &'static str {
        self.function
    }

    fn steps(&self) -> &[MicroOperation] {
        &self.invoked
    }

    fn next(&mut self, event: Event) -> Result<Next, String> {
        let (id, reply) = match event {
            Event::Begin => return self.go_on(),
            Event::Replied { id, reply } => (id, reply),
        };
        let settled = |at, outcome| {
            let id = id.expect("only a transaction is settled");
            Told::Settled(Settlement {
                record: at,
                id,
                effective: at,
                outcome,
            })
        };
        let told = match reply {
            Reply::Rows { at, answer } => Told::Rows(at, answer),
            Reply::Committed { at, output } => settled(at, Outcome::Committed(output)),
            Reply::Stale { at, abort } => settled(at, Outcome::Aborted(abort)),
            Reply::Passed => Told::Passed,
            // A read or a reservation that nobody answers has written nothing that counts.
            Reply::Unknown(why) if !self.is_end => return Ok(Next::Done(Ending::of(End::Refused(why)))),
            // What was refused, cancelled or is in doubt ends all of it: its client begins another.
            Reply::Aborted(_) | Reply::Refused(_) | Reply::Unknown(_) => {
                return Ok(Next::Done(Ending::of(reply.end())));
            }
        };
        let asked = self.asked.take().expect("an answer follows a question");
        self.mailbox.answer(asked, told);
        self.go_on()
    }

    fn runs(&self) -> u32 {
        self.runs
    }
}

impl fmt::Debug for StagedScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedScript")
            .field("function", &self.function)
            .field("invoked", &self.invoked)
            .finish_non_exhaustive()
    }
}
