//! One simulated client: which process it is, where it sends, what it waits for.

use plimsoll::id::TransactionId;
use plimsoll::time::Timestamp;

use super::doubt::{Pursuit, Request};
use super::recorder::Caller;
use super::script::Script;
use crate::port::Action;
use crate::random::{Seed, Stream};

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// Watches for the end of the load, and begins the final reads.
    Steward,
    /// Calls, waits for the answer, thinks, calls again.
    Closed,
    /// Gives the calls of its region's open loop to clients of the pool, at their moments.
    Arrivals {
        /// When the next one is due, in microseconds. A fraction is kept, so that the rate is exact.
        next_us: f64,
    },
    /// Makes a call when it is given one.
    Pooled,
    /// Makes the final reads.
    FinalReader,
}

/// What a client waits for.
#[derive(Debug)]
pub(super) enum State {
    /// For nothing: it has no wake of its own.
    Idle,
    /// For a moment.
    Until(u64),
    /// For an answer.
    Open(Box<Open>),
}

/// A call that has begun, and the request of it that is under way.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) request: Request,
    /// The numbers under which it was sent and is not answered: it may go to several nodes.
    pub(super) calls: Vec<u64>,
    /// The last of all its numbers.
    pub(super) latest: u64,
    /// Whether it may have done something, by one of its answers.
    pub(super) is_doubtful: bool,
    /// What the client does to learn what came of it; absent while it waits for the first answer.
    pub(super) pursuit: Option<Pursuit>,
    /// When the client waits no longer: then it is in doubt what came of it, or the next attempt is made to learn it.
    pub(super) deadline_us: u64,
    /// Earlier attempts at the same final read, or attempts to learn what came of the request.
    pub(super) attempts: usize,
    pub(super) caller: Caller,
    /// The number of its invocation in the history.
    pub(super) invocation: usize,
    pub(super) script: Box<dyn Script>,
}

/// One client, at its place among all clients.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) place: usize,
    pub(super) role: Role,
    pub(super) region: usize,
    /// The process in the history. Another one takes its place once its last end is unknown.
    pub(super) process: u64,
    /// Counts the nodes that have failed the client; chooses the next one.
    pub(super) turn: usize,
    /// The latest place in the history of the store that the client knows to be there.
    pub(super) seen: Option<Timestamp>,
    pub(super) state: State,
    pub(super) random: Stream,
    /// The wake that is on its way, if it is not one that has been overtaken.
    armed_us: Option<u64>,
}

impl Slot {
    pub(super) fn new(place: usize, role: Role, region: usize, process: u64, seed: Seed) -> Self {
        let mut random = seed.stream(&format!("client.{place}"));
        Self {
            place,
            role,
            region,
            process,
            turn: random.below(u64::from(u16::MAX)) as usize,
            seen: None,
            state: State::Idle,
            random,
            armed_us: None,
        }
    }

    /// Takes note that a wake has come. *Gives* whether it is due; a wake that was overtaken by an earlier one is not.
    pub(super) fn is_due(&mut self, now_us: u64) -> bool {
        let due = self.armed_us.is_some_and(|armed_us| armed_us <= now_us);
        if due {
            self.armed_us = None;
        }
        due
    }

    /// Asks for a wake at `time_us`, unless an earlier one is on its way: that one asks again.
    pub(super) fn arm(&mut self, time_us: u64, actions: &mut Vec<Action>) {
        if self.armed_us.is_none_or(|armed_us| time_us < armed_us) {
            self.armed_us = Some(time_us);
            actions.push(Action::WakeAt {
                client: self.place,
                time_us,
            });
        }
    }

    /// Waits until `time_us`.
    pub(super) fn wait_until(&mut self, time_us: u64, actions: &mut Vec<Action>) {
        self.state = State::Until(time_us);
        self.arm(time_us, actions);
    }

    /// Takes note of something that is in the store.
    pub(super) fn saw(&mut self, at: Timestamp) {
        self.seen = self.seen.max(Some(at));
    }

    /// A new transaction id, made at this wall time.
    pub(super) fn transaction_id(&mut self, wall_us: u64) -> TransactionId {
        let mut entropy = [0; 10];
        self.random.fill(&mut entropy);
        TransactionId::from_parts(wall_us / 1_000, entropy)
    }
}
