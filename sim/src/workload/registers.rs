//! The workloads on registers: the mix of a small social network, and read-modify-writes. Every value is written once only,
//! so that the checker can tell from a read which transaction wrote what was read.

use super::thunks::{RegisterStep, RegisterTransaction, transaction};
use super::{Call, Choice, ChoiceError, READ_KEYS_MAX, Workload};
use crate::history::MicroOperation;
use crate::random::Stream;

/// Read-modify-writes in one transaction of [`YcsbT`].
const YCSB_T_KEYS: usize = 4;

/// The largest number of reads of a timeline.
const TIMELINE_READS_MAX: u64 = 10;

/// The mix of a small social network, as the benchmark of TAPIR (Zhang et al., SOSP 2015) has it.
///
/// 5 % add a user (1 read, 3 writes), 15 % follow (2 read-modify-writes), 30 % post (3 read-modify-writes, 2 blind writes), 50 %
/// read a timeline (1 to 10 reads, uniformly). All kinds of keys have one distribution.
pub(super) struct Retwis {
    choice: Choice,
    values: Values,
}

/// Four read-modify-writes on different registers.
pub(super) struct YcsbT {
    choice: Choice,
    values: Values,
}

/// One value is written to both keys of a pair, whatever is there: two registers of a pair never differ.
///
/// The pairs are the keys 0 and 1, 2 and 3, and so on; that of a drawn key is written.
pub(super) struct PutTwo {
    choice: Choice,
    values: Values,
}

/// Values that nobody has written yet.
#[derive(Default)]
struct Values(u64);

impl Values {
    fn write(&mut self, key: u64) -> RegisterStep {
        self.0 += 1;
        RegisterStep::Write { key, value: self.0 }
    }

    /// A read and a write of each key.
    fn modify(&mut self, keys: &[u64]) -> Vec<RegisterStep> {
        let steps = keys
            .iter()
            .flat_map(|key| [RegisterStep::Read { key: *key }, self.write(*key)]);
        steps.collect()
    }
}

impl Retwis {
    pub(super) fn new(choice: Choice) -> Self {
        Self {
            choice,
            values: Values::default(),
        }
    }
}

impl Workload for Retwis {
    fn transaction(&mut self, random: &mut Stream) -> Call {
        let percent = random.below(100);
        let (function, steps) = match percent {
            0..5 => {
                let keys = self.choice.draw_distinct(3, random);
                let read = RegisterStep::Read { key: keys[0] };
                let writes = keys.iter().map(|key| self.values.write(*key));
                ("add-user", std::iter::once(read).chain(writes).collect())
            }
            5..20 => ("follow", self.values.modify(&self.choice.draw_distinct(2, random))),
            20..50 => {
                let keys = self.choice.draw_distinct(5, random);
                let (modified, written) = keys.split_at(keys.len().min(3));
                let mut steps = self.values.modify(modified);
                steps.extend(written.iter().map(|key| self.values.write(*key)));
                ("post", steps)
            }
            _ => {
                let count = 1 + random.below(TIMELINE_READS_MAX) as usize;
                let keys = self.choice.draw_distinct(count, random);
                (
                    "timeline",
                    keys.into_iter().map(|key| RegisterStep::Read { key }).collect(),
                )
            }
        };
        transaction_of(function, steps)
    }

    fn read(&mut self, random: &mut Stream) -> Call {
        let count = 1 + random.below(TIMELINE_READS_MAX) as usize;
        read_of(&self.choice.draw_distinct(count, random))
    }

    fn final_reads(&mut self) -> Vec<Call> {
        Vec::new()
    }
}

impl YcsbT {
    pub(super) fn new(choice: Choice) -> Self {
        Self {
            choice,
            values: Values::default(),
        }
    }
}

impl Workload for YcsbT {
    fn transaction(&mut self, random: &mut Stream) -> Call {
        let keys = self.choice.draw_distinct(YCSB_T_KEYS, random);
        transaction_of("read-modify-write", self.values.modify(&keys))
    }

    fn read(&mut self, random: &mut Stream) -> Call {
        read_of(&self.choice.draw_distinct(YCSB_T_KEYS, random))
    }

    fn final_reads(&mut self) -> Vec<Call> {
        Vec::new()
    }
}

impl PutTwo {
    /// *Errors* where a key has no other of its pair.
    pub(super) fn new(choice: Choice) -> Result<Self, ChoiceError> {
        if !choice.size().is_multiple_of(2) {
            return Err(ChoiceError {
                what: "the number of keys",
                value: choice.size() as f64,
                accepted: "an even number: they are written in pairs",
            });
        }
        let values = Values::default();
        Ok(Self { choice, values })
    }

    fn pair(&self, random: &mut Stream) -> [u64; 2] {
        let first = self.choice.draw(random) & !1;
        [first, first + 1]
    }
}

impl Workload for PutTwo {
    fn transaction(&mut self, random: &mut Stream) -> Call {
        let [first, second] = self.pair(random);
        let write = self.values.write(first);
        let RegisterStep::Write { value, .. } = write else {
            unreachable!("a write was asked for");
        };
        let other = RegisterStep::Write { key: second, value };
        transaction_of("put-two", vec![write, other])
    }

    fn read(&mut self, random: &mut Stream) -> Call {
        read_of(&self.pair(random))
    }

    fn final_reads(&mut self) -> Vec<Call> {
        const { assert!(READ_KEYS_MAX.is_multiple_of(2), "both of a pair are read at once") };
        let keys: Vec<u64> = (0..self.choice.size()).collect();
        keys.chunks(READ_KEYS_MAX).map(read_of).collect()
    }
}

fn transaction_of(function: &'static str, steps: Vec<RegisterStep>) -> Call {
    let told = steps.iter().map(|step| match *step {
        RegisterStep::Read { key } => MicroOperation::ReadRegister { key, value: None },
        RegisterStep::Write { key, value } => MicroOperation::Write { key, value },
    });
    let told = told.collect();
    transaction(function, told, &RegisterTransaction { steps }, 0)
}

fn read_of(keys: &[u64]) -> Call {
    let read = |key: &u64| MicroOperation::ReadRegister { key: *key, value: None };
    Call::read(keys.iter().map(read).collect(), 0)
}
