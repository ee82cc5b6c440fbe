//! What can happen next: the nondeterminism of network, disks, clients, time and crashes.

use std::fmt;

use crate::settings::{Disk, Settings};
use crate::state::State;

/// One step of the world. Nodes are named by their places, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The frame at `place` of the link arrives.
    Deliver {
        /// The sender.
        from: usize,
        /// The receiver.
        to: usize,
        /// Which of the frames in flight, the oldest first.
        place: usize,
        /// How it arrives.
        arrival: Arrival,
    },
    /// Everything that the node has written is durable, and it hears of it.
    Sync(usize),
    /// The executor of the node is done with its batch.
    Evaluated(usize),
    /// A client submits the next transaction at the node.
    Submit(usize),
    /// A client begins a strict read at the node.
    Read(usize),
    /// All time-outs of the node pass, and it wakes.
    Wake(usize),
    /// The node crashes. Of what was written and is not durable, this many writes are on the disk all the same.
    Crash {
        /// The node.
        node: usize,
        /// How many writes survive.
        kept: usize,
    },
    /// The node starts again from what is on its disk.
    Restart(usize),
}

/// How a frame arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// Once.
    Once,
    /// And will arrive again.
    Again,
    /// Once, after a silence in which all time-outs of the receiver have passed.
    Late,
}

impl Action {
    /// The frame at `place` from one node to another arrives as frames do.
    pub const fn deliver(from: usize, to: usize, place: usize) -> Self {
        Self::Deliver {
            from,
            to,
            place,
            arrival: Arrival::Once,
        }
    }

    /// The same after a silence at the receiver.
    pub const fn deliver_late(from: usize, to: usize, place: usize) -> Self {
        Self::Deliver {
            from,
            to,
            place,
            arrival: Arrival::Late,
        }
    }
}

/// Adds everything that can happen in `state` within the bounds.
pub fn possible(settings: &Settings, state: &State, actions: &mut Vec<Action>) {
    let spent = &state.spent;
    for (node, host) in state.hosts.iter().enumerate() {
        if host.node.is_none() {
            actions.push(Action::Restart(node));
            continue;
        }
        if !host.pending.is_empty() && settings.disk == Disk::Slow {
            actions.push(Action::Sync(node));
        }
        if host.work.is_some() {
            actions.push(Action::Evaluated(node));
        }
        if spent.transactions < settings.transactions {
            actions.push(Action::Submit(node));
        }
        if spent.reads < settings.reads {
            actions.push(Action::Read(node));
        }
        if spent.silences < settings.silences {
            actions.push(Action::Wake(node));
        }
        if spent.crashes < settings.crashes {
            actions.extend((0..=host.pending.len()).map(|kept| Action::Crash { node, kept }));
        }
        for from in 0..state.hosts.len() {
            let link = state.link(from, node);
            for (place, frame) in link.iter().enumerate() {
                if link[..place].contains(frame) {
                    continue;
                }
                let mut push = |arrival| {
                    actions.push(Action::Deliver {
                        from,
                        to: node,
                        place,
                        arrival,
                    });
                };
                push(Arrival::Once);
                if spent.duplicates < settings.duplicates {
                    push(Arrival::Again);
                }
                if spent.silences < settings.silences {
                    push(Arrival::Late);
                }
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |node: &usize| Settings::node_id(*node);
        match self {
            Self::Deliver {
                from,
                to,
                place,
                arrival,
            } => {
                let how = match arrival {
                    Arrival::Once => "",
                    Arrival::Again => ", and stays in flight",
                    Arrival::Late => ", after a silence",
                };
                write!(f, "frame {place} from {} reaches {}{how}", id(from), id(to))
            }
            Self::Sync(node) => write!(f, "{} has synced", id(node)),
            Self::Evaluated(node) => write!(f, "{} has evaluated", id(node)),
            Self::Submit(node) => write!(f, "a client submits at {}", id(node)),
            Self::Read(node) => write!(f, "a client reads strictly at {}", id(node)),
            Self::Wake(node) => write!(f, "{} wakes after a silence", id(node)),
            Self::Crash { node, kept } => write!(f, "{} crashes; of its unsynced writes {kept} survive", id(node)),
            Self::Restart(node) => write!(f, "{} starts again", id(node)),
        }
    }
}
