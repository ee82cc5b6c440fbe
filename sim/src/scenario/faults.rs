//! The `[faults]` block: what goes wrong, and when.

use serde::Deserialize;

/// What the network does wrong. Each probability is drawn for every frame by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
    /// When loss, duplication and reordering begin, in seconds since the start.
    pub from_s: f64,
    /// When they end, in seconds since the start; absent: never.
    pub until_s: Option<f64>,
    /// Links that are cut.
    pub cut: Vec<CutConfig>,
    /// Regions that die.
    pub crash: Vec<CrashConfig>,
    /// A bug planted on purpose, to see that the checks catch it; absent: none.
    pub planted: Option<Planted>,
}

/// All nodes of a region stop at once and for good; what is sent to them is lost.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashConfig {
    /// The region.
    pub region: String,
    /// When, in seconds since the start.
    pub at_s: f64,
}

/// A bug that the checks must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
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

/// All links from one region to another, cut for a while: a frame sent meanwhile is lost.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutConfig {
    /// The region whose frames are lost.
    pub from: String,
    /// The region that they were sent to.
    pub to: String,
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
