//! When a frame may go to a peer: at most one in each tick, and about one in each while the cluster is active.
//!
//! Realises the cadence of section 3.2 of the design. Time is cut into slots of one tick. What is urgent (a record, the
//! acknowledgement of one, a promise that somebody waits for) goes at once if the slot's frame is still unused, else at
//! the beginning of the next slot. A slot that passed without a frame is made up for at its end, so that promises and
//! rows travel when nobody writes: every slot while active, every idle tick otherwise.

use std::collections::BTreeMap;

use super::config::Profile;
use crate::id::NodeId;
use crate::time::Monotonic;

/// The cadence of one node's frames.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Pacing {
    peers: BTreeMap<NodeId, PeerPace>,
    active_until: Monotonic,
}

#[derive(Clone, Copy, Debug, Hash)]
struct PeerPace {
    /// Number of the slot whose frame was last used.
    used: u64,
    urgent: bool,
}

impl Pacing {
    /// The cadence towards these peers; the first frame is due at once.
    pub(crate) fn new(peers: impl IntoIterator<Item = NodeId>) -> Self {
        let first = PeerPace { used: 0, urgent: true };
        Self {
            peers: peers.into_iter().map(|peer| (peer, first)).collect(),
            active_until: Monotonic(0),
        }
    }

    /// One peer more, unless it is one already; its first frame is due at once.
    pub(crate) fn add(&mut self, peer: NodeId) {
        self.peers.entry(peer).or_insert(PeerPace { used: 0, urgent: true });
    }

    /// One peer less.
    pub(crate) fn remove(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// Whether frames go to `peer`.
    pub(crate) fn contains(&self, peer: NodeId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// Whether there is nobody to send to.
    pub(crate) fn is_alone(&self) -> bool {
        self.peers.is_empty()
    }

    /// There is something that should reach `peer` soon.
    pub(crate) fn hurry(&mut self, peer: NodeId) {
        if let Some(pace) = self.peers.get_mut(&peer) {
            pace.urgent = true;
        }
    }

    /// There is something that should reach everybody soon.
    pub(crate) fn hurry_all(&mut self) {
        for pace in self.peers.values_mut() {
            pace.urgent = true;
        }
    }

    /// There is traffic, or somebody waits: tick fast for a while.
    pub(crate) fn stay_active(&mut self, now: Monotonic, profile: &Profile) {
        self.active_until = now.plus(profile.active_for);
    }

    /// Fills `due` with the peers that get a frame now, ascending, and takes their frames as sent.
    pub(crate) fn take_due(&mut self, now: Monotonic, profile: &Profile, due: &mut Vec<NodeId>) {
        due.clear();
        let slot = slot_at(now, profile);
        let idle_slots = idle_slots(now < self.active_until, profile);
        for (peer, pace) in &mut self.peers {
            if pace.urgent && pace.used < slot {
                *pace = PeerPace {
                    used: slot,
                    urgent: false,
                };
                due.push(*peer);
            } else if pace.used + idle_slots < slot {
                // The frame of a slot that has passed: the current slot's stays free for what is urgent.
                *pace = PeerPace {
                    used: slot - 1,
                    urgent: false,
                };
                due.push(*peer);
            }
        }
    }

    /// When [`Pacing::take_due`] will next find a peer.
    pub(crate) fn wake_at(&self, now: Monotonic, profile: &Profile) -> Monotonic {
        let idle_slots = idle_slots(now < self.active_until, profile);
        let next = self
            .peers
            .values()
            .map(|pace| pace.used + if pace.urgent { 1 } else { 1 + idle_slots })
            .min();
        next.map_or(Monotonic::NEVER, |slot| {
            Monotonic(slot.saturating_sub(1) * profile.active_tick.as_micros() as u64)
        })
    }
}

/// Slots are counted from 1, so that a peer that never got a frame has used slot 0.
fn slot_at(now: Monotonic, profile: &Profile) -> u64 {
    now.0 / profile.active_tick.as_micros() as u64 + 1
}

/// How many slots may pass without a frame.
fn idle_slots(active: bool, profile: &Profile) -> u64 {
    if active {
        1
    } else {
        (profile.idle_tick.as_micros() / profile.active_tick.as_micros()).max(1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::node;
    use super::*;

    /// Drives the pace as a node would: asks at each wake and when something urgent happens; gives the frames' times in us.
    fn frames(until_us: u64, urgent_at_us: &[u64], active: bool) -> Vec<u64> {
        let profile = Profile::wan();
        let mut pacing = Pacing::new([node(2)]);
        let mut due = Vec::new();
        let mut sent = Vec::new();
        let mut urgent = urgent_at_us.iter().peekable();
        let mut now = Monotonic(0);
        while now.0 < until_us {
            if active {
                pacing.stay_active(now, &profile);
            }
            if urgent.next_if(|at| **at <= now.0).is_some() {
                pacing.hurry_all();
            }
            pacing.take_due(now, &profile, &mut due);
            sent.extend(due.iter().map(|_| now.0));
            let wake = pacing.wake_at(now, &profile);
            assert!(wake > now, "no wake in the past: {wake:?} at {now:?}");
            now = Monotonic(urgent.peek().map_or(wake.0, |at| wake.0.min(**at)));
        }
        sent
    }

    #[test]
    fn an_active_node_sends_one_frame_per_tick_and_an_idle_one_per_idle_tick() {
        assert_eq!(frames(30_000, &[], true), [0, 10_000, 15_000, 20_000, 25_000]);
        assert_eq!(frames(310_000, &[], false).len(), 4);
    }

    #[test]
    fn something_urgent_goes_at_once_and_takes_the_slot_of_its_tick() {
        assert_eq!(
            frames(40_000, &[12_000], true),
            [0, 10_000, 12_000, 20_000, 25_000, 30_000, 35_000]
        );
    }

    #[test]
    fn however_much_is_urgent_there_is_one_frame_per_tick() {
        let urgent: Vec<u64> = (0..50_000).step_by(100).collect();
        let sent = frames(50_000, &urgent, true);
        assert!(sent.len() <= 11, "{sent:?}");
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= 4_900), "{sent:?}");
    }
}
