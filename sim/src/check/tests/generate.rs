//! Histories that are strictly serializable because they come from one serial store.
//!
//! Processes invoke, take effect at one moment each, and are answered, in a random interleaving. Some operations fail, some
//! stay unsure with or without an effect (perhaps a late one), some are tried again under the same id, and snapshots read
//! earlier states.

use std::collections::BTreeMap;

use plimsoll::id::{NodeId, TransactionId};
use plimsoll::time::{Hlc, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::script::unread;
use crate::history::MicroOperation::{self, Add, Append, ReadCounter, ReadList, ReadRegister, Write};
use crate::history::{Entry, History, Phase, function};

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) operations: usize,
    pub(super) processes: usize,
    pub(super) keys: u64,
    pub(super) steps_max: usize,
    pub(super) lists: bool,
    pub(super) registers: bool,
    pub(super) counters: bool,
    /// Failed, unsure and repeated operations, and reads of snapshots.
    pub(super) is_rough: bool,
    /// Keys move on, so that lists stay short; snapshots are not kept then.
    pub(super) keys_rotate: bool,
    /// A read of all keys at the end.
    pub(super) reads_all: bool,
}

impl Shape {
    pub(super) const SMALL: Self = Self {
        operations: 60,
        processes: 5,
        keys: 3,
        steps_max: 4,
        lists: true,
        registers: true,
        counters: true,
        is_rough: true,
        keys_rotate: false,
        reads_all: false,
    };
}

/// The store, and what it was after every transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub(super) lists: BTreeMap<u64, Vec<u64>>,
    pub(super) registers: BTreeMap<u64, u64>,
    pub(super) counters: BTreeMap<u64, i64>,
}

impl Store {
    /// Does one step and gives it with what was read.
    pub(super) fn step(&mut self, step: &MicroOperation) -> MicroOperation {
        match *step {
            Append { key, element } => self.lists.entry(key).or_default().push(element),
            Write { key, value } => drop(self.registers.insert(key, value)),
            Add { key, amount } => *self.counters.entry(key).or_default() += amount,
            ReadList { key, .. } => {
                let elements = Some(self.lists.get(&key).cloned().unwrap_or_default());
                return ReadList { key, elements };
            }
            ReadRegister { key, .. } => {
                return ReadRegister {
                    key,
                    value: Some(self.registers.get(&key).copied()),
                };
            }
            ReadCounter { key, .. } => {
                return ReadCounter {
                    key,
                    value: Some(self.counters.get(&key).copied().unwrap_or_default()),
                };
            }
        }
        step.clone()
    }

    pub(super) fn run(&mut self, steps: &[MicroOperation]) -> Vec<MicroOperation> {
        steps.iter().map(|step| self.step(step)).collect()
    }
}

/// An operation on its way.
#[derive(Clone)]
struct Open {
    entry: Entry,
    /// How it will end; none: never.
    end: Option<Phase>,
    effect: Option<Effect>,
}

#[derive(Clone)]
struct Effect {
    value: Vec<MicroOperation>,
    timestamp: Timestamp,
}

/// The history of this seed, and the state of the store in the end.
pub(super) fn generate(seed: u64, shape: &Shape) -> (History, Store) {
    Generator {
        random: Xoshiro256PlusPlus::seed_from_u64(seed),
        shape: *shape,
        store: Store::default(),
        snapshots: Vec::new(),
        clock: 0,
        unique: 0,
        entries: Vec::new(),
        late: Vec::new(),
        settled: BTreeMap::new(),
    }
    .run()
}

struct Generator {
    random: Xoshiro256PlusPlus,
    shape: Shape,
    store: Store,
    /// The claimed time and the state of every snapshot that may be read.
    snapshots: Vec<(u64, Store)>,
    clock: u64,
    unique: u64,
    entries: Vec<Entry>,
    /// Unsure operations whose effect is yet to come.
    late: Vec<Entry>,
    /// What became of the ids that took effect.
    settled: BTreeMap<TransactionId, Effect>,
}

impl Generator {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn run(mut self) -> (History, Store) {
        let mut processes: Vec<Option<Open>> = vec![None; self.shape.processes];
        let mut names: Vec<u64> = (0..self.shape.processes as u64).collect();
        let mut name_next = self.shape.processes as u64;
        let mut left = self.shape.operations;
        while left > 0 || processes.iter().any(Option::is_some) {
            if !self.late.is_empty() && self.chance(10) {
                let late = self.late.swap_remove(0);
                self.take_effect(&late);
            }
            let process = self.random.random_range(0..processes.len());
            match processes[process].take() {
                None if left == 0 => {}
                None => {
                    left -= 1;
                    let entry = self.invocation(names[process]);
                    let end = self.draw_end(&entry);
                    self.record(entry.clone());
                    processes[process] = Some(Open {
                        entry,
                        end,
                        effect: None,
                    });
                }
                Some(open) if open.effect.is_none() && open.end == Some(Phase::Ok) => {
                    let effect = self.take_effect(&open.entry);
                    processes[process] = Some(Open {
                        effect: Some(effect),
                        ..open
                    });
                }
                Some(open) => {
                    if !matches!(open.end, Some(Phase::Ok | Phase::Fail)) {
                        names[process] = name_next;
                        name_next += 1;
                    }
                    self.finish(open);
                }
            }
        }
        if self.shape.reads_all {
            let mut entry = self.invocation(name_next);
            entry.function = function::STRICT_READ;
            entry.id = None;
            let keys = self.store.lists.keys().map(|key| ReadList {
                key: *key,
                elements: None,
            });
            let registers = self
                .store
                .registers
                .keys()
                .map(|key| ReadRegister { key: *key, value: None });
            entry.value = keys.chain(registers).collect();
            self.record(entry.clone());
            let effect = self.take_effect(&entry);
            self.finish(Open {
                entry,
                end: Some(Phase::Ok),
                effect: Some(effect),
            });
        }
        (History { entries: self.entries }, self.store)
    }

    fn record(&mut self, entry: Entry) {
        let time_us = self.entries.len() as u64 / 2;
        self.entries.push(Entry { time_us, ..entry });
    }

    fn draw_end(&mut self, entry: &Entry) -> Option<Phase> {
        let is_transaction = entry.id.is_some();
        match self.random.random_range(0..100) {
            0..10 if self.shape.is_rough && is_transaction => Some(Phase::Info),
            10..15 if self.shape.is_rough && is_transaction => Some(Phase::Fail),
            15..17 if self.shape.is_rough && is_transaction => None,
            _ => Some(Phase::Ok),
        }
    }

    /// A new operation, or a new attempt at one that is unsure.
    fn invocation(&mut self, process: u64) -> Entry {
        let mut entry = Entry {
            process,
            time_us: 0,
            phase: Phase::Invoke,
            function: "txn",
            value: Vec::new(),
            id: None,
            timestamp: None,
            error: None,
            region: 0,
        };
        if self.shape.is_rough && !self.late.is_empty() && self.chance(20) {
            let again = &self.late[0];
            return Entry {
                process,
                phase: Phase::Invoke,
                error: None,
                ..again.clone()
            };
        }
        if self.shape.is_rough && self.chance(15) {
            let functions = [function::STRICT_READ, function::SNAPSHOT_READ, function::AFTER_READ];
            entry.function = functions[self.random.random_range(0..functions.len())];
        } else {
            self.unique += 1;
            entry.id = Some(TransactionId::from_u128(u128::from(self.unique)));
        }
        for _ in 0..self.random.random_range(1..=self.shape.steps_max) {
            let step = self.draw_step(entry.id.is_some());
            entry.value.push(step);
        }
        entry
    }

    fn draw_step(&mut self, may_write: bool) -> MicroOperation {
        let rotation = if self.shape.keys_rotate {
            self.unique / 1000 * self.shape.keys
        } else {
            0
        };
        let key = rotation + self.random.random_range(0..self.shape.keys);
        let kinds = [
            (self.shape.lists, 0),
            (self.shape.registers, 1),
            (self.shape.counters, 2),
        ];
        let kinds: Vec<u32> = kinds
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, kind)| kind)
            .collect();
        let kind = kinds[self.random.random_range(0..kinds.len())];
        let is_write = may_write && self.chance(50);
        self.unique += u64::from(is_write);
        match (kind, is_write) {
            (0, true) => Append {
                key,
                element: self.unique,
            },
            (0, false) => ReadList { key, elements: None },
            (1, true) => Write {
                key,
                value: self.unique,
            },
            (1, false) => ReadRegister { key, value: None },
            (_, true) => Add {
                key,
                amount: self.random.random_range(-2..5),
            },
            (_, false) => ReadCounter { key, value: None },
        }
    }

    fn take_effect(&mut self, entry: &Entry) -> Effect {
        if let Some(settled) = entry.id.and_then(|id| self.settled.get(&id)) {
            return settled.clone();
        }
        if let Some(id) = entry.id {
            self.clock += self.random.random_range(1..3);
            let timestamp = Timestamp {
                hlc: Hlc::from_bits(self.clock),
                node: NodeId::new(self.random.random_range(0..3)),
            };
            let value = self.store.run(&entry.value);
            let effect = Effect { value, timestamp };
            self.settled.insert(id, effect.clone());
            self.late.retain(|late| late.id != Some(id));
            if self.shape.is_rough && !self.shape.keys_rotate {
                self.snapshots.push((self.clock, self.store.clone()));
            }
            return effect;
        }
        let (hlc, value) = match entry.function {
            function::SNAPSHOT_READ if !self.snapshots.is_empty() => {
                let newest = self.snapshots.len();
                let snapshot = self.random.random_range(newest.saturating_sub(5)..newest);
                let (hlc, store) = &mut self.snapshots[snapshot];
                (*hlc, store.run(&entry.value))
            }
            _ => (self.clock, self.store.run(&entry.value)),
        };
        Effect {
            value,
            timestamp: Timestamp::last_at(Hlc::from_bits(hlc)),
        }
    }

    fn finish(&mut self, open: Open) {
        let Open { entry, end, effect } = open;
        match (end, effect) {
            (Some(Phase::Ok), Some(effect)) => self.record(Entry {
                phase: Phase::Ok,
                value: effect.value,
                timestamp: Some(effect.timestamp),
                ..entry
            }),
            (Some(Phase::Fail), _) => self.record(Entry {
                phase: Phase::Fail,
                error: Some("refused".to_owned()),
                ..entry
            }),
            (end, _) => {
                match self.random.random_range(0..3) {
                    0 => drop(self.take_effect(&entry)),
                    1 => self.late.push(entry.clone()),
                    _ => {}
                }
                if end == Some(Phase::Info) {
                    self.record(Entry {
                        phase: Phase::Info,
                        error: Some("lost".to_owned()),
                        ..entry
                    });
                }
            }
        }
    }
}

/// The steps of an entry as they are at the invocation.
pub(super) fn all_unread(steps: &[MicroOperation]) -> Vec<MicroOperation> {
    steps.iter().map(unread).collect()
}
