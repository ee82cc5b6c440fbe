//! The `[faults]` block: what goes wrong, and when.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the network does wrong. Each probability is drawn for every frame by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsConfig {
    /// The probability that a frame is lost, 0 to 1.
    pub loss: f64,
    /// The probability that a frame arrives twice, 0 to 1; the second time up to a round trip later, uniformly.
    pub duplicate: f64,
    /// The probability that a frame is held back, so that later ones overtake it, 0 to 1.
    pub reorder: f64,
    /// A frame that is held back is held for up to this long, uniformly.
    pub reorder_extra_ms: f64,
    /// When loss, duplication, reordering and lateness begin, in seconds since the start.
    pub from_s: f64,
    /// When they end, in seconds since the start; absent: never.
    pub until_s: Option<f64>,
    /// Links that are cut.
    pub cut: Vec<CutConfig>,
    /// The probability that a frame arrives once more much later, 0 to 1: out of epochs that are long over.
    pub late: f64,
    /// How much later at most, in milliseconds, uniformly.
    pub late_ms_max: f64,
    /// Nodes that crash.
    pub crash: Vec<CrashConfig>,
    /// Disks that are replaced by empty ones.
    pub lose_disk: Vec<LoseDiskConfig>,
    /// Disks that fail.
    pub disk: Vec<DiskFaultConfig>,
    /// Nodes that stand still.
    pub pause: Vec<PauseConfig>,
    /// Nodes with something slow.
    pub slow: Vec<SlowConfig>,
    /// Wall clocks that are set.
    pub clock_step: Vec<ClockStepConfig>,
    /// Changes of the members.
    pub change: Vec<ChangeConfig>,
    /// More goes wrong than a cluster is promised to survive: only safety is judged.
    pub beyond_budget: bool,
    /// A bug planted on purpose, to see that the checks catch it; absent: none.
    pub planted: Option<Planted>,
}

impl FaultsConfig {
    /// How many faults there are; each whole-network chance is one.
    pub fn count(&self) -> usize {
        let chances = [self.loss, self.duplicate, self.reorder, self.late];
        chances.iter().filter(|chance| **chance > 0.0).count()
            + self.cut.len()
            + self.crash.len()
            + self.lose_disk.len()
            + self.disk.len()
            + self.pause.len()
            + self.slow.len()
            + self.clock_step.len()
            + self.change.len()
    }
}

/// Where a fault happens: `"us-east-1"` is every node of the region, `3` the node of that number, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// One node, by its number.
    Node(u32),
    /// All nodes of a region.
    Region(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(number) => write!(f, "n{number}"),
            Self::Region(region) => f.write_str(region),
        }
    }
}

/// Nodes stop at once: what they hold in memory and have not synced is gone, and what is sent to them is lost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CrashConfig {
    /// Which nodes.
    pub place: Place,
    /// When, in seconds since the start.
    pub at_s: f64,
    /// How long after it they start again with what their disks hold, in seconds; absent: never.
    pub restart_after_s: Option<f64>,
    /// Not at that moment, but when the so-many-th sync after it would have been done: what it carries is lost.
    pub at_sync: Option<u32>,
    /// Not at that moment, but just before the so-many-th frame after it is sent.
    pub at_send: Option<u32>,
    /// Not at once: the nodes are told to resign, and stop when they have.
    #[serde(default)]
    pub resign: bool,
}

/// The disks of nodes that are down are replaced by empty ones: nobody takes anything from them any more, and they count as failed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LoseDiskConfig {
    /// Which nodes. One that runs then keeps its disk.
    pub place: Place,
    /// When, in seconds since the start.
    pub at_s: f64,
}

/// What a disk can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFault {
    /// The next write fails, and is done in part: the node stops, and is started again a second later.
    WriteError,
    /// The next sync fails, and what it would have made durable never is, but for some of it: the node stops, and is started again a second later.
    SyncError,
    /// There is no room for more.
    Full,
    /// A bit of what is durable turns around. In the versions it is found when it is read: the node stops, drops them, and is filled by its peers.
    /// In the log it is found at the next start: then the node counts as failed.
    Rot,
}

/// The disks of nodes fail.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DiskFaultConfig {
    /// Which nodes.
    pub place: Place,
    /// When, in seconds since the start.
    pub at_s: f64,
    /// What the disks do.
    pub fault: DiskFault,
    /// For how long a disk is full, in seconds; of a full one only.
    pub for_s: Option<f64>,
}

/// Processes stand still for a while and then go on; what arrives meanwhile waits for them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PauseConfig {
    /// Which nodes.
    pub place: Place,
    /// When, in seconds since the start.
    pub at_s: f64,
    /// For how long, in seconds.
    pub for_s: f64,
}

/// What can be slow without being broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowPart {
    /// All links from and to the nodes.
    Link,
    /// Their disks.
    Disk,
    /// Their processors.
    Cpu,
}

/// Something takes several times as long for a while.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SlowConfig {
    /// Which nodes.
    pub place: Place,
    /// What of them.
    pub part: SlowPart,
    /// How many times as long it takes, above 1.
    pub factor: f64,
    /// When it begins, in seconds since the start.
    pub from_s: f64,
    /// When it ends, in seconds since the start.
    pub until_s: f64,
}

/// A wall clock is set forward or back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClockStepConfig {
    /// Which nodes.
    pub place: Place,
    /// When, in seconds since the start.
    pub at_s: f64,
    /// By how many milliseconds; negative: back.
    pub by_ms: f64,
}

/// Members are changed. A node that joins and is no member of the first epoch starts as a learner at that moment.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeConfig {
    /// When the change is asked for, in seconds since the start.
    pub at_s: f64,
    /// The number of the node that is asked.
    pub node: u32,
    /// The number of the node that joins.
    pub joins: Option<u32>,
    /// The number of the node that leaves.
    pub leaves: Option<u32>,
}

/// A bug that the checks must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Planted {
    /// The first node's watermark needs no majority: it answers what only its own disk holds.
    MinorityWatermark,
    /// The first node answers transactions before they are evaluated, with what they would come to at that moment.
    EarlyReply,
    /// Strict reads get the snapshot that their node happens to have.
    StaleStrictRead,
    /// The first node evaluates neighbouring transactions in the opposite order.
    OtherOrder,
}

/// All links from one place to another, cut for a while: a frame sent meanwhile is lost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CutConfig {
    /// Whose frames are lost.
    pub from: Place,
    /// Whom they were sent to.
    pub to: Place,
    /// Whether the other direction is cut as well.
    #[serde(default)]
    pub both: bool,
    /// When the cut begins, in seconds since the start.
    #[serde(default)]
    pub from_s: f64,
    /// When it heals, in seconds since the start; absent: never.
    #[serde(default)]
    pub until_s: Option<f64>,
}
