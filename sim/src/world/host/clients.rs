//! A machine's clients: their requests become inputs, and what the node or its executor says goes back to them.

use plimsoll::client;
use plimsoll::executor::Known;
use plimsoll::id::{NodeId, RequestId, TransactionId};
use plimsoll::protocol::{Input, Query, Refusal};
use plimsoll::replica::ReplicaState;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Outcome, Settlement, Transaction};

use super::super::outcome::Rule;
use super::super::outside::Outside;
use super::{Call, Host, Running};
use crate::port::{ClientRequest, ClientResponse, RequestBody, ResponseBody};

impl Running {
    /// What a planted bug tells a client: what the transaction would come to now.
    fn early_answer(&self, node: NodeId, transaction: &Transaction) -> Option<Settlement> {
        let at = self.node.evaluated();
        let outcome = self
            .stores
            .state
            .executor()
            .dry_run(transaction, at)
            .ok()?
            .ok()?
            .outcome;
        let record = Timestamp { hlc: at, node };
        Some(Settlement {
            record,
            id: transaction.id,
            effective: record,
            outcome,
        })
    }
}

impl Host {
    /// A client's request has come.
    pub(in crate::world) fn on_request(&mut self, time_us: u64, request: ClientRequest, outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let ClientRequest { client, call, body } = request;
        running.requests += 1;
        let request = RequestId(running.requests);
        let is_full = running.stuck.is_some();
        let registry = running.stores.state.executor().registry();
        let input = match body {
            RequestBody::Submit { .. } | RequestBody::Resolve { .. } if is_full => {
                let refusal = Refusal::StorageFull { node: self.id };
                return self.refuse(time_us, (client, call), refusal.to_string(), outside);
            }
            RequestBody::Submit { id, thunk, arguments } => match client::admit(registry, id, thunk, arguments) {
                Ok(transaction) => Input::Submit { request, transaction },
                Err(error) => return self.refuse(time_us, (client, call), error.to_string(), outside),
            },
            RequestBody::Resolve { id, target } => Input::Submit {
                request,
                transaction: client::resolve(id, target),
            },
            RequestBody::Status { id } => return self.tell_status(time_us, id, (client, call), outside),
            RequestBody::Read { mode, query } => {
                let mode = outside.planted.map_or(mode, |planted| planted.read_mode(mode));
                Input::Read { request, mode, query }
            }
        };
        let early = match &input {
            Input::Submit { transaction, .. }
                if outside.planted.is_some_and(|planted| planted.answers_early(self.place)) =>
            {
                running.early_answer(self.id, transaction)
            }
            _ => None,
        };
        running.calls.insert(
            request,
            Call {
                client,
                call,
                is_answered: early.is_some(),
            },
        );
        if let Some(settlement) = early {
            let body = ResponseBody::Settled(settlement);
            outside.respond(time_us, client, ClientResponse { call, body });
        }
        self.step(time_us, outside.prices.call, input, outside);
    }

    /// *Given* whose call it is.
    fn refuse(&mut self, time_us: u64, caller: (usize, u64), why: String, outside: &mut Outside) {
        self.protocol.begin(time_us);
        let at_us = self.protocol.work(outside.prices.call);
        let (client, call) = caller;
        let body = ResponseBody::Refused(why);
        outside.respond(at_us, client, ClientResponse { call, body });
    }

    /// Answers at once what the replica knows of a transaction. *Given* whose call it is.
    fn tell_status(&mut self, time_us: u64, id: TransactionId, caller: (usize, u64), outside: &mut Outside) {
        let Some(running) = &self.running else {
            return;
        };
        let status = match running.stores.state.status(id) {
            Ok(status) => status,
            Err(error) => return self.fail(time_us, &error, outside),
        };
        // One that was cancelled may have no record anywhere.
        if let Known::Settled { outcome, .. } = &status.known
            && !matches!(outcome, Outcome::Aborted(Abort::Cancelled { .. }))
            && let Err(what) = outside.durability.check(id)
        {
            self.breach(Rule::Durability, what);
        }
        self.protocol.begin(time_us);
        let at_us = self.protocol.work(outside.prices.call);
        let (client, call) = caller;
        let body = ResponseBody::Status(status);
        outside.respond(at_us, client, ClientResponse { call, body });
    }

    pub(super) fn read(&mut self, request: RequestId, at: Hlc, query: &Query, outside: &mut Outside) {
        const ENTRIES_PER_READ: usize = 20;
        let issued_us = self.protocol.work(0);
        let Some(running) = &self.running else {
            return;
        };
        let mut reads = query.keys.len() + query.ranges.len();
        let body = match running.stores.state.read(at, query) {
            Ok(answer) => {
                reads += answer.ranges.iter().map(Vec::len).sum::<usize>() / ENTRIES_PER_READ;
                ResponseBody::Rows { at, answer }
            }
            Err(why) => ResponseBody::Refused(why.to_string()),
        };
        self.executor.begin(issued_us);
        let at_us = self.executor.work(reads as u64 * outside.prices.read);
        self.answer(at_us, request, body, outside);
    }

    pub(super) fn answer(&mut self, at_us: u64, request: RequestId, body: ResponseBody, outside: &mut Outside) {
        let call = self.running.as_mut().and_then(|running| running.calls.remove(&request));
        match call {
            Some(Call { is_answered: true, .. }) => {}
            Some(Call { client, call, .. }) => outside.respond(at_us, client, ClientResponse { call, body }),
            None => self.breach(
                Rule::Conduct,
                format!("answers {request:?}, which is not open, with {body:?}"),
            ),
        }
    }
}
