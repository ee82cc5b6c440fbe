//! One call from its draw to its end, request by request: what is sent, what an answer means, and what a client does when it failed.

use std::time::Duration;

use plimsoll::protocol::ReadMode;

use super::doubt::{Request, Told, told};
use super::recorder::{CallKind, Caller, End};
use super::script::{Ask, Ending, Event, Next, Reply, Script};
use super::slot::{Open, Role, State};
use super::{Fleet, Pace, Phase};
use crate::history::function;
use crate::port::{Action, ClientRequest, ClientResponse, RequestBody};

/// A call that is about to begin.
struct Begun {
    intended_us: u64,
    kind: CallKind,
    script: Box<dyn Script>,
    /// Earlier attempts at the same final read.
    attempts: usize,
}

impl Fleet {
    /// Makes the client's next call of the load.
    pub(super) fn call_next(&mut self, now_us: u64, intended_us: u64, client: usize, actions: &mut Vec<Action>) {
        let read = self.draw_read(client);
        let random = &mut self.slots[client].random;
        let (kind, script) = match read {
            None => (CallKind::Transaction, self.scripts.transaction(random)),
            Some((kind, mode)) => (kind, self.scripts.read(mode, random)),
        };
        let begun = Begun {
            intended_us,
            kind,
            script,
            attempts: 0,
        };
        self.begin(now_us, client, begun, actions);
    }

    /// Makes one of the final reads.
    pub(super) fn begin_final(
        &mut self,
        now_us: u64,
        client: usize,
        script: Box<dyn Script>,
        attempts: usize,
        actions: &mut Vec<Action>,
    ) {
        let begun = Begun {
            intended_us: now_us,
            kind: CallKind::StrictRead,
            script,
            attempts,
        };
        self.begin(now_us, client, begun, actions);
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

    /// Begins a call: its first request.
    fn begin(&mut self, now_us: u64, client: usize, begun: Begun, actions: &mut Vec<Action>) {
        let Begun {
            intended_us,
            kind,
            mut script,
            attempts,
        } = begun;
        assert!(
            intended_us <= now_us,
            "a call at {now_us} us was meant for later, {intended_us} us"
        );
        let ask = match script.next(Event::Begin) {
            Ok(Next::Ask(ask)) => ask,
            other => unreachable!("a script begins with a request, and not with {other:?}: {script:?}"),
        };
        let (request, body) = self.named(now_us, client, ask);
        let slot = &self.slots[client];
        let caller = Caller {
            process: slot.process,
            region: slot.region,
            kind,
            function: match kind {
                CallKind::Transaction => script.function(),
                CallKind::StrictRead => function::STRICT_READ,
                CallKind::SnapshotRead | CallKind::BoundedRead => function::SNAPSHOT_READ,
                CallKind::AfterRead => function::AFTER_READ,
            },
            id: request.id(),
            intended_us,
        };
        let invocation = self.recorder.invoked(now_us, &caller, script.steps().to_vec());
        self.slots[client].state = State::Open(Box::new(Open {
            request,
            calls: Vec::new(),
            latest: 0,
            is_doubtful: false,
            pursuit: None,
            deadline_us: 0,
            attempts,
            caller,
            invocation,
            script,
        }));
        self.open += 1;
        self.send(now_us, client, body, actions);
    }

    /// The next request of the client's call.
    fn go_on_with(&mut self, now_us: u64, client: usize, ask: Ask, actions: &mut Vec<Action>) {
        if let Ask::Pause(time) = ask {
            return self.pause(now_us + time.as_micros() as u64, client, actions);
        }
        let (request, body) = self.named(now_us, client, ask);
        let State::Open(open) = &mut self.slots[client].state else {
            unreachable!("a call goes on that was not open");
        };
        self.recorder.revised(open.invocation, open.script.steps());
        // The history knows a call by the id of its first submission.
        open.caller.id = open.caller.id.or(request.id());
        open.request = request;
        open.is_doubtful = false;
        open.attempts = 0;
        let was_pursued = open.pursuit.take().is_some();
        // The node that it uses has failed it.
        self.slots[client].turn += usize::from(was_pursued);
        self.send(now_us, client, body, actions);
    }

    /// The client's call waits for a moment.
    fn pause(&mut self, until_us: u64, client: usize, actions: &mut Vec<Action>) {
        let open = self.open_of(client);
        open.request = Request::Pause;
        open.calls = Vec::new();
        open.is_doubtful = false;
        open.pursuit = None;
        open.deadline_us = until_us;
        self.slots[client].arm(until_us, actions);
    }

    /// A request and what is sent of it; a transaction gets a new id.
    fn named(&mut self, now_us: u64, client: usize, ask: Ask) -> (Request, RequestBody) {
        match ask {
            Ask::Submit { thunk, arguments } => {
                let id = self.slots[client].transaction_id(self.settings.wall_start_us + now_us);
                let request = Request::Submit {
                    id,
                    thunk: thunk.clone(),
                    arguments: arguments.clone(),
                };
                (request, RequestBody::Submit { id, thunk, arguments })
            }
            Ask::Read { mode, query } => (Request::Read, RequestBody::Read { mode, query }),
            Ask::Pause(time) => unreachable!("a pause of {time:?} is not sent"),
        }
    }

    /// Sends the client's request to the node that it uses.
    fn send(&mut self, now_us: u64, client: usize, body: RequestBody, actions: &mut Vec<Action>) {
        self.next_call += 1;
        let call = self.next_call;
        let deadline_us = now_us + self.settings.deadline_us;
        let open = self.open_of(client);
        open.calls = vec![call];
        open.latest = call;
        open.deadline_us = deadline_us;
        let is_submit = open.request != Request::Read;
        self.slots[client].arm(deadline_us, actions);
        actions.push(Action::Send {
            node: self.node_of(client),
            request: ClientRequest { client, call, body },
        });
        if is_submit {
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
        let told = match told(&open.request, open.resolver(), body) {
            Ok(told) => told,
            Err(wrong) => return self.on_wrong(now_us, client, &wrong, actions),
        };
        let is_waited_for = !open.calls.is_empty();
        open.is_doubtful |= matches!(told, Told::Doubt(_));
        let is_doubtful = open.is_doubtful;
        match told {
            Told::Reply(reply) => self.replied(now_us, client, reply, actions),
            _ if open.pursuit.is_some() => self.pursue_later(now_us, client, call, actions),
            // It was submitted to another node too.
            _ if is_waited_for => {}
            Told::Refused(reason) if is_doubtful => self.doubt(now_us, client, reason, actions),
            Told::Refused(reason) => self.replied(now_us, client, Reply::Refused(reason), actions),
            Told::Doubt(reason) => self.doubt(now_us, client, reason, actions),
            Told::NotYet => unreachable!("a status is asked for in doubt alone"),
        }
    }

    /// The moment has come up to which the client waits: for the answer to its call, or to make the next attempt to learn its end.
    pub(super) fn give_up(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>) {
        if self.open_of(client).request == Request::Pause {
            self.replied(now_us, client, Reply::Passed, actions);
        } else if self.open_of(client).pursuit.is_some() {
            self.pursue(now_us, client, actions);
        } else {
            let waited_ms = self.settings.deadline_us / 1_000;
            self.doubt(now_us, client, format!("no answer within {waited_ms} ms"), actions);
        }
    }

    /// No correct system answers so: the call is over.
    fn on_wrong(&mut self, now_us: u64, client: usize, wrong: &str, actions: &mut Vec<Action>) {
        let caller = self.open_of(client).caller;
        self.recorder.wrong_answer(now_us, &caller, wrong);
        let end = End::Unknown(format!("wrong answer: {wrong}"));
        self.ended(now_us, client, Ending::of(end), actions);
    }

    /// The client has learned what came of its request, or never will: its script says what is next.
    pub(super) fn replied(&mut self, now_us: u64, client: usize, reply: Reply, actions: &mut Vec<Action>) {
        let open = self.open_of(client);
        let is_echoed = reply.is_answer() && !open.calls.is_empty();
        let echoed = is_echoed.then(|| reply.clone());
        let id = open.request.id();
        let next = match open.script.next(Event::Replied { id, reply }) {
            Ok(next) => next,
            Err(wrong) => return self.on_wrong(now_us, client, &wrong, actions),
        };
        if let Some(reply) = echoed {
            self.expect_echoes(client, &reply);
        }
        match next {
            Next::Ask(ask) => self.go_on_with(now_us, client, ask, actions),
            Next::Done(ending) => self.ended(now_us, client, ending, actions),
        }
    }

    /// The call is over.
    fn ended(&mut self, now_us: u64, client: usize, ending: Ending, actions: &mut Vec<Action>) {
        let slot = &mut self.slots[client];
        let State::Open(open) = std::mem::replace(&mut slot.state, State::Idle) else {
            unreachable!("a call ends that was not open");
        };
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
        self.recorder.revised(open.invocation, open.script.steps());
        let steps = steps.unwrap_or_else(|| open.script.steps().to_vec());
        let counts = &mut self.recorder.counts;
        counts.reruns += u64::from(open.script.runs() - 1);
        counts.runs_max = counts.runs_max.max(open.script.runs());
        self.recorder.ended(now_us, &open.caller, steps, end);
        if is_unknown {
            self.slots[client].process = self.new_process();
        }
        if self.slots[client].role == Role::FinalReader {
            match is_answered {
                true => self.final_read_answered(),
                false => self.retry_final(open.script, open.attempts + 1),
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
