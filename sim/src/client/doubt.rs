//! What a client does about a transaction whose end is unknown to it, and about one that it submits twice.
//!
//! Realises the ends of doubt of section 4 of the design, seen from outside: the same id again, `status`, `resolve`. Each is tried at one
//! node after the other until one answers. What is learned is the end of the call in the history, so that the checkers judge
//! whether ids take effect once. A call may have several requests under way at once; those that are answered when it is over
//! must not say anything else than the first did.

use plimsoll::client;
use plimsoll::executor::{Known, Status};
use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::thunk::Resolution;
use plimsoll::time::Timestamp;
use plimsoll::transaction::{Abort, Outcome, Settlement, ThunkId};

use super::Fleet;
use super::recorder::Caller;
use super::script::Reply;
use super::slot::{Open, State};
use crate::port::{Action, ClientRequest, RequestBody, ResponseBody};

/// The reason of an end that a resolving transaction brought about.
pub(super) const CANCELLED: &str = "cancelled by its client";

/// How many nodes are asked for a status at least: an answer comes at once or not at all.
const STATUS_ATTEMPTS_MIN: u64 = 4;

/// What clients do beside waiting, each a share of transactions from 0 to 1. The first three are together at most 1; a
/// client that does none of them leaves the end unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Doubts {
    /// Of those whose end is unknown: submit the same id again until there is an answer.
    pub retry: f64,
    /// Of those whose end is unknown: send `resolve` until there is an answer.
    pub resolve: f64,
    /// Of those whose end is unknown: ask for the status, for as long again as an answer was waited for.
    pub status: f64,
    /// Of all: submit to two nodes at once.
    pub double_submit: f64,
}

/// How a client tries to learn the end of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pursuit {
    /// By the same id again.
    Retry,
    /// By a resolving transaction of this id, the same at each attempt.
    Resolve(TransactionId),
    /// By asking, until this moment.
    Status { until_us: u64 },
}

/// The request of a call that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Submit {
        id: TransactionId,
        thunk: ThunkId,
        arguments: Value,
    },
    /// One that is never asked for again.
    Read,
    /// None: the call waits for the moment that is its deadline.
    Pause,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    Reply(Reply),
    /// The request did nothing, for this reason.
    Refused(String),
    /// The request may have done something, for this reason.
    Doubt(String),
    /// Nothing yet.
    NotYet,
}

/// What the first answer to a request said: later ones must say the same.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    caller: Caller,
    request: Request,
    resolver: Option<TransactionId>,
    reply: Reply,
}

impl Request {
    /// The id under which it is submitted; absent of a read.
    pub(super) fn id(&self) -> Option<TransactionId> {
        match self {
            Self::Submit { id, .. } => Some(*id),
            Self::Read | Self::Pause => None,
        }
    }
}

impl Fleet {
    /// Submits the client's transaction to another node too, if it is one of the share that is submitted twice.
    pub(super) fn double(&mut self, client: usize, actions: &mut Vec<Action>) {
        let share = self.settings.doubts.double_submit;
        // Without a share nothing is drawn: the draws of a scenario that asks for none stay as they are.
        if share > 0.0 && self.slots[client].random.unit() < share {
            self.recorder.counts.doubled += 1;
            let node = self.node_after(client, 1);
            self.send_again(client, node, actions);
        }
    }

    /// What came of the client's request is unknown: because of the deadline, or an answer that says so.
    pub(super) fn doubt(&mut self, now_us: u64, client: usize, why: String, actions: &mut Vec<Action>) {
        match self.draw_pursuit(now_us, client) {
            Some(pursuit) => {
                self.recorder.counts.pursued += 1;
                self.open_of(client).pursuit = Some(pursuit);
                self.pursue(now_us, client, actions);
            }
            None => self.replied(now_us, client, Reply::Unknown(why), actions),
        }
    }

    fn draw_pursuit(&mut self, now_us: u64, client: usize) -> Option<Pursuit> {
        let Doubts {
            retry, resolve, status, ..
        } = self.settings.doubts;
        let is_submit = self.open_of(client).request.id().is_some();
        if !is_submit || retry + resolve + status <= 0.0 {
            return None;
        }
        let slot = &mut self.slots[client];
        let draw = slot.random.unit();
        if draw < retry {
            Some(Pursuit::Retry)
        } else if draw < retry + resolve {
            Some(Pursuit::Resolve(
                slot.transaction_id(self.settings.wall_start_us + now_us),
            ))
        } else if draw < retry + resolve + status {
            let until_us = now_us + self.settings.deadline_us;
            Some(Pursuit::Status { until_us })
        } else {
            None
        }
    }

    /// Makes the next attempt, at the next node.
    pub(super) fn pursue(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        if let Some(Pursuit::Status { until_us }) = self.open_of(client).pursuit
            && until_us <= now_us
        {
            let why = "no status told of its end".to_owned();
            self.replied(now_us, client, Reply::Unknown(why), actions);
            return;
        }
        let open = self.open_of(client);
        open.attempts += 1;
        let turns = open.attempts;
        let node = self.node_after(client, turns);
        self.send_again(client, node, actions);
        let wait_us = match self.open_of(client).pursuit {
            Some(Pursuit::Status { .. }) => self.settings.deadline_us.div_ceil(STATUS_ATTEMPTS_MIN),
            _ => self.settings.deadline_us,
        };
        self.wait_for(now_us + wait_us, client, actions);
    }

    /// An attempt told nothing: the next one is made after a wait, unless another is under way.
    pub(super) fn pursue_later(&mut self, now_us: u64, client: usize, call: u64, actions: &mut Vec<Action>) {
        if self.open_of(client).latest == call {
            self.wait_for(now_us + self.settings.refused_wait_us, client, actions);
        }
    }

    fn wait_for(&mut self, due_us: u64, client: usize, actions: &mut Vec<Action>) {
        self.open_of(client).deadline_us = due_us;
        self.slots[client].arm(due_us, actions);
    }

    /// Sends the client's request once more.
    fn send_again(&mut self, client: usize, node: usize, actions: &mut Vec<Action>) {
        self.next_call += 1;
        let call = self.next_call;
        let open = self.open_of(client);
        open.calls.push(call);
        open.latest = call;
        let Request::Submit { id, thunk, arguments } = &open.request else {
            unreachable!("only transactions are asked for again");
        };
        let id = *id;
        let body = match open.pursuit {
            None | Some(Pursuit::Retry) => RequestBody::Submit {
                id,
                thunk: thunk.clone(),
                arguments: arguments.clone(),
            },
            Some(Pursuit::Resolve(resolver)) => RequestBody::Resolve {
                id: resolver,
                target: id,
            },
            Some(Pursuit::Status { .. }) => RequestBody::Status { id },
        };
        let request = ClientRequest { client, call, body };
        actions.push(Action::Send { node, request });
    }

    /// The node that is this many turns behind the one that the client uses now: first those of its region, then all others.
    fn node_after(&self, client: usize, turns: usize) -> usize {
        let slot = &self.slots[client];
        let own = &self.settings.nodes[slot.region];
        let others = self.settings.nodes.iter().flatten().filter(|node| !own.contains(node));
        // The same node comes first that a plain call would go to.
        let first = slot.turn % own.len();
        let all: Vec<usize> = own[first..]
            .iter()
            .chain(&own[..first])
            .chain(others)
            .copied()
            .collect();
        all[turns % all.len()]
    }

    pub(super) fn open_of(&mut self, client: usize) -> &mut Open {
        match &mut self.slots[client].state {
            State::Open(open) => open,
            state => unreachable!("the client has no call: {state:?}"),
        }
    }

    /// The client's request is answered: what it is answered elsewhere is to be compared with that.
    pub(super) fn expect_echoes(&mut self, client: usize, reply: &Reply) {
        let open = self.open_of(client);
        let (calls, resolver) = (std::mem::take(&mut open.calls), open.resolver());
        let (caller, request) = (open.caller, open.request.clone());
        for call in calls {
            let ended = Ended {
                caller,
                request: request.clone(),
                resolver,
                reply: reply.clone(),
            };
            self.echoes.insert(call, ended);
        }
    }

    /// An answer to a request that is over: nothing is learned of it, but it may contradict.
    pub(super) fn on_echo(&mut self, now_us: u64, call: u64, body: ResponseBody) {
        let Some(ended) = self.echoes.remove(&call) else {
            self.recorder.counts.late += 1;
            return;
        };
        self.recorder.counts.echoes += 1;
        let wrong = match told(&ended.request, ended.resolver, body) {
            Ok(Told::Reply(reply)) if reply.is_answer() && reply != ended.reply => {
                format!("it was answered {:?} first and {reply:?} later", ended.reply)
            }
            Ok(_) => return,
            Err(wrong) => wrong,
        };
        self.recorder.wrong_answer(now_us, &ended.caller, &wrong);
    }
}

impl Open {
    /// The transaction that was to end the doubt; absent if there is none.
    pub(super) fn resolver(&self) -> Option<TransactionId> {
        match self.pursuit {
            Some(Pursuit::Resolve(resolver)) => Some(resolver),
            _ => None,
        }
    }
}

/// What an answer says of a request. *Given* the transaction that was to resolve it, if there is one. *Errors* say why no correct
/// system answers so.
pub(super) fn told(request: &Request, resolver: Option<TransactionId>, body: ResponseBody) -> Result<Told, String> {
    match (body, request.id()) {
        (ResponseBody::Refused(reason), _) => Ok(Told::Refused(reason)),
        (ResponseBody::Unknown(reason), _) => Ok(Told::Doubt(reason)),
        (ResponseBody::Settled(settlement), Some(own)) => {
            let Settlement {
                id, effective, outcome, ..
            } = settlement;
            if id == own {
                told_by_outcome(resolver, effective, outcome)
            } else if Some(id) == resolver {
                told_by_resolver(resolver, &outcome)
            } else {
                Err(format!("it was answered with the end of transaction {id}"))
            }
        }
        (ResponseBody::Status(Status { known, .. }), Some(_)) => match known {
            Known::NotYet => Ok(Told::NotYet),
            Known::Settled { effective, outcome } => told_by_outcome(resolver, effective, outcome),
            Known::Expired => Ok(expired()),
        },
        (ResponseBody::Rows { at, answer }, None) => Ok(Told::Reply(Reply::Rows { at, answer })),
        (ResponseBody::Settled(_) | ResponseBody::Status(_), None) => {
            Err("a read was answered as a transaction".to_owned())
        }
        (ResponseBody::Rows { .. }, Some(_)) => Err("a transaction was answered as a read".to_owned()),
    }
}

fn told_by_resolver(resolver: Option<TransactionId>, outcome: &Outcome) -> Result<Told, String> {
    let resolution = client::resolution(outcome).map_err(|error| error.to_string())?;
    match resolution {
        Ok(Resolution::Committed {
            effective,
            output: Some(output),
        }) => told_by_outcome(resolver, effective, Outcome::Committed(output)),
        Ok(Resolution::Aborted { effective, abort }) => told_by_outcome(resolver, effective, Outcome::Aborted(abort)),
        Ok(Resolution::Cancelled { effective, by }) => {
            told_by_outcome(resolver, effective, Outcome::Aborted(Abort::Cancelled { by }))
        }
        Ok(Resolution::Expired) | Err(Abort::Expired { .. }) => Ok(expired()),
        // No output of a workload is that large, and no clock of a world that wrong.
        Ok(Resolution::Committed { output: None, .. }) => Err("its output was left out as too large".to_owned()),
        Err(abort) => Err(format!("its resolving transaction was aborted: {abort}")),
    }
}

fn told_by_outcome(resolver: Option<TransactionId>, at: Timestamp, outcome: Outcome) -> Result<Told, String> {
    match outcome {
        Outcome::Committed(output) => Ok(Told::Reply(Reply::Committed { at, output })),
        Outcome::Aborted(abort @ Abort::Refused(_)) => Ok(Told::Reply(Reply::Aborted(abort))),
        // By whom else: nobody knows the id but its client.
        Outcome::Aborted(abort @ Abort::Cancelled { by }) if Some(by) == resolver => {
            Ok(Told::Reply(Reply::Aborted(abort)))
        }
        Outcome::Aborted(Abort::Expired { .. }) => Ok(expired()),
        Outcome::Aborted(abort @ (Abort::Stale { .. } | Abort::Reserved { .. })) => {
            Ok(Told::Reply(Reply::Stale { at, abort }))
        }
        // No thunk that keeps to its footprint and its own arguments does any of the others.
        Outcome::Aborted(other) => Err(format!("it was aborted: {other}")),
    }
}

/// The client asked for too long: it will never know.
fn expired() -> Told {
    Told::Reply(Reply::Unknown("its id has expired".to_owned()))
}
