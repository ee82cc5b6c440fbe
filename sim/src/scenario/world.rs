//! The `[world]` block: where the nodes are, and what their network, clocks, processors and disks are like.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::protocol::config::Profile;
use plimsoll::protocol::invariants::Thoroughness;
use serde::{Deserialize, Serialize};

/// Where the nodes are and what they are made of.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WorldConfig {
    /// The regions, by the names of the delay table. Each has clients.
    pub regions: Vec<String>,
    /// How many nodes each region has; 1 where neither this nor `node` is given.
    pub nodes_per_region: Option<usize>,
    /// The nodes one by one, in place of `nodes_per_region`.
    #[serde(default)]
    pub node: Vec<NodePlace>,
    /// The table of measured delays.
    pub delays: Option<DelayTable>,
    /// Round trips in milliseconds, from one region to another. They go before the table; a pair that is given in
    /// one direction only has the same delay in the other.
    #[serde(default)]
    pub rtt_ms: BTreeMap<String, BTreeMap<String, f64>>,
    /// How long clients send, in seconds.
    pub load_s: f64,
    /// How much of the beginning is not measured, in seconds.
    #[serde(default)]
    pub warm_up_s: f64,
    /// How long after the load everything must be answered and every replica agree, in seconds.
    #[serde(default = "default_drain_s")]
    pub drain_s: f64,
    /// What lies between the nodes.
    #[serde(default)]
    pub network: NetworkConfig,
    /// How wrong the nodes' wall clocks are.
    #[serde(default)]
    pub clock: ClockConfig,
    /// What work costs.
    #[serde(default)]
    pub cpu: CpuConfig,
    /// What writing costs.
    #[serde(default)]
    pub disk: DiskConfig,
    /// The nodes' own time constants.
    #[serde(default)]
    pub profile: ProfileConfig,
    /// How closely the invariants of the protocol are watched.
    #[serde(default)]
    pub invariants: InvariantsConfig,
}

/// How closely the invariants of the protocol are watched, after every step of every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InvariantsConfig {
    /// What nodes take in, say, evaluate and answer.
    #[default]
    Cheap,
    /// Also what they believe of every stream, and the content of all that they send: for sweeps, at some cost.
    Full,
}

impl InvariantsConfig {
    /// What the core calls it.
    pub fn resolve(self) -> Thoroughness {
        match self {
            Self::Cheap => Thoroughness::Cheap,
            Self::Full => Thoroughness::Full,
        }
    }
}

impl WorldConfig {
    /// How many nodes there are.
    pub fn node_count(&self) -> u32 {
        match self.node.len() {
            0 => (self.regions.len() * self.nodes_per_region.unwrap_or(1)) as u32,
            count => count as u32,
        }
    }
}

fn default_drain_s() -> f64 {
    30.0
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlace {
    /// Its region.
    pub region: String,
    /// It is no member of the first epoch, and is started when a change makes it join.
    #[serde(default)]
    pub is_spare: bool,
}

/// The tables of measured delays that come with the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DelayTable {
    /// 19 regions of Amazon Web Services.
    Aws,
    /// 20 regions of Google Cloud Platform.
    Gcp,
}

/// What lies between the nodes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// The mean of what each frame takes longer than half a round trip, in milliseconds: exponentially distributed, so most
    /// frames are hardly late and a few are late by several times the mean. 0: none is.
    pub jitter_ms: f64,
    /// What one directed link between two nodes carries, in megabits per second. 0: without limit.
    pub bandwidth_mbit_per_s: f64,
    /// The one-way delay between a client and a node of its region, in milliseconds.
    pub client_delay_ms: f64,
}

impl Default for NetworkConfig {
    /// One way within a region is about 0.1 ms in both tables; 1 Gbit/s is what small cloud instances sustain.
    fn default() -> Self {
        Self {
            jitter_ms: 0.0,
            bandwidth_mbit_per_s: 1_000.0,
            client_delay_ms: 0.1,
        }
    }
}

/// How wrong the nodes' wall clocks are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockConfig {
    /// No wall clock is ever further from true time than this, in milliseconds.
    pub offset_ms_max: f64,
    /// The most by which a wall clock runs fast or slow, in millionths. At the largest offset it turns round, as a clock that is kept
    /// by a time service does.
    pub drift_ppm_max: f64,
}

/// What work costs on a node. A node has one processor for the protocol and one for evaluation and reads.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CpuConfig {
    /// Microseconds for one frame in or out, apart from its bytes.
    pub frame_us: f64,
    /// Microseconds for 1,024 bytes of a frame, in or out.
    pub kib_us: f64,
    /// Microseconds for one record written to the log.
    pub record_us: f64,
    /// Microseconds for one call of a client.
    pub call_us: f64,
    /// Microseconds for evaluating one transaction.
    pub evaluation_us: f64,
    /// Microseconds for one key of a read, and for 20 entries of a range.
    pub read_us: f64,
}

impl Default for CpuConfig {
    /// From measurements on two cores of x86-64, rounded up:
    ///
    /// - a 128-byte round trip on one long stream of the transport costs 1 us at 64 in flight, both ways together;
    /// - encoding 411 bytes costs 70 ns and decoding them 150 to 550 ns, so 1.4 us for a KiB decoded at worst;
    /// - a record in the segment log costs 0.7 us;
    /// - a client's call is a frame in and a frame out, and its footprint;
    /// - a transaction of four version writes, in memory, costs 4.9 to 5.5 us;
    /// - a read of a B-tree of version chains costs 1.1 us, and a scan 35 ns per entry.
    fn default() -> Self {
        Self {
            frame_us: 1.0,
            kib_us: 1.4,
            record_us: 0.7,
            call_us: 3.0,
            evaluation_us: 5.5,
            read_us: 1.1,
        }
    }
}

/// What writing costs.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskConfig {
    /// Microseconds for one sync, apart from its bytes.
    pub sync_us: f64,
    /// Microseconds for 1,024 bytes of a sync.
    pub kib_us: f64,
}

impl Default for DiskConfig {
    /// A recycled segment and `fdatasync` on a quiet machine: 0.13 ms, and 2.9 million records of 300 bytes a second. Beside
    /// other work a sync takes several milliseconds.
    fn default() -> Self {
        Self {
            sync_us: 130.0,
            kib_us: 1.2,
        }
    }
}

/// The nodes' own time constants: one of the production profiles, and what differs from it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// The profile to begin with.
    pub base: ProfileBase,
    /// At most one frame goes to a peer in this time.
    pub active_tick_ms: Option<f64>,
    /// How often an idle node sends its row and promise.
    pub idle_tick_ms: Option<f64>,
    /// How long a node counts as active after the last traffic.
    pub active_for_ms: Option<f64>,
    /// A position that is this far ahead of the own wall clock is refused.
    pub clock_offset_max_ms: Option<f64>,
    /// How far ahead of need the durable ceiling is kept.
    pub ceiling_ahead_ms: Option<f64>,
    /// The shortest time after which records without an acknowledgement are sent again.
    pub retransmit_min_ms: Option<f64>,
    /// The longest time between two retransmissions.
    pub retransmit_max_ms: Option<f64>,
    /// How long a hole in a stream may be mere reordering.
    pub gap_grace_ms: Option<f64>,
    /// How long others may hold more of a stream before it is fetched.
    pub fetch_after_ms: Option<f64>,
    /// For how long a fetched stream goes on being relayed.
    pub relay_for_ms: Option<f64>,
    /// A coordinator that is silent for this long is proposed out of the coordinators.
    pub suspect_after_ms: Option<f64>,
    /// Bytes of records that a node keeps for members which are behind.
    pub records_kept_bytes: Option<usize>,
    /// Own transactions of a node that may wait for their evaluation.
    pub submissions_max: Option<usize>,
}

/// The production profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileBase {
    /// For nodes within a data centre.
    Lan,
    /// For nodes in several regions.
    #[default]
    Wan,
}

impl ProfileConfig {
    /// The profile that every node gets.
    ///
    /// *Given* durations that are finite and not negative, as validation makes sure of.
    pub fn resolve(&self) -> Profile {
        let base = match self.base {
            ProfileBase::Lan => Profile::lan(),
            ProfileBase::Wan => Profile::wan(),
        };
        let or = |ms: Option<f64>, base: Duration| ms.map_or(base, |ms| Duration::from_secs_f64(ms / 1_000.0));
        Profile {
            active_tick: or(self.active_tick_ms, base.active_tick),
            idle_tick: or(self.idle_tick_ms, base.idle_tick),
            active_for: or(self.active_for_ms, base.active_for),
            clock_offset_max: or(self.clock_offset_max_ms, base.clock_offset_max),
            ceiling_ahead: or(self.ceiling_ahead_ms, base.ceiling_ahead),
            retransmit_min: or(self.retransmit_min_ms, base.retransmit_min),
            retransmit_max: or(self.retransmit_max_ms, base.retransmit_max),
            gap_grace: or(self.gap_grace_ms, base.gap_grace),
            fetch_after: or(self.fetch_after_ms, base.fetch_after),
            suspect_after: or(self.suspect_after_ms, base.suspect_after),
            relay_for: or(self.relay_for_ms, base.relay_for),
            records_kept_bytes: self.records_kept_bytes.unwrap_or(base.records_kept_bytes),
            submissions_max: self.submissions_max.unwrap_or(base.submissions_max),
        }
    }
}
