//! The `[workload]` block: what the clients do.

use serde::{Deserialize, Serialize};

/// What the clients do during the load phase.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadConfig {
    /// Which transactions are run.
    pub kind: WorkloadKind,
    /// How many keys there are: accounts, users, records, lists or counters. At least 1.
    pub keys: u64,
    /// How many clients each region has. At least 1. Each talks to a node of its own region.
    pub clients_per_region: usize,
    /// When a client sends.
    pub arrivals: Arrivals,
    /// Which keys are chosen.
    pub distribution: Distribution,
    /// The share of calls that are strict reads, 0 to 1.
    pub strict_reads: f64,
    /// The share of calls that are snapshot reads, 0 to 1.
    pub snapshot_reads: f64,
    /// The share of calls that are reads after everything that the client has seen, 0 to 1; a client that has seen nothing yet makes a
    /// snapshot read.
    pub after_reads: f64,
    /// The share of calls that are reads of bounded age, 0 to 1. All four shares together are at most 1; the rest are
    /// transactions.
    pub bounded_reads: f64,
    /// The greatest age of the snapshot of such a read, in milliseconds.
    pub bounded_age_ms: f64,
    /// How long a client waits for an answer, in milliseconds. Then the end of the call is unknown to it.
    pub deadline_ms: f64,
    /// How long a client of a closed loop waits after a call that was refused or whose end is unknown, and between attempts to learn an
    /// end, in milliseconds.
    pub retry_wait_ms: f64,
    /// The share of transactions with an unknown end, 0 to 1, that their client submits again under the same id, to one node after the
    /// other, until it gets an answer.
    pub retry: f64,
    /// The share of transactions with an unknown end, 0 to 1, that their client sends a `resolve` for, until it gets an answer.
    pub resolve: f64,
    /// The share of transactions with an unknown end, 0 to 1, whose status their client asks for, as long again as it had waited.
    /// The three shares together are at most 1; the rest are left unknown.
    pub status: f64,
    /// The share of transactions, 0 to 1, that are submitted to two nodes at once under the same id.
    pub double_submit: f64,
    /// How `counter` increments.
    pub counter: CounterMode,
    /// What every account holds at the start of `transfer`.
    pub initial_balance: u64,
    /// The most operations in one transaction of `list-append`; their number is uniform from 1.
    pub operations_max: usize,
    /// After how many stale runs a transaction of `cycle` reserves what it reads; 0: never.
    pub reserve_after: u32,
}

/// Which transactions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Move money between accounts; the total never changes.
    Transfer,
    /// The mix of a small social network.
    Retwis,
    /// Four read-modify-writes per transaction.
    #[serde(rename = "ycsb+t")]
    YcsbT,
    /// Two blind writes per transaction, of one value to both keys of a pair.
    Put2,
    /// Append unique elements to lists, and read lists: for the serializability checker.
    ListAppend,
    /// Increment counters.
    Counter,
    /// Turn a ring piece by piece, in stages: three reads that depend on each other, three writes.
    Cycle,
}

/// How `counter` increments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CounterMode {
    /// By a merge operator, which reads nothing.
    Merge,
    /// By a read and a write of what was read plus one.
    ReadModifyWrite,
}

/// When a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrivals {
    /// A client sends its next call this long after the answer to the one before.
    #[serde(rename_all = "snake_case")]
    Closed {
        /// The time between, in milliseconds.
        think_ms: f64,
    },
    /// Calls arrive by a Poisson process, whether or not earlier ones have been answered.
    #[serde(rename_all = "snake_case")]
    Open {
        /// Calls per second of one client.
        rate_per_s: f64,
    },
}

/// Which keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Every key alike.
    Uniform,
    /// By Zipf's law.
    Zipf {
        /// The exponent, above 0; the Yahoo benchmark has 0.99.
        theta: f64,
    },
    /// All on the same few keys.
    Hot {
        /// How many.
        keys: u64,
    },
    /// A share of the keys gets a share of the operations.
    Hotspot {
        /// The share of the keys, 0 to 1.
        data: f64,
        /// The share of the operations that they get, 0 to 1.
        operations: f64,
    },
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Self {
            kind: WorkloadKind::Transfer,
            keys: 1_000,
            clients_per_region: 1,
            arrivals: Arrivals::Closed { think_ms: 0.0 },
            distribution: Distribution::Uniform,
            strict_reads: 0.0,
            snapshot_reads: 0.0,
            after_reads: 0.0,
            bounded_reads: 0.0,
            bounded_age_ms: 1_000.0,
            deadline_ms: 10_000.0,
            retry_wait_ms: 20.0,
            retry: 0.0,
            resolve: 0.0,
            status: 0.0,
            double_submit: 0.0,
            counter: CounterMode::Merge,
            initial_balance: 1_000,
            operations_max: 4,
            reserve_after: 3,
        }
    }
}
