//! What the clients of a kit do: submit what the user's closures draw, and read everything now and then.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use plimsoll::client::staged::{Stage, Staging};
use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::protocol::ReadMode;
use plimsoll::thunk::{Registry, Thunk};
use plimsoll::transaction::{Abort, ThunkId};

use super::kinds::Kinds;
use super::seen::{Seen, Sight, Submitted, behind_guards, entries_of, everything};
use crate::client::{Ask, Ending, Event, Next, Noted, Reply, Script, Scripts, StagedScript};
use crate::history::MicroOperation;
use crate::random::Stream;

/// What was drawn.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    /// The name of its thunk.
    pub(super) name: &'static str,
    pub(super) thunk: ThunkId,
    pub(super) arguments: Value,
}

/// One of the user's closures, and how often it is asked beside the others.
pub(super) struct Source {
    pub(super) weight: u64,
    pub(super) draw: Draw,
}

/// Draws stages, and starts them.
type DrawStages = Box<dyn Fn(&mut Stream, &Setting) -> StagedScript>;

/// What a closure of the user's draws.
pub(super) enum Draw {
    /// A transaction of one thunk.
    Thunk(Box<dyn Fn(&mut Stream) -> Drawn>),
    /// A transaction in stages.
    Stages(DrawStages),
}

/// What staged transactions are started with.
pub(super) struct Setting {
    pub(super) registry: Arc<Registry>,
    pub(super) staging: Staging,
}

impl Draw {
    /// Of stages that end in a `T`.
    pub(super) fn stages<T, F>(draw: impl Fn(&mut Stream) -> F + 'static) -> Self
    where
        T: Thunk,
        F: AsyncFn(Stage) -> Result<T, Abort> + 'static,
    {
        let script = move |random: &mut Stream, setting: &Setting| {
            let stages = draw(random);
            // Behind the user's draws: it is known by its entropy alone, as the reservations of all clients lie in one place.
            let mut entropy = [0; 10];
            random.fill(&mut entropy);
            let id = TransactionId::from_parts(0, entropy);
            let staging = setting.staging.clone();
            StagedScript::new(T::NAME, &setting.registry, id, staging, Noted::default(), stages)
        };
        Self::Stages(Box::new(script))
    }
}

/// The clients' scripts.
pub(super) struct KitScripts {
    pub(super) sources: Rc<Vec<Source>>,
    pub(super) kinds: Rc<Kinds>,
    pub(super) seen: Rc<RefCell<Seen>>,
    pub(super) setting: Setting,
}

impl Scripts for KitScripts {
    fn transaction(&mut self, random: &mut Stream) -> Box<dyn Script> {
        let all: u64 = self.sources.iter().map(|source| source.weight).sum();
        let mut left = random.below(all);
        let chosen = self.sources.iter().find(|source| {
            let is_it = left < source.weight;
            left = left.saturating_sub(source.weight);
            is_it
        });
        let chosen = chosen.expect("a draw below the sum of the weights falls into one of them");
        let (kinds, seen) = (Rc::clone(&self.kinds), Rc::clone(&self.seen));
        match &chosen.draw {
            Draw::Thunk(draw) => {
                let drawn = draw(random);
                Box::new(Submission { drawn, kinds, seen })
            }
            Draw::Stages(draw) => Box::new(InStages {
                stages: draw(random, &self.setting),
                kinds,
                seen,
            }),
        }
    }

    fn read(&mut self, mode: ReadMode, _: &mut Stream) -> Box<dyn Script> {
        let seen = Rc::clone(&self.seen);
        let whose = match mode {
            ReadMode::Strict => "a strict read",
            ReadMode::After(_) => "a read after what its client had seen",
            _ => "a snapshot read",
        };
        Box::new(Look { mode, whose, seen })
    }

    fn final_reads(&mut self) -> Vec<Box<dyn Script>> {
        let seen = Rc::clone(&self.seen);
        vec![Box::new(Look {
            mode: ReadMode::Strict,
            whose: FINAL_READ,
            seen,
        })]
    }
}

/// Whose sight the last strict read is.
pub(super) const FINAL_READ: &str = "the strict read at the end";

/// One transaction of the user's.
struct Submission {
    drawn: Drawn,
    kinds: Rc<Kinds>,
    seen: Rc<RefCell<Seen>>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.drawn.fmt(f)
    }
}

impl Script for Submission {
    fn function(&self) -> &'static str {
        self.drawn.name
    }

    fn steps(&self) -> &[MicroOperation] {
        &[]
    }

    fn next(&mut self, event: Event) -> Result<Next, String> {
        let (id, reply) = match event {
            Event::Begin => {
                let Drawn { thunk, arguments, .. } = self.drawn.clone();
                return Ok(Next::Ask(Ask::Submit { thunk, arguments }));
            }
            Event::Replied { id, reply } => (id, reply),
        };
        if let Reply::Committed { output, .. } = &reply {
            self.kinds.output(&self.drawn.thunk, output)?;
        }
        let end = reply.end();
        let id = id.expect("the one request is a submission");
        self.seen.borrow_mut().replies.insert(id, reply);
        Ok(Next::Done(Ending::of(end)))
    }
}

/// One staged transaction of the user's: what came of each of its submissions is noted.
struct InStages {
    stages: StagedScript,
    kinds: Rc<Kinds>,
    seen: Rc<RefCell<Seen>>,
}

impl fmt::Debug for InStages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stages.fmt(f)
    }
}

impl Script for InStages {
    fn function(&self) -> &'static str {
        self.stages.function()
    }

    fn steps(&self) -> &[MicroOperation] {
        self.stages.steps()
    }

    fn next(&mut self, event: Event) -> Result<Next, String> {
        if let Event::Replied { id: Some(id), reply } = &event {
            let mut seen = self.seen.borrow_mut();
            if let (Reply::Committed { output, .. }, Some(Submitted::Thunk { thunk, arguments })) =
                (reply, seen.submitted.get(id))
            {
                let (thunk, _) = behind_guards(thunk, arguments);
                self.kinds.output(&thunk, output)?;
            }
            seen.replies.insert(*id, reply.clone());
        }
        self.stages.next(event)
    }

    fn runs(&self) -> u32 {
        self.stages.runs()
    }
}

/// A read of everything.
struct Look {
    mode: ReadMode,
    whose: &'static str,
    seen: Rc<RefCell<Seen>>,
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.whose)
    }
}

impl Script for Look {
    fn function(&self) -> &'static str {
        "read"
    }

    fn steps(&self) -> &[MicroOperation] {
        &[]
    }

    fn next(&mut self, event: Event) -> Result<Next, String> {
        let reply = match event {
            Event::Begin => {
                let (mode, query) = (self.mode, everything());
                return Ok(Next::Ask(Ask::Read { mode, query }));
            }
            Event::Replied { reply, .. } => reply,
        };
        let end = reply.end();
        if let Reply::Rows { at, answer } = reply {
            if !answer.keys.is_empty() || answer.ranges.len() != 1 {
                return Err(format!(
                    "one range was asked for, and the answer holds {} keys and {} ranges",
                    answer.keys.len(),
                    answer.ranges.len()
                ));
            }
            self.seen.borrow_mut().sights.push(Sight {
                whose: self.whose.to_owned(),
                at,
                entries: entries_of(answer),
            });
        }
        Ok(Next::Done(Ending::of(end)))
    }
}
