//! The `[workload]` block: what the clients do.

use serde::Deserialize;

/// What the clients do during the load phase.
#[derive(Clone, Debug, PartialEq, Deserialize)]
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
    /// The share of calls that are snapshot reads, 0 to 1. With `strict_reads` at most 1; the rest are transactions.
    pub snapshot_reads: f64,
    /// What every account holds at the start of `transfer`.
    pub initial_balance: u64,
    /// The most operations in one transaction of `list-append`; their number is uniform from 1.
    pub operations_max: usize,
}

/// Which transactions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Move money between accounts; the total never changes.
    Transfer,
    /// The mix of a small social network.
    Retwis,
    /// Four read-modify-writes per transaction.
    #[serde(rename = "ycsb+t")]
    YcsbT,
    /// Append unique elements to lists, and read lists: for the serializability checker.
    ListAppend,
    /// Increment counters.
    Counter,
}

/// When a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
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
            initial_balance: 1_000,
            operations_max: 4,
        }
    }
}
