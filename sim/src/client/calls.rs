//! One call from its draw to its end: what is sent, what an answer means, and what a client does when it failed.

use std::time::Duration;

use plimsoll::protocol::ReadMode;

use super::doubt::{Ending, Told, told};
use super::recorder::{CallKind, Caller, End};
use super::slot::{Open, Role, State};
use super::{Fleet, Pace, Phase};
use crate::history::function;
use crate::port::{Action, ClientRequest, ClientResponse, RequestBody};
use crate::workload::{Call, Work};

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
            calls: vec![self.next_call],
            latest: self.next_call,
            is_doubtful: false,
            pursuit: None,
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
        if kind == CallKind::Transaction {
            self.double(client, actions);
        }
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

    /// Takes an answer. One to a call that is over changes nothing.
    pub(super) fn receive(&mut self, now_us: u64, client: usize, response: ClientResponse, actions: &mut Vec<Action>) {
        let ClientResponse { call, body } = response;
        let open = match &mut self.slots[client].state {
            State::Open(open) if open.calls.contains(&call) => open,
            _ => return self.on_echo(now_us, call, body),
        };
        open.calls.retain(|other| *other != call);
        let told = match told(&open.caller, &open.call, open.resolver(), body) {
            Ok(told) => told,
            Err(wrong) => {
                self.recorder.wrong_answer(now_us, &open.caller, &wrong);
                Told::End(Ending::of(End::Unknown(format!("wrong answer: {wrong}"))))
            }
        };
        let is_waited_for = !open.calls.is_empty();
        open.is_doubtful |= matches!(told, Told::Doubt(_));
        let is_doubtful = open.is_doubtful;
        match told {
            Told::End(ending) => self.ended(now_us, client, ending, actions),
            _ if open.pursuit.is_some() => self.pursue_later(now_us, client, call, actions),
            // It was submitted to another node too.
            _ if is_waited_for => {}
            Told::Refused(reason) if is_doubtful => self.doubt(now_us, client, reason, actions),
            Told::Refused(reason) => self.ended(now_us, client, Ending::of(End::Refused(reason)), actions),
            Told::Doubt(reason) => self.doubt(now_us, client, reason, actions),
            Told::NotYet => unreachable!("a status is asked for in doubt alone"),
        }
    }

    /// The moment has come up to which the client waits: for the answer to its call, or to make the next attempt to learn its end.
    pub(super) fn give_up(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        if self.open_of(client).pursuit.is_some() {
            self.pursue(now_us, client, actions);
        } else {
            let waited_ms = self.settings.deadline_us / 1_000;
            self.doubt(now_us, client, format!("no answer within {waited_ms} ms"), actions);
        }
    }

    /// The call is over.
    pub(super) fn ended(&mut self, now_us: u64, client: usize, ending: Ending, actions: &mut Vec<Action>) {
        let slot = &mut self.slots[client];
        let State::Open(open) = std::mem::replace(&mut slot.state, State::Idle) else {
            unreachable!("a call ends that was not open");
        };
        self.expect_echoes(&open, &ending);
        let is_answered = ending.is_answer();
        let Ending { end, steps } = ending;
        let slot = &mut self.slots[client];
        self.open -= 1;
        let is_unknown = matches!(end, End::Unknown(_));
        self.recorder.counts.cleared += u64::from(open.pursuit.is_some() && is_answered);
        if let End::Ok(at) = &end {
            slot.saw(*at);
        }
        if !is_answered || open.pursuit.is_some() {
            // The node that it uses has failed it.
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
