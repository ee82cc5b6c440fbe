//! A cluster of one serial executor that answers as its script says: what clients are tested against.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::client::{admit, resolve};
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::protocol::Batch;
use plimsoll::store::MemoryVersions;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Record, Settlement, Transaction};

use super::Fleet;
use crate::port::{Action, Answer, ClientRequest, ClientResponse, Clients, RequestBody, ResponseBody};
use crate::workload::registry;

/// Microseconds since the Unix epoch when the run begins: in 2026.
pub(crate) const WALL_START_US: u64 = 1_780_000_000_000_000;

/// What the cluster does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Carry it out and answer.
    Serve,
    /// Carry it out, and let the answer be lost.
    ServeSilently,
    /// Answer that it did nothing.
    Refuse,
    /// Answer that its end is unknown.
    Doubt,
    /// Carry it out, and answer with something else.
    Garble,
    /// Answer as if it had been carried out, and forget it: what no checker may overlook.
    Forget,
    /// Carry it out and answer, though the same id has come before: as grave a mistake.
    Repeat,
    /// Carry it out and answer so much later.
    Hold {
        /// That time, in microseconds.
        for_us: u64,
    },
}

enum Event {
    Wake(usize),
    Arrive(usize, ClientRequest),
    /// A request that was held back.
    Late(ClientRequest),
    Answer(usize, ClientResponse),
}

/// Clients, the cluster, and everything that is on its way between them.
pub(crate) struct Fake<S> {
    pub(crate) clients: Fleet,
    executor: SerialExecutor<MemoryVersions>,
    script: S,
    /// From a client to the cluster, and back.
    delay_us: u64,
    now_us: u64,
    issued: Hlc,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    /// Every request: when it arrived, and at which node.
    pub(crate) arrivals: Vec<(u64, usize, ClientRequest)>,
}

impl<S: FnMut(u64, usize, &ClientRequest) -> Reaction> Fake<S> {
    /// *Given* a script that is told the time, the node and the request.
    pub(crate) fn new(clients: Fleet, delay_us: u64, script: S) -> Self {
        Self {
            clients,
            executor: SerialExecutor::new(Arc::new(registry()), MemoryVersions::default()),
            script,
            delay_us,
            now_us: 0,
            issued: Hlc::ZERO,
            events: BTreeMap::new(),
            scheduled: 0,
            arrivals: Vec::new(),
        }
    }

    /// Runs the load for so long, and then until the clients have nothing more to do; at most for so long again.
    pub(crate) fn run(&mut self, load_us: u64, drain_us: u64) {
        let mut actions = Vec::new();
        self.clients.start(&mut actions);
        self.carry_out(actions);
        while self.step(load_us) {}
        self.clients.stop();
        while !self.clients.is_idle() && self.step(load_us + drain_us) {}
    }

    /// The next event, if there is one by `until_us`.
    fn step(&mut self, until_us: u64) -> bool {
        let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until_us) else {
            return false;
        };
        self.now_us = entry.key().0;
        let event = entry.remove();
        let mut actions = Vec::new();
        match event {
            Event::Wake(client) => self.clients.on_wake(self.now_us, client, &mut actions),
            Event::Answer(client, response) => self.clients.on_response(self.now_us, client, response, &mut actions),
            Event::Arrive(node, request) => self.arrive(node, request),
            Event::Late(request) => {
                let body = self.serve(request.body, Reaction::Serve);
                self.answer(request.client, request.call, body);
            }
        }
        self.carry_out(actions);
        true
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { node, request } => self.schedule(self.delay_us, Event::Arrive(node, request)),
                Action::WakeAt { client, time_us } => {
                    self.schedule(time_us.saturating_sub(self.now_us), Event::Wake(client));
                }
            }
        }
    }

    fn schedule(&mut self, in_us: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now_us + in_us, self.scheduled), event);
    }

    fn arrive(&mut self, node: usize, request: ClientRequest) {
        let reaction = (self.script)(self.now_us, node, &request);
        self.arrivals.push((self.now_us, node, request.clone()));
        let body = match reaction {
            Reaction::Refuse => ResponseBody::Refused("overloaded".to_owned()),
            Reaction::Doubt => ResponseBody::Unknown("connection lost".to_owned()),
            Reaction::Hold { for_us } => return self.schedule(for_us, Event::Late(request)),
            reaction => self.serve(request.body, reaction),
        };
        let body = match (reaction, body) {
            (Reaction::ServeSilently, _) => return,
            (Reaction::Garble, ResponseBody::Settled(_)) => ResponseBody::Rows {
                at: self.issued,
                answer: Answer::default(),
            },
            (Reaction::Garble, ResponseBody::Rows { at, mut answer }) => {
                answer.keys.clear();
                ResponseBody::Rows { at, answer }
            }
            (_, body) => body,
        };
        self.answer(request.client, request.call, body);
    }

    fn answer(&mut self, client: usize, call: u64, body: ResponseBody) {
        let response = ClientResponse { call, body };
        self.schedule(self.delay_us, Event::Answer(client, response));
    }

    fn serve(&mut self, body: RequestBody, reaction: Reaction) -> ResponseBody {
        let wall = Hlc::from_unix_millis((WALL_START_US + self.now_us) / 1_000);
        self.issued = self.issued.next().max(wall);
        let hlc = self.issued;
        let transaction = match body {
            RequestBody::Submit { id, thunk, arguments } => {
                match admit(self.executor.registry(), id, thunk, arguments) {
                    Ok(transaction) => transaction,
                    Err(error) => return ResponseBody::Refused(error.to_string()),
                }
            }
            RequestBody::Resolve { id, target } => resolve(id, target),
            RequestBody::Status { id } => return ResponseBody::Status(self.executor.status(id)),
            RequestBody::Read { query, .. } => {
                let answer = self.executor.read(hlc, &query).expect("nothing is collected so soon");
                return ResponseBody::Rows { at: hlc, answer };
            }
        };
        let at = Timestamp {
            hlc,
            node: NodeId::new(1),
        };
        ResponseBody::Settled(match reaction {
            Reaction::Forget => self.forget(at, transaction),
            Reaction::Repeat => self.repeat(at, transaction),
            _ => self.evaluate(at, transaction),
        })
    }

    /// Evaluates the transaction as if its id had never come before.
    fn repeat(&mut self, at: Timestamp, mut transaction: Transaction) -> Settlement {
        let id = transaction.id;
        self.scheduled += 1;
        transaction.id = TransactionId::from_u128(id.as_u128() ^ u128::from(self.scheduled));
        let settlement = self.evaluate(at, transaction);
        Settlement { id, ..settlement }
    }

    fn evaluate(&mut self, at: Timestamp, transaction: Transaction) -> Settlement {
        let record = Record {
            hlc: at.hlc,
            transaction,
        };
        let mut evaluated = self.executor.evaluate(&Batch {
            records: vec![(at, Arc::new(record))],
            upto: at.hlc,
        });
        evaluated.settlements.remove(0)
    }

    fn forget(&self, at: Timestamp, transaction: Transaction) -> Settlement {
        let result = self.executor.dry_run(&transaction, at.hlc.prev());
        let result = result
            .expect("nothing is collected so soon")
            .expect("the thunk was admitted");
        Settlement {
            record: at,
            id: transaction.id,
            effective: at,
            outcome: result.outcome,
        }
    }
}
