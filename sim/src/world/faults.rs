//! What goes wrong with the machines, and when: the scenario's faults as moments, and the count of what really happened.

use std::collections::BTreeMap;

use plimsoll::id::NodeId;
use plimsoll::protocol::Change;

use crate::cost::us;
use crate::scenario::{DiskFault, Scenario, SlowPart};
use crate::topology::Topology;

/// Something that goes wrong at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// A node stops, and starts again so much later.
    Crash {
        node: usize,
        trigger: Trigger,
        restart_after_us: Option<u64>,
    },
    /// A node starts with what its disk holds.
    Restart { node: usize },
    /// A disk is replaced by an empty one.
    LoseDisk { node: usize },
    /// Something goes wrong with a disk.
    Disk { node: usize, fault: DiskFault },
    /// A disk has room again.
    Room { node: usize },
    /// A process stands still.
    Pause { node: usize, for_us: u64 },
    /// A disk or a processor takes so many times as long from now on.
    Slow { node: usize, part: SlowPart, factor: f64 },
    /// A wall clock is set.
    ClockStep { node: usize, by_ns: i64 },
    /// Other code lies on a machine: its node has it when it starts next.
    Install { node: usize, registry: usize },
    /// Members are to be changed.
    Change { node: usize, change: Change },
}

/// When exactly a node crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    /// At once.
    Now,
    /// When the so-many-th sync from now on would be done.
    AtSync(u32),
    /// Before the so-many-th frame from now on is sent.
    AtSend(u32),
    /// When it has resigned.
    Resigned,
}

impl Trigger {
    /// The name of the fault in counts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Now => "crash",
            Self::AtSync(_) => "crash-at-sync",
            Self::AtSend(_) => "crash-at-send",
            Self::Resigned => "resign",
        }
    }
}

/// How often each kind of fault has really happened.
pub(super) type FaultCounts = BTreeMap<&'static str, u64>;

/// The faults of a checked scenario that befall machines, each with its moment in microseconds.
pub(super) fn plan(scenario: &Scenario, topology: &Topology) -> Vec<(u64, Fault)> {
    let faults = &scenario.faults;
    let at = |seconds: f64| us(seconds * 1e3);
    let mut plan = Vec::new();
    for crash in &faults.crash {
        let trigger = match (crash.at_sync, crash.at_send) {
            (Some(syncs), _) => Trigger::AtSync(syncs),
            (_, Some(sends)) => Trigger::AtSend(sends),
            _ if crash.resign => Trigger::Resigned,
            _ => Trigger::Now,
        };
        let restart_after_us = crash.restart_after_s.map(at);
        plan.extend(topology.nodes_at(&crash.place).into_iter().map(|node| {
            let crash_of = Fault::Crash {
                node,
                trigger,
                restart_after_us,
            };
            (at(crash.at_s), crash_of)
        }));
    }
    for loss in &faults.lose_disk {
        let nodes = topology.nodes_at(&loss.place);
        plan.extend(nodes.into_iter().map(|node| (at(loss.at_s), Fault::LoseDisk { node })));
    }
    for disk in &faults.disk {
        let fault = disk.fault;
        for node in topology.nodes_at(&disk.place) {
            plan.push((at(disk.at_s), Fault::Disk { node, fault }));
            plan.extend(disk.for_s.map(|for_s| (at(disk.at_s + for_s), Fault::Room { node })));
        }
    }
    for pause in &faults.pause {
        let for_us = at(pause.for_s);
        let nodes = topology.nodes_at(&pause.place);
        plan.extend(
            nodes
                .into_iter()
                .map(|node| (at(pause.at_s), Fault::Pause { node, for_us })),
        );
    }
    for slow in faults.slow.iter().filter(|slow| slow.part != SlowPart::Link) {
        let part = slow.part;
        for node in topology.nodes_at(&slow.place) {
            for (moment_s, factor) in [(slow.from_s, slow.factor), (slow.until_s, 1.0)] {
                plan.push((at(moment_s), Fault::Slow { node, part, factor }));
            }
        }
    }
    for step in &faults.clock_step {
        let by_ns = (step.by_ms * 1e6).round() as i64;
        let nodes = topology.nodes_at(&step.place);
        plan.extend(
            nodes
                .into_iter()
                .map(|node| (at(step.at_s), Fault::ClockStep { node, by_ns })),
        );
    }
    for change in &faults.change {
        let node = |number: u32| NodeId::new(number);
        let of = match (change.joins.map(node), change.leaves.map(node)) {
            (Some(joins), Some(leaves)) => Change::Replace { leaves, joins },
            (Some(joins), None) => Change::Join(joins),
            (None, Some(leaves)) => Change::Leave(leaves),
            (None, None) => continue,
        };
        if let Some(joins) = change.joins {
            // It learns from that moment on.
            let node = joins as usize - 1;
            plan.push((at(change.at_s), Fault::Restart { node }));
        }
        let node = change.node as usize - 1;
        plan.push((at(change.at_s), Fault::Change { node, change: of }));
    }
    plan.sort_by_key(|(at_us, _)| *at_us);
    plan
}
