//! The clients of a kit behind its set-up: its transactions are submitted one after the other, each until it is answered, and then the
//! clients begin. On the way everything that is sent is noted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use plimsoll::id::TransactionId;
use plimsoll::transaction::{Outcome, Settlement};

use super::scripts::Drawn;
use super::seen::Seen;
use crate::client::{Fleet, Reply};
use crate::clock::START_UNIX_MS;
use crate::port::{Action, ClientRequest, ClientResponse, Clients, RequestBody, ResponseBody};
use crate::random::Stream;

/// The place of the one who does the set-up: behind those of all clients.
const STEWARD: usize = u32::MAX as usize;

/// After so long without an answer it is tried at the next node, in microseconds.
const PATIENCE_US: u64 = 1_000_000;

/// The clients, once the set-up is done.
pub(super) struct Prepared {
    fleet: Fleet,
    seen: Rc<RefCell<Seen>>,
    waiting: VecDeque<(TransactionId, Drawn)>,
    /// How many nodes there are to ask.
    nodes: usize,
    attempts: usize,
    /// When the one that waits is tried again, in microseconds.
    due_us: u64,
    /// Why the set-up came to nothing.
    refused: Option<String>,
}

impl Prepared {
    /// *Given* how many nodes are members from the first.
    pub(super) fn new(
        fleet: Fleet,
        seen: Rc<RefCell<Seen>>,
        setup: &[Drawn],
        nodes: usize,
        mut random: Stream,
    ) -> Self {
        let mut named = |drawn: &Drawn| {
            let mut entropy = [0; 10];
            random.fill(&mut entropy);
            (TransactionId::from_parts(START_UNIX_MS, entropy), drawn.clone())
        };
        Self {
            waiting: setup.iter().map(&mut named).collect(),
            fleet,
            seen,
            nodes,
            attempts: 0,
            due_us: 0,
            refused: None,
        }
    }

    /// The clients with what they saw, or why the set-up came to nothing.
    pub(super) fn into_fleet(self) -> (Fleet, Option<String>) {
        let waits = (!self.waiting.is_empty()).then(|| "a transaction of the set-up was never answered".to_owned());
        (self.fleet, self.refused.or(waits))
    }

    /// Submits the first of the set-up that waits, or lets the clients begin.
    fn go_on(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let Some((id, Drawn { thunk, arguments, .. })) = self.waiting.front().cloned() else {
            return self.fleet.start(actions);
        };
        let request = ClientRequest {
            client: STEWARD,
            call: u64::MAX - self.attempts as u64,
            body: RequestBody::Submit { id, thunk, arguments },
        };
        let node = self.attempts % self.nodes;
        self.attempts += 1;
        actions.push(Action::Send { node, request });
        self.due_us = now_us + PATIENCE_US;
        actions.push(Action::WakeAt {
            client: STEWARD,
            time_us: self.due_us,
        });
    }

    fn is_preparing(&self) -> bool {
        !self.waiting.is_empty() && self.refused.is_none()
    }

    fn on_answer(&mut self, now_us: u64, body: ResponseBody, actions: &mut Vec<Action>) {
        let Some((id, drawn)) = self.waiting.front() else {
            return;
        };
        match body {
            ResponseBody::Settled(Settlement { id: of, .. }) if of != *id => {}
            ResponseBody::Settled(Settlement {
                effective: at,
                outcome: Outcome::Committed(output),
                ..
            }) => {
                let mut seen = self.seen.borrow_mut();
                seen.replies.insert(*id, Reply::Committed { at, output });
                seen.prepared = seen.prepared.max(Some(at));
                drop(seen);
                self.waiting.pop_front();
                self.go_on(now_us, actions);
            }
            ResponseBody::Settled(Settlement {
                outcome: Outcome::Aborted(abort),
                ..
            }) => {
                self.refused = Some(format!("{} of the set-up was aborted: {abort}", drawn.name));
            }
            // It is tried again when the wake comes, whatever this was.
            _ => {}
        }
    }

    /// Does something, and notes what is sent.
    fn noting(&mut self, actions: &mut Vec<Action>, work: impl FnOnce(&mut Self, &mut Vec<Action>)) {
        let before = actions.len();
        work(self, actions);
        self.seen.borrow_mut().note(&actions[before..]);
    }
}

impl Clients for Prepared {
    fn start(&mut self, actions: &mut Vec<Action>) {
        self.noting(actions, |prepared, actions| prepared.go_on(0, actions));
    }

    fn on_wake(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        self.noting(actions, |prepared, actions| match client {
            STEWARD if prepared.is_preparing() && prepared.due_us <= now_us => prepared.go_on(now_us, actions),
            STEWARD => {}
            _ => prepared.fleet.on_wake(now_us, client, actions),
        });
    }

    fn on_response(&mut self, now_us: u64, client: usize, response: ClientResponse, actions: &mut Vec<Action>) {
        self.noting(actions, |prepared, actions| match client {
            STEWARD => prepared.on_answer(now_us, response.body, actions),
            _ => prepared.fleet.on_response(now_us, client, response, actions),
        });
    }

    fn is_idle(&self) -> bool {
        self.refused.is_some() || self.fleet.is_idle()
    }

    fn stop(&mut self) {
        self.fleet.stop();
    }
}
