//! How large the searched space is: every bound of the model, and how time and the cluster look in it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use plimsoll::id::{ClusterId, Epoch, NodeId};
use plimsoll::protocol::Bug;
use plimsoll::protocol::config::{Membership, NodeConfig, Profile};
use plimsoll::time::{Hlc, WallTime};

use crate::scene::Scene;

/// The bounds of a search.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Nodes of the cluster; all of them store data and coordinate.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=3))]
    pub nodes: u32,
    /// Transactions that clients submit after the scene, each at any node.
    #[arg(long, default_value_t = 1)]
    pub transactions: u8,
    /// Strict reads that clients begin, each at any node.
    #[arg(long, default_value_t = 0)]
    pub reads: u8,
    /// Crashes, of any nodes; a node that has crashed may start again.
    #[arg(long, default_value_t = 0)]
    pub crashes: u8,
    /// Frames that are delivered and stay in flight.
    #[arg(long, default_value_t = 0)]
    pub duplicates: u8,
    /// Silences: so long that at one node all time-outs have passed, just before a frame comes or without one.
    #[arg(long, default_value_t = 1)]
    pub silences: u8,
    /// Frames in flight on one link; one more, and the oldest is lost.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    pub frames: u8,
    /// Actions in a row after the scene.
    #[arg(long, default_value_t = 8)]
    pub depth: u16,
    /// When entries of the log become durable.
    #[arg(long, value_enum, default_value_t = Disk::Slow)]
    pub disk: Disk,
    /// When the executor is done with a batch.
    #[arg(long, value_enum, default_value_t = Executor::Instant)]
    pub executor: Executor,
    /// Where the search begins.
    #[arg(long, value_enum, default_value_t = Scene::Genesis)]
    pub scene: Scene,
    /// A bug to plant into every node.
    #[arg(long, value_parser = bug)]
    pub bug: Option<Bug>,
}

/// When entries of the log become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Disk {
    /// By an action of its own, and until then a crash may lose them.
    Slow,
    /// At once, and what the step and its sync have to say goes out as one frame.
    Instant,
}

/// When the executor is done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// By an action of its own.
    Slow,
    /// At once.
    Instant,
}

/// Longer than every time-out of [`profile`].
pub const SILENCE: Duration = Duration::from_secs(1000);

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 3,
            transactions: 1,
            reads: 0,
            crashes: 0,
            duplicates: 0,
            silences: 1,
            frames: 2,
            depth: 8,
            disk: Disk::Slow,
            executor: Executor::Instant,
            scene: Scene::Genesis,
            bug: None,
        }
    }
}

impl Settings {
    /// The node at `place`, from 0.
    pub fn node_id(place: usize) -> NodeId {
        NodeId::new(place as u32 + 1)
    }

    /// How many nodes there are.
    pub fn count(&self) -> usize {
        self.nodes as usize
    }

    /// Who is in the first epoch: everybody.
    pub fn genesis(&self) -> Membership {
        let nodes: Vec<NodeId> = (0..self.count()).map(Self::node_id).collect();
        Membership::new(Epoch::FIRST, nodes.clone(), nodes).expect("two or three different nodes make an epoch")
    }

    /// What the node at `place` is told when it starts.
    pub fn node_config(&self, place: usize) -> NodeConfig {
        NodeConfig {
            id: Self::node_id(place),
            cluster: ClusterId::new(1),
            profile: profile(),
            seed: 1,
        }
    }
}

/// Ticks so short that no frame ever waits for its slot, and time-outs so long that none passes but in a silence.
pub fn profile() -> Profile {
    Profile {
        active_tick: Duration::from_micros(1),
        idle_tick: Duration::from_secs(300),
        active_for: Duration::ZERO,
        clock_offset_max: Duration::from_secs(1 << 30),
        ceiling_ahead: Duration::from_millis(10),
        retransmit_min: Duration::from_secs(10),
        retransmit_max: Duration::from_secs(20),
        gap_grace: Duration::from_secs(10),
        fetch_after: Duration::from_secs(10),
        suspect_after: Duration::from_secs(1),
        relay_for: Duration::from_secs(30),
        records_kept_bytes: usize::MAX,
        submissions_max: usize::MAX,
    }
}

/// What every wall clock shows all the time: one millisecond after hybrid time began. So timestamps only count.
pub fn wall() -> WallTime {
    WallTime((Hlc::ZERO.unix_millis() + 1) * 1000)
}

fn bug(name: &str) -> Result<Bug, String> {
    let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
    let found = Bug::ALL.into_iter().find(|bug| bug.name() == name);
    found.ok_or_else(|| format!("no such bug; there are {}", names.join(", ")))
}
