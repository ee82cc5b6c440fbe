//! Calls of several requests: what was read is checked by what is submitted, and all is done again where it has changed.

use plimsoll::key::{Key, Value};
use plimsoll::protocol::{Query, ReadMode};
use plimsoll::thunk::CompareAndSet;
use plimsoll::transaction::{Abort, ThunkId};

use super::doubt_tests::{RETRY, unreliable};
use super::fake::Fake;
use super::script::{Ask, Ending, Event, Next, Reply, Script, Scripts};
use super::tests::{SECOND_US, Script as Answers, serve, settings};
use super::{Doubts, End, Fleet, FleetSettings, Recorder};
use crate::check::{Checks, Observed, Workload};
use crate::history::{MicroOperation, Phase};
use crate::port::Clients;
use crate::random::Stream;

/// Reads a register of the store and writes another value to it, unless it has changed meanwhile; then it begins anew.
#[derive(Debug)]
struct Swap {
    register: u64,
    value: u64,
    read: Option<u64>,
    steps: Vec<MicroOperation>,
}

/// Every call swaps one of a few registers.
#[derive(Default)]
struct Swaps {
    values: u64,
}

impl Swap {
    fn key(&self) -> Key {
        Key::new(self.register.to_be_bytes())
    }

    fn read(&self) -> Next {
        Next::Ask(Ask::Read {
            mode: ReadMode::Snapshot,
            query: Query {
                keys: vec![self.key()],
                ranges: Vec::new(),
            },
        })
    }

    fn steps(&self, value: Option<Option<u64>>) -> Vec<MicroOperation> {
        let (key, new) = (self.register, self.value);
        vec![
            MicroOperation::ReadRegister { key, value },
            MicroOperation::Write { key, value: new },
        ]
    }
}

fn stored(register: u64) -> Value {
    Value::new(register.to_be_bytes())
}

impl Script for Swap {
    fn function(&self) -> &'static str {
        "swap"
    }

    fn steps(&self) -> &[MicroOperation] {
        &self.steps
    }

    fn next(&mut self, event: Event) -> Result<Next, String> {
        let reply = match event {
            Event::Begin => return Ok(self.read()),
            Event::Replied { reply, .. } => reply,
        };
        Ok(match reply {
            Reply::Rows { answer, .. } => {
                let number = |value: &Value| u64::from_be_bytes(value.as_bytes().try_into().unwrap());
                let found = answer.keys[0].as_ref().map(|found| &found.value);
                self.read = found.map(number);
                self.steps = self.steps(None);
                let thunk = CompareAndSet {
                    key: self.key(),
                    expected: self.read.map(stored),
                    new: Some(stored(self.value)),
                };
                Next::Ask(Ask::Submit {
                    thunk: ThunkId::of::<CompareAndSet>(),
                    arguments: plimsoll::client::arguments(&thunk).unwrap(),
                })
            }
            Reply::Aborted(Abort::Refused(_)) => self.read(),
            Reply::Committed { at, .. } => Next::Done(Ending {
                end: End::Ok(at),
                steps: Some(self.steps(Some(self.read))),
            }),
            other => Next::Done(Ending::of(other.end())),
        })
    }
}

impl Scripts for Swaps {
    fn transaction(&mut self, random: &mut Stream) -> Box<dyn Script> {
        self.values += 1;
        Box::new(Swap {
            register: random.below(3),
            value: self.values,
            read: None,
            steps: Vec::new(),
        })
    }

    fn read(&mut self, _: ReadMode, _: &mut Stream) -> Box<dyn Script> {
        unreachable!("nobody asks for reads")
    }

    fn final_reads(&mut self) -> Vec<Box<dyn Script>> {
        Vec::new()
    }
}

fn run(doubts: Doubts, answers: Answers) -> (Recorder, usize) {
    let fleet = Fleet::new(FleetSettings { doubts, ..settings() }, Swaps::default());
    let mut fake = Fake::new(fleet, 1_000, answers);
    fake.run(SECOND_US, 60 * SECOND_US);
    assert!(fake.clients.is_idle(), "the clients did not come to an end");
    let requests = fake.arrivals.len();
    let recorder = fake.clients.into_recorder();
    assert_eq!(recorder.wrong_answers, [""; 0]);
    for (name, verdict) in Checks::new(Workload::Registers).run(&Observed::history(&recorder.history)) {
        assert!(verdict.is_pass(), "{name}: {verdict:#?}");
    }
    (recorder, requests)
}

#[test]
fn a_call_of_several_requests_is_one_operation_and_its_reads_are_those_that_were_checked() {
    let (recorder, requests) = run(Doubts::default(), serve);
    let counts = &recorder.counts;
    assert!(counts.committed > 300, "{counts:?}");
    assert_eq!((counts.committed, counts.aborted_all()), (counts.submitted, 0));
    let least = 2 * counts.submitted as usize;
    assert!(
        requests > least + 20,
        "some began anew: {requests} requests, {counts:?}"
    );
    let entries = &recorder.history.entries;
    let first = entries.iter().find(|entry| entry.phase == Phase::Invoke).unwrap();
    assert_eq!(first.value.len(), 2, "the steps are told as soon as they are known");
    assert_eq!(first.id, None, "nothing was submitted yet");
    let ends = entries.iter().filter(|entry| entry.phase == Phase::Ok);
    assert!(ends.into_iter().all(|entry| entry.id.is_some()));
}

#[test]
fn the_end_of_each_submission_is_pursued_by_its_own_id() {
    let (recorder, _) = run(RETRY, unreliable);
    let counts = &recorder.counts;
    assert!(counts.pursued > 20 && counts.cleared > 20, "{counts:?}");
    assert!(counts.committed > 100, "{counts:?}");
    assert_eq!(counts.unknown(), 0, "{counts:?}");
}
