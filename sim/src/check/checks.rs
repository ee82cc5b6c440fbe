//! The checkers that fit a workload, run together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    FinalCounters, ReplicaTrace, Verdict, WatermarkSample, counter_sums, list_append, liveness, monotone_watermarks,
    one_ring, registers, replica_agreement, strict_serializability, transfer_total, well_formed, witness_from,
};
use crate::history::History;

/// All that was observed of one run. What was not observed is left empty, and its checkers are not run.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// What clients saw.
    pub history: &'a History,
    /// What replicas evaluated.
    pub replicas: &'a [ReplicaTrace],
    /// The bounds that nodes showed, in the order of time.
    pub watermarks: &'a [WatermarkSample],
    /// What counters held on each replica in the end.
    pub finals: &'a [FinalCounters],
}

impl<'a> Observed<'a> {
    /// A history alone.
    pub fn history(history: &'a History) -> Self {
        Self {
            history,
            replicas: &[],
            watermarks: &[],
            finals: &[],
        }
    }
}

/// What a workload does, and so what can be asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Appends to lists and reads of them.
    ListAppend,
    /// Writes of registers and reads of them.
    Registers,
    /// Both, and anything else: nothing but reads and the claimed order are judged.
    Mixed,
    /// Additions to counters that hold this in the beginning.
    Counters {
        /// By key; one not named holds 0.
        initial: BTreeMap<u64, i64>,
    },
    /// Moves between counters, all of which are named here with what they hold in the beginning.
    Transfer {
        /// By key.
        accounts: BTreeMap<u64, i64>,
    },
    /// Counters that say which place of a ring follows on each.
    Ring {
        /// How many places there are.
        places: u64,
    },
}

/// A check of one's own.
type Hook = Box<dyn Fn(&Observed<'_>) -> Verdict>;

/// The checkers that fit a workload.
pub struct Checks {
    workload: Workload,
    skipped: BTreeSet<&'static str>,
    hooks: BTreeMap<&'static str, Hook>,
}

impl Checks {
    /// All that can be asked of `workload`: `well-formed`, `liveness` and `witness` of every one, `list-append`,
    /// `registers` or `strict-serializability` of those with lists and registers, `transfer`, `counters` and `ring`; and
    /// `replica-agreement` and `monotone-watermarks` where they were observed.
    pub fn new(workload: Workload) -> Self {
        Self {
            workload,
            skipped: BTreeSet::new(),
            hooks: BTreeMap::new(),
        }
    }

    /// Adds a check, or puts one in the place of that of the same name.
    pub fn with(mut self, name: &'static str, check: impl Fn(&Observed<'_>) -> Verdict + 'static) -> Self {
        self.skipped.remove(name);
        self.hooks.insert(name, Box::new(check));
        self
    }

    /// Leaves out a check: `liveness`, say, where faults go on to the end.
    pub fn without(mut self, name: &'static str) -> Self {
        self.hooks.remove(name);
        self.skipped.insert(name);
        self
    }

    /// Runs them and gives the verdict of each by its name.
    pub fn run(&self, observed: &Observed<'_>) -> BTreeMap<&'static str, Verdict> {
        let mut verdicts = BTreeMap::new();
        let mut run = |name: &'static str, check: &dyn Fn() -> Verdict| {
            if !self.skipped.contains(name) && !self.hooks.contains_key(name) {
                verdicts.insert(name, check());
            }
        };
        let history = observed.history;
        run("well-formed", &|| well_formed(history));
        run("liveness", &|| liveness(history));
        match &self.workload {
            Workload::ListAppend => run("list-append", &|| list_append(history)),
            Workload::Registers => run("registers", &|| registers(history)),
            Workload::Mixed => run("strict-serializability", &|| strict_serializability(history)),
            Workload::Transfer { accounts } => {
                run("transfer", &|| transfer_total(history, accounts, observed.finals));
            }
            Workload::Counters { initial } if !observed.finals.is_empty() => {
                run("counters", &|| counter_sums(history, initial, observed.finals));
            }
            Workload::Counters { .. } => {}
            Workload::Ring { places } => run("ring", &|| one_ring(history, *places, observed.finals)),
        }
        let counters = match &self.workload {
            Workload::Counters { initial } => initial,
            Workload::Transfer { accounts } => accounts,
            _ => &BTreeMap::new(),
        };
        run("witness", &|| witness_from(history, counters));
        if !observed.replicas.is_empty() {
            run("replica-agreement", &|| replica_agreement(observed.replicas));
        }
        if !observed.watermarks.is_empty() {
            run("monotone-watermarks", &|| monotone_watermarks(observed.watermarks));
        }
        for (name, hook) in &self.hooks {
            verdicts.insert(name, hook(observed));
        }
        verdicts
    }
}
