//! A call as a script: a machine that asks for one request after the other until it knows how it ended.
//!
//! The [`Fleet`](super::Fleet) carries requests to nodes, waits, tries to learn ends that are unknown, and tells the script what came of
//! each; the script says what is asked for next, or that the call is over. A call of one request is the [`Call`] of a workload; a staged
//! transaction (reads, then a submit that checks what was read, and all again where it has changed) is one of several. What a client
//! does about time and nodes is not the script's concern, and no script sees either.

use std::fmt;
use std::time::Duration;

use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::protocol::{Query, ReadMode};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, ThunkId};

use super::doubt::CANCELLED;
use super::recorder::End;
use crate::history::MicroOperation;
use crate::port::Answer;
use crate::random::Stream;
use crate::workload::{Call, Work, Workload};

/// What clients do: one value serves all clients of a run, each with a generator of its own.
pub trait Scripts {
    /// The next transaction of a client.
    fn transaction(&mut self, random: &mut Stream) -> Box<dyn Script>;

    /// The next read outside transactions of a client, of this snapshot.
    fn read(&mut self, mode: ReadMode, random: &mut Stream) -> Box<dyn Script>;

    /// The strict reads that are made when the load has ended.
    fn final_reads(&mut self) -> Vec<Box<dyn Script>>;
}

/// One call of a client, from its first request to its end.
pub trait Script: fmt::Debug {
    /// The name that the history gives to a transaction of this kind. Reads are named by their kind.
    fn function(&self) -> &'static str;

    /// Its steps with nothing read, as far as they are known. They may change with each request until the first one that may write: then all
    /// that may have been written by the end is among them.
    fn steps(&self) -> &[MicroOperation];

    /// What is to be done now. [`Event::Begin`] comes first, and again where a read is made once more from its beginning.
    ///
    /// *Gives* a request upon [`Event::Begin`].
    ///
    /// *Errors* say why no correct system answers so; then the call is over, and its end unknown.
    fn next(&mut self, event: Event) -> Result<Next, String>;

    /// How often all of it was done: more often than once where what was read had changed before it was used.
    fn runs(&self) -> u32 {
        1
    }
}

/// What a script is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The call begins.
    Begin,
    /// Its request is over.
    Replied {
        /// The id under which the request was submitted; absent of a read.
        id: Option<TransactionId>,
        /// What came of it.
        reply: Reply,
    },
}

/// What came of a request, after all that its client did to learn it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The transaction took effect.
    Committed {
        /// Where.
        at: Timestamp,
        /// The encoded output of its thunk.
        output: Value,
    },
    /// The transaction certainly took no effect: its thunk refused it, or its client has cancelled it.
    Aborted(Abort),
    /// The transaction certainly took no effect: what its stages had seen has changed, or is reserved by another.
    Stale {
        /// Where it was evaluated.
        at: Timestamp,
        /// What has changed, or is reserved.
        abort: Abort,
    },
    /// What was read.
    Rows {
        /// The snapshot.
        at: Hlc,
        /// What it holds.
        answer: Answer,
    },
    /// A node refused the request: it did nothing.
    Refused(String),
    /// Whether the request took effect, or will, is not known and never will be.
    Unknown(String),
    /// Time has passed.
    Passed,
}

/// What a script wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A request is to be made.
    Ask(Ask),
    /// The call is over.
    Done(Ending),
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A transaction, under a new id.
    Submit {
        /// The registered code.
        thunk: ThunkId,
        /// Its encoded arguments.
        arguments: Value,
    },
    /// A read.
    Read {
        /// Of which snapshot.
        mode: ReadMode,
        /// What of it.
        query: Query,
    },
    /// To be left alone for so long.
    Pause(Duration),
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub end: End,
    /// Its steps with what was read; absent where nothing was.
    pub steps: Option<Vec<MicroOperation>>,
}

impl Reply {
    /// Whether it says what became of the request.
    pub fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Committed { .. } | Self::Aborted(_) | Self::Stale { .. } | Self::Rows { .. }
        )
    }

    /// The end of a call that ends with this reply, whatever was read.
    pub fn end(&self) -> End {
        match self {
            Self::Committed { at, .. } => End::Ok(*at),
            Self::Rows { at, .. } => End::Ok(Timestamp::last_at(*at)),
            Self::Aborted(Abort::Cancelled { .. }) => End::Aborted(CANCELLED.to_owned()),
            Self::Aborted(abort) | Self::Stale { abort, .. } => End::Aborted(abort.to_string()),
            Self::Passed => unreachable!("a pause is no call by itself"),
            Self::Refused(reason) => End::Refused(reason.clone()),
            Self::Unknown(reason) => End::Unknown(reason.clone()),
        }
    }
}

impl Ending {
    /// An end without anything read.
    pub fn of(end: End) -> Self {
        Self { end, steps: None }
    }

    /// Whether the client knows what became of its call.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.end, End::Ok(_) | End::Aborted(_))
    }
}

/// The call of a workload: one request, and its end is the call's.
#[derive(Debug)]
struct OneRequest {
    call: Call,
    /// How its read is made; absent of a transaction.
    mode: Option<ReadMode>,
}

impl Script for OneRequest {
    fn function(&self) -> &'static str {
        self.call.function
    }

    fn steps(&self) -> &[MicroOperation] {
        &self.call.steps
    }

    fn next(&mut self, event: Event) -> Result<Next, String> {
        let reply = match event {
            Event::Begin => return Ok(Next::Ask(self.ask())),
            Event::Replied { reply, .. } => reply,
        };
        let steps = match &reply {
            Reply::Committed { output, .. } => Some(self.call.steps_of_output(output)),
            Reply::Rows { answer, .. } => Some(self.call.steps_of_answer(answer)),
            _ => None,
        };
        Ok(Next::Done(Ending {
            end: reply.end(),
            steps: steps.transpose().map_err(|error| error.to_string())?,
        }))
    }
}

impl OneRequest {
    fn ask(&self) -> Ask {
        match (&self.call.work, self.mode) {
            (Work::Transaction { thunk, arguments }, None) => Ask::Submit {
                thunk: thunk.clone(),
                arguments: arguments.clone(),
            },
            (Work::Read, Some(mode)) => Ask::Read {
                mode,
                query: self.call.query(),
            },
            (work, mode) => unreachable!("the workload gave {work:?} for {mode:?}"),
        }
    }
}

impl Scripts for Box<dyn Scripts> {
    fn transaction(&mut self, random: &mut Stream) -> Box<dyn Script> {
        self.as_mut().transaction(random)
    }

    fn read(&mut self, mode: ReadMode, random: &mut Stream) -> Box<dyn Script> {
        self.as_mut().read(mode, random)
    }

    fn final_reads(&mut self) -> Vec<Box<dyn Script>> {
        self.as_mut().final_reads()
    }
}

/// A workload whose calls are one request each.
impl Scripts for Box<dyn Workload> {
    fn transaction(&mut self, random: &mut Stream) -> Box<dyn Script> {
        let call = self.as_mut().transaction(random);
        Box::new(OneRequest { call, mode: None })
    }

    fn read(&mut self, mode: ReadMode, random: &mut Stream) -> Box<dyn Script> {
        let (call, mode) = (self.as_mut().read(random), Some(mode));
        Box::new(OneRequest { call, mode })
    }

    fn final_reads(&mut self) -> Vec<Box<dyn Script>> {
        let calls = self.as_mut().final_reads().into_iter();
        let strict = |call| -> Box<dyn Script> {
            let mode = Some(ReadMode::Strict);
            Box::new(OneRequest { call, mode })
        };
        calls.map(strict).collect()
    }
}
