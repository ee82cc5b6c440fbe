//! The `[swarm]` block: each seed draws its own faults.

use serde::{Deserialize, Serialize};

use super::Scenario;

/// What each seed draws for itself, see [`draw`](crate::swarm::draw).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwarmConfig {
    /// How much may go wrong.
    pub mode: SwarmMode,
    /// The classes of faults to draw from; a class that the world has no means for is never drawn.
    pub classes: Vec<FaultClass>,
    /// How often a class is on, 0 to 1.
    pub share: f64,
}

impl Default for SwarmConfig {
    fn default() -> Self {
        Self {
            mode: SwarmMode::Budget,
            classes: FaultClass::ALL.to_vec(),
            share: 0.5,
        }
    }
}

/// How much may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SwarmMode {
    /// What a cluster is promised to survive, see [`budget`](crate::swarm::budget).
    Budget,
    /// More than that, on purpose: then only safety is judged.
    Exceed,
}

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    /// Frames are lost by chance.
    Loss,
    /// Frames arrive twice.
    Duplicate,
    /// Frames overtake each other.
    Reorder,
    /// Frames arrive once more seconds later.
    Late,
    /// Nodes crash; most start again.
    Crash,
    /// Nodes crash when a sync would have been done.
    CrashAtSync,
    /// Nodes crash between two frames.
    CrashAtSend,
    /// Nodes resign, stop and start again.
    Resign,
    /// Processes stand still.
    Pause,
    /// A minority is cut off.
    CutSymmetric,
    /// Frames from one node to another are lost.
    CutOneWay,
    /// Two nodes reach each other only through others.
    CutNonTransitive,
    /// All links of a node are slow.
    SlowLink,
    /// A disk is slow.
    SlowDisk,
    /// A write fails, and the node with it.
    DiskWriteError,
    /// A sync fails, and the node with it.
    DiskSyncError,
    /// A disk has no room for a while.
    DiskFull,
    /// A bit of a disk turns around.
    DiskRot,
    /// A processor is slow.
    SlowCpu,
    /// Wall clocks are set forward and back.
    ClockStep,
    /// A wall clock is far ahead or behind for a while.
    ClockBeyondLimit,
    /// A majority, or all, crash at once and start again.
    MajorityGone,
    /// Nodes join, leave and are replaced.
    MembershipChange,
}

impl FaultClass {
    /// Every class.
    pub const ALL: [Self; 23] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Late,
        Self::Crash,
        Self::CrashAtSync,
        Self::CrashAtSend,
        Self::Resign,
        Self::Pause,
        Self::CutSymmetric,
        Self::CutOneWay,
        Self::CutNonTransitive,
        Self::SlowLink,
        Self::SlowDisk,
        Self::DiskWriteError,
        Self::DiskSyncError,
        Self::DiskFull,
        Self::DiskRot,
        Self::SlowCpu,
        Self::ClockStep,
        Self::ClockBeyondLimit,
        Self::MajorityGone,
        Self::MembershipChange,
    ];

    /// Whether the world has the means for it.
    pub fn is_possible(self, scenario: &Scenario) -> bool {
        self != Self::MembershipChange || !scenario.spares().is_empty()
    }

    /// The name under which a fault of this class is counted when it has happened.
    pub const fn counted_as(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Late => "late",
            Self::Crash => "crash",
            Self::CrashAtSync => "crash-at-sync",
            Self::CrashAtSend => "crash-at-send",
            Self::Resign => "resign",
            Self::Pause => "pause",
            Self::CutSymmetric => "cut-symmetric",
            Self::CutOneWay => "cut-one-way",
            Self::CutNonTransitive => "cut-non-transitive",
            Self::SlowLink => "slow-link",
            Self::SlowDisk => "slow-disk",
            Self::DiskWriteError => "disk-write-error",
            Self::DiskSyncError => "disk-sync-error",
            Self::DiskFull => "disk-full",
            Self::DiskRot => "disk-rot",
            Self::SlowCpu => "slow-cpu",
            Self::ClockStep => "clock-step",
            Self::ClockBeyondLimit => "clock-beyond-limit",
            Self::MajorityGone => "majority-gone",
            Self::MembershipChange => "membership-change",
        }
    }
}
