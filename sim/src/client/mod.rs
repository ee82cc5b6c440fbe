//! The simulated clients: closed and open loops over scripts, with deadlines, and the final reads.
//!
//! Realises the client side of section 8 of the design. [`Fleet`] is all clients of a run as one state machine behind
//! [`Clients`]: the world tells it of moments and answers, it answers with requests and moments to be woken at. It knows nothing
//! of the cluster but what an answer says, and everything that it learns goes through the [`Recorder`]. What a call consists of is its
//! [`Script`]'s affair; most are one request. Tests are in `tests`.
//!
//! A *process* in the history has at most one call open. When a call's end is unknown (no answer before the deadline) and stays so,
//! its process is never used again and the client goes on as a new one.

mod calls;
mod doubt;
#[cfg(test)]
mod doubt_tests;
#[cfg(test)]
pub(crate) mod fake;
mod recorder;
mod script;
#[cfg(test)]
mod script_tests;
mod slot;
mod staged;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::port::{Action, ClientResponse, Clients};
use crate::random::Seed;
pub use doubt::Doubts;
use doubt::Ended;
pub use recorder::{CallKind, Counts, End, Latencies, Recorder, RegionMeasures};
pub use script::{Ask, Ending, Event, Next, Reply, Script, Scripts};
use slot::{Role, Slot, State};
pub(crate) use staged::{Noted, StagedScript};

/// How often the steward looks whether the load is over, in microseconds.
const STEWARD_US: u64 = 20_000;

/// Attempts at one final read, each at another node, before it is given up.
const FINAL_ATTEMPTS_MAX: usize = 100;

/// Closed clients set off within this time at least, in microseconds.
const START_SPREAD_US: u64 = 10_000;

/// What the clients of a run are to do.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSettings {
    /// Where all draws of the clients begin.
    pub seed: Seed,
    /// The nodes of each region, by their places. Clients send to nodes of their own region only, so that a latency is
    /// that of its region; a region without a node has no clients.
    pub nodes: Vec<Vec<usize>>,
    /// How many clients a region has.
    pub clients_per_region: usize,
    /// When they call.
    pub pace: Pace,
    /// What they call.
    pub mix: Mix,
    /// What they do about ends that they do not know.
    pub doubts: Doubts,
    /// How long a client waits for an answer, in microseconds.
    pub deadline_us: u64,
    /// How long a client of a closed loop waits after a refusal or an unknown end, in microseconds.
    pub refused_wait_us: u64,
    /// Microseconds since the Unix epoch when the run begins: the time inside transaction ids.
    pub wall_start_us: u64,
    /// Calls meant to be made before this moment are not measured.
    pub warm_up_us: u64,
    /// When the load ends.
    pub load_us: u64,
}

/// When clients call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each client calls again this long after the end of its last call.
    Closed {
        /// The time between, in microseconds.
        think_us: u64,
    },
    /// A region's calls arrive by a Poisson process, and none waits for another.
    Open {
        /// Calls per second and client.
        rate_per_s: f64,
    },
}

/// The shares of calls that are reads outside transactions, each from 0 to 1. The rest are transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Strict reads.
    pub strict_reads: f64,
    /// Snapshot reads.
    pub snapshot_reads: f64,
    /// Reads after what the client has seen; snapshot reads while that is nothing.
    pub after_reads: f64,
    /// Reads of bounded age.
    pub bounded_reads: f64,
    /// That bound, in microseconds.
    pub bound_us: u64,
}

/// All clients of a run.
pub struct Fleet {
    settings: FleetSettings,
    scripts: Box<dyn Scripts>,
    recorder: Recorder,
    slots: Vec<Slot>,
    /// Clients of each region's open loop that have no call.
    free: Vec<Vec<usize>>,
    next_process: u64,
    next_call: u64,
    /// Calls without an answer.
    open: usize,
    /// Requests under way that belong to calls which are over.
    echoes: BTreeMap<u64, Ended>,
    phase: Phase,
}

/// How far the run has come.
enum Phase {
    Load,
    /// Nothing new is sent; what is open ends.
    Draining,
    /// The final reads: those still to be made, each with the attempts so far, and how many of all are not answered.
    Final {
        waiting: VecDeque<(Box<dyn Script>, usize)>,
        unanswered: usize,
    },
}

impl Fleet {
    /// Clients that have not begun.
    ///
    /// *Panics* where no region has a node, or no client is asked for.
    pub fn new(settings: FleetSettings, scripts: impl Scripts + 'static) -> Self {
        let regions = settings.nodes.len();
        assert!(
            settings.nodes.iter().any(|nodes| !nodes.is_empty()),
            "there is no node to talk to"
        );
        assert!(settings.clients_per_region > 0, "there is no client");
        Self {
            recorder: Recorder::new(regions, settings.warm_up_us..settings.load_us),
            scripts: Box::new(scripts),
            slots: Vec::new(),
            free: vec![Vec::new(); regions],
            next_process: 0,
            next_call: 0,
            open: 0,
            echoes: BTreeMap::new(),
            phase: Phase::Load,
            settings,
        }
    }

    /// What the clients saw.
    pub fn into_recorder(self) -> Recorder {
        self.recorder
    }

    /// Final reads that have no answer, or all of them while they have not begun.
    pub fn final_reads_unanswered(&self) -> Option<usize> {
        match &self.phase {
            Phase::Final { unanswered, .. } => Some(*unanswered),
            Phase::Load | Phase::Draining => None,
        }
    }

    fn add(&mut self, role: Role, region: usize) -> usize {
        let place = self.slots.len();
        let process = self.new_process();
        self.slots
            .push(Slot::new(place, role, region, process, self.settings.seed));
        place
    }

    fn new_process(&mut self) -> u64 {
        self.next_process += 1;
        self.next_process - 1
    }

    /// The client has nothing open: what it does next depends on what it is there for.
    fn go_on(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        let is_load = matches!(self.phase, Phase::Load);
        match self.slots[client].role {
            Role::Steward => self.steward(now_us, client, actions),
            Role::Closed if is_load => self.call_next(now_us, now_us, client, actions),
            Role::Arrivals { next_us } if is_load => self.arrive(now_us, next_us, client, actions),
            Role::Closed | Role::Arrivals { .. } => self.slots[client].state = State::Idle,
            Role::Pooled => {
                self.slots[client].state = State::Idle;
                self.free[self.slots[client].region].push(client);
            }
            Role::FinalReader => self.read_final(now_us, client, actions),
        }
    }

    /// Begins the final reads once everything else has ended.
    fn steward(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Draining) || self.open > 0 {
            self.slots[client].wait_until(now_us + STEWARD_US, actions);
            return;
        }
        self.slots[client].state = State::Idle;
        let reads = self.scripts.final_reads().into_iter();
        let waiting: VecDeque<_> = reads.map(|script| (script, 0)).collect();
        self.phase = Phase::Final {
            unanswered: waiting.len(),
            waiting,
        };
        for region in self.inhabited_regions() {
            let reader = self.add(Role::FinalReader, region);
            self.read_final(now_us, reader, actions);
        }
    }

    fn inhabited_regions(&self) -> Vec<usize> {
        let regions = 0..self.settings.nodes.len();
        regions
            .filter(|region| !self.settings.nodes[*region].is_empty())
            .collect()
    }

    /// All arrivals that are due, each with a client of its own.
    fn arrive(&mut self, now_us: u64, mut next_us: f64, client: usize, actions: &mut Vec<Action>) {
        let region = self.slots[client].region;
        while next_us <= now_us as f64 {
            let caller = match self.free[region].pop() {
                Some(free) => free,
                None => self.add(Role::Pooled, region),
            };
            self.call_next(now_us, next_us as u64, caller, actions);
            next_us += self.gap_us(client);
        }
        let slot = &mut self.slots[client];
        slot.role = Role::Arrivals { next_us };
        slot.wait_until(next_us.ceil() as u64, actions);
    }

    /// The time to the next arrival of a region's open loop.
    fn gap_us(&mut self, client: usize) -> f64 {
        let Pace::Open { rate_per_s } = self.settings.pace else {
            unreachable!("only an open loop has arrivals");
        };
        self.slots[client].random.exponential() * 1e6 / (rate_per_s * self.settings.clients_per_region as f64)
    }

    /// Makes the next of the final reads that wait.
    fn read_final(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        let Phase::Final { waiting, .. } = &mut self.phase else {
            unreachable!("final readers are made with the final reads");
        };
        match waiting.pop_front() {
            Some((script, attempts)) => self.begin_final(now_us, client, script, attempts, actions),
            None => self.slots[client].state = State::Idle,
        }
    }

    /// Puts a final read that failed back, unless it was tried too often.
    fn retry_final(&mut self, script: Box<dyn Script>, attempts: usize) {
        let Phase::Final { waiting, .. } = &mut self.phase else {
            unreachable!("final readers are made with the final reads");
        };
        if attempts < FINAL_ATTEMPTS_MAX {
            waiting.push_back((script, attempts));
        }
    }
}

impl Clients for Fleet {
    fn start(&mut self, actions: &mut Vec<Action>) {
        assert!(self.slots.is_empty(), "the clients have started before");
        self.add(Role::Steward, 0);
        for region in self.inhabited_regions() {
            match self.settings.pace {
                Pace::Closed { .. } => {
                    for _ in 0..self.settings.clients_per_region {
                        self.add(Role::Closed, region);
                    }
                }
                Pace::Open { .. } => {
                    let arrivals = self.add(Role::Arrivals { next_us: 0.0 }, region);
                    let next_us = self.gap_us(arrivals);
                    self.slots[arrivals].role = Role::Arrivals { next_us };
                }
            }
        }
        for slot in &mut self.slots {
            // Closed clients set off at different moments: they are not to go in step.
            let start_us = match (slot.role, self.settings.pace) {
                (Role::Arrivals { next_us }, _) => next_us.ceil() as u64,
                (Role::Closed, Pace::Closed { think_us }) => slot.random.below(think_us.max(START_SPREAD_US)),
                _ => 0,
            };
            slot.wait_until(start_us, actions);
        }
    }

    fn on_wake(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        if !self.slots[client].is_due(now_us) {
            return;
        }
        match &self.slots[client].state {
            State::Idle => {}
            State::Until(due_us) if *due_us > now_us => {
                let due_us = *due_us;
                self.slots[client].arm(due_us, actions);
            }
            State::Until(_) => self.go_on(now_us, client, actions),
            State::Open(open) if open.deadline_us > now_us => {
                let due_us = open.deadline_us;
                self.slots[client].arm(due_us, actions);
            }
            State::Open(_) => self.give_up(now_us, client, actions),
        }
    }

    fn on_response(&mut self, now_us: u64, client: usize, response: ClientResponse, actions: &mut Vec<Action>) {
        self.receive(now_us, client, response, actions);
    }

    fn is_idle(&self) -> bool {
        matches!(&self.phase, Phase::Final { waiting, .. } if waiting.is_empty()) && self.open == 0
    }

    fn stop(&mut self) {
        if matches!(self.phase, Phase::Load) {
            self.phase = Phase::Draining;
        }
    }
}
