//! One call from its draw to its end: what is sent, what an answer means, and what a client does when it failed.

use std::time::Duration;

use plimsoll::protocol::ReadMode;
use plimsoll::time::Timestamp;
use plimsoll::transaction::{Abort, Outcome, Settlement};

use super::recorder::{CallKind, Caller, End};
use super::slot::{Open, Role, State};
use super::{Fleet, Pace, Phase};
use crate::history::{MicroOperation, function};
use crate::port::{Action, ClientRequest, ClientResponse, RequestBody, ResponseBody};
use crate::workload::{Call, Work};

/// What an answer says of a call: its end, and its steps with what was read where it is ok.
type Ending = (End, Option<Vec<MicroOperation>>);

impl Fleet {
    /// Makes the client's next call of the load.
    pub(super) fn call_next(&mut self, now_us: u64, intended_us: u64, client: usize, actions: &mut Vec<Action>) {
        let read = self.draw_read(client);
        let random = &mut self.slots[client].random;
        let call = match read {
            None => self.workload.transaction(random),
            Some(_) => self.workload.read(random),
        };
        self.send(now_us, intended_us, client, read, call, 0, actions);
    }

    /// Makes one of the final reads.
    pub(super) fn send_final(
        &mut self,
        now_us: u64,
        client: usize,
        call: Call,
        attempts: usize,
        actions: &mut Vec<Action>,
    ) {
        let read = Some((CallKind::StrictRead, ReadMode::Strict));
        self.send(now_us, now_us, client, read, call, attempts, actions);
    }

    /// Which read the next call is; absent: it is a transaction.
    fn draw_read(&mut self, client: usize) -> Option<(CallKind, ReadMode)> {
        let mix = self.settings.mix;
        let slot = &mut self.slots[client];
        let mut draw = slot.random.unit();
        let mut falls_in = |share: f64| {
            draw -= share;
            draw < 0.0
        };
        let snapshot = (CallKind::SnapshotRead, ReadMode::Snapshot);
        if falls_in(mix.strict_reads) {
            Some((CallKind::StrictRead, ReadMode::Strict))
        } else if falls_in(mix.snapshot_reads) {
            Some(snapshot)
        } else if falls_in(mix.after_reads) {
            let after = slot.seen.map(|seen| (CallKind::AfterRead, ReadMode::After(seen)));
            Some(after.unwrap_or(snapshot))
        } else if falls_in(mix.bounded_reads) {
            let bound = Duration::from_micros(mix.bound_us);
            Some((CallKind::BoundedRead, ReadMode::Bounded(bound)))
        } else {
            None
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of them differ between the three ways in which calls begin"
    )]
    fn send(
        &mut self,
        now_us: u64,
        intended_us: u64,
        client: usize,
        read: Option<(CallKind, ReadMode)>,
        call: Call,
        attempts: usize,
        actions: &mut Vec<Action>,
    ) {
        assert!(
            intended_us <= now_us,
            "a call at {now_us} us was meant for later, {intended_us} us"
        );
        let slot = &mut self.slots[client];
        let (id, body) = match (&call.work, read) {
            (Work::Transaction { thunk, arguments }, None) => {
                let id = slot.transaction_id(self.settings.wall_start_us + now_us);
                let (thunk, arguments) = (thunk.clone(), arguments.clone());
                (Some(id), RequestBody::Submit { id, thunk, arguments })
            }
            (Work::Read, Some((_, mode))) => (
                None,
                RequestBody::Read {
                    mode,
                    query: call.query(),
                },
            ),
            (work, read) => unreachable!("the workload gave {work:?} for {read:?}"),
        };
        let kind = read.map_or(CallKind::Transaction, |(kind, _)| kind);
        let caller = Caller {
            process: slot.process,
            region: slot.region,
            kind,
            function: match kind {
                CallKind::Transaction => call.function,
                CallKind::StrictRead => function::STRICT_READ,
                CallKind::SnapshotRead | CallKind::BoundedRead => function::SNAPSHOT_READ,
                CallKind::AfterRead => function::AFTER_READ,
            },
            id,
            intended_us,
        };
        self.recorder.invoked(now_us, &caller, call.steps.clone());
        self.next_call += 1;
        let deadline_us = now_us + self.settings.deadline_us;
        slot.state = State::Open(Box::new(Open {
            number: self.next_call,
            deadline_us,
            attempts,
            caller,
            call,
        }));
        slot.arm(deadline_us, actions);
        self.open += 1;
        actions.push(Action::Send {
            node: self.node_of(client),
            request: ClientRequest {
                client,
                call: self.next_call,
                body,
            },
        });
    }

    /// The node that the client uses now. A final read may go to any: it is there to be answered, not to be measured.
    fn node_of(&self, client: usize) -> usize {
        let slot = &self.slots[client];
        let own = &self.settings.nodes[slot.region];
        match slot.role {
            Role::FinalReader => {
                let others = self.settings.nodes.iter().flatten().filter(|node| !own.contains(node));
                let all: Vec<usize> = own.iter().chain(others).copied().collect();
                all[slot.turn % all.len()]
            }
            _ => own[slot.turn % own.len()],
        }
    }

    /// Takes an answer. One to a call that is over is counted and changes nothing.
    pub(super) fn receive(&mut self, now_us: u64, client: usize, response: ClientResponse, actions: &mut Vec<Action>) {
        let open = match &self.slots[client].state {
            State::Open(open) if open.number == response.call => open,
            _ => {
                self.recorder.counts.late += 1;
                return;
            }
        };
        let (end, steps) = match ending_of(&open.caller, &open.call, response.body) {
            Ok(ending) => ending,
            Err(wrong) => {
                self.recorder.wrong_answer(now_us, &open.caller, &wrong);
                (End::Unknown(format!("wrong answer: {wrong}")), None)
            }
        };
        self.ended(now_us, client, end, steps, actions);
    }

    /// The deadline of the client's call has passed.
    pub(super) fn give_up(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        let waited_ms = self.settings.deadline_us / 1_000;
        let end = End::Unknown(format!("no answer within {waited_ms} ms"));
        self.ended(now_us, client, end, None, actions);
    }

    fn ended(
        &mut self,
        now_us: u64,
        client: usize,
        end: End,
        steps: Option<Vec<MicroOperation>>,
        actions: &mut Vec<Action>,
    ) {
        let slot = &mut self.slots[client];
        let State::Open(open) = std::mem::replace(&mut slot.state, State::Idle) else {
            unreachable!("a call ends that was not open");
        };
        self.open -= 1;
        let is_unknown = matches!(end, End::Unknown(_));
        let is_answered = matches!(end, End::Ok(_) | End::Aborted(_));
        if let End::Ok(at) = &end {
            slot.saw(*at);
        }
        if !is_answered {
            slot.turn += 1;
        }
        let steps = steps.unwrap_or_else(|| open.call.steps.clone());
        self.recorder.ended(now_us, &open.caller, steps, end);
        if is_unknown {
            self.slots[client].process = self.new_process();
        }
        if self.slots[client].role == Role::FinalReader {
            match is_answered {
                true => self.final_read_answered(),
                false => self.retry_final(open.call, open.attempts + 1),
            }
        }
        let wait_us = match (self.settings.pace, self.slots[client].role) {
            (_, Role::Pooled) => 0,
            _ if !is_answered => self.settings.refused_wait_us,
            (Pace::Closed { think_us }, Role::Closed) => think_us,
            _ => 0,
        };
        match wait_us {
            0 => self.go_on(now_us, client, actions),
            _ => self.slots[client].wait_until(now_us + wait_us, actions),
        }
    }

    fn final_read_answered(&mut self) {
        if let Phase::Final { unanswered, .. } = &mut self.phase {
            *unanswered -= 1;
        }
    }
}

/// What an answer says of a call. *Errors* say why no correct system answers so.
fn ending_of(caller: &Caller, call: &Call, body: ResponseBody) -> Result<Ending, String> {
    match (body, &call.work) {
        (ResponseBody::Refused(reason), _) => Ok((End::Refused(reason), None)),
        (ResponseBody::Unknown(reason), _) => Ok((End::Unknown(reason), None)),
        (ResponseBody::Settled(settlement), Work::Transaction { .. }) => settled(caller, call, settlement),
        (ResponseBody::Rows { at, answer }, Work::Read) => {
            let steps = call.steps_of_answer(&answer).map_err(|error| error.to_string())?;
            Ok((End::Ok(Timestamp::last_at(at)), Some(steps)))
        }
        (ResponseBody::Settled(_), Work::Read) => Err("a read was answered as a transaction".to_owned()),
        (ResponseBody::Rows { .. }, Work::Transaction { .. }) => Err("a transaction was answered as a read".to_owned()),
    }
}

fn settled(caller: &Caller, call: &Call, settlement: Settlement) -> Result<Ending, String> {
    if Some(settlement.id) != caller.id {
        return Err(format!("it was answered with the end of transaction {}", settlement.id));
    }
    match settlement.outcome {
        Outcome::Committed(output) => {
            let steps = call.steps_of_output(&output).map_err(|error| error.to_string())?;
            Ok((End::Ok(settlement.effective), Some(steps)))
        }
        Outcome::Aborted(Abort::Refused(reason)) => Ok((End::Aborted(reason), None)),
        // No thunk of a workload does any of the others, and no id is as old as the window when it is submitted.
        Outcome::Aborted(other) => Err(format!("it was aborted: {other}")),
    }
}
