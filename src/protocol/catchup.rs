//! Getting what one lacks of other coordinators' streams, and passing on what others lack.
//!
//! Realises section 3.7 of the design, without snapshots. A node that sees that others hold more of a stream than
//! itself, and does not get it in time, asks one of them with a `Fetch`. The answer is an ordinary append, and the one who
//! was asked goes on relaying the stream (and its coordinator's row) for a while: so two nodes that cannot talk but
//! both reach a third go on with about the delay of the detour, and not with a time-out for every tick.
//!
//! Which pieces exist and how they are sent is not decided here: `node` asks these machines and does it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::Profile;
use crate::id::NodeId;
use crate::time::{Hlc, Monotonic};

/// What one node lacks of one coordinator's stream, and what it does about it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Lag {
    behind: Option<Behind>,
    /// When an append last came from the coordinator itself.
    direct_at: Monotonic,
    relay: Option<Relay>,
    /// Turns through the holders, so that one that does not answer is not asked for ever.
    attempts: usize,
}

/// Someone holds the stream up to `target`; it has been missing here since `since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Behind {
    target: Hlc,
    since: Monotonic,
    /// Who sent an append that did not join on: this node is heard, and mere reordering would mend itself soon.
    gap_from: Option<NodeId>,
}

/// A third node relays the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Relay {
    from: NodeId,
    renew_at: Monotonic,
}

/// Whom to ask for a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The node that is heard, if not whole: the coordinator, or who relays its stream.
    Node(NodeId),
    /// This turn of those who hold more, who holds most first.
    Holder(usize),
}

impl Lag {
    /// An append came from the coordinator itself.
    pub(crate) fn on_direct(&mut self, now: Monotonic) {
        self.direct_at = now;
    }

    /// An append that `from` sent did not join on: records up to `target` are missing here.
    pub(crate) fn on_gap(&mut self, from: NodeId, target: Hlc, now: Monotonic) {
        match &mut self.behind {
            // Also when another node sends it: a stream that comes from two sides must not put off the asking for ever.
            Some(behind) if behind.gap_from.is_some() => behind.target = behind.target.max(target),
            _ => {
                self.behind = Some(Behind {
                    target,
                    since: now,
                    gap_from: Some(from),
                })
            }
        }
    }

    /// What was missing until now may be void: it is looked at anew.
    pub(crate) fn forget(&mut self) {
        self.behind = None;
        self.relay = None;
        self.attempts = 0;
    }

    /// Others hold the stream up to `furthest`, this node up to `received`.
    pub(crate) fn on_progress(&mut self, furthest: Hlc, received: Hlc, now: Monotonic) {
        if self.behind.is_some_and(|behind| received >= behind.target) {
            self.behind = None;
            self.attempts = 0;
        }
        if self.behind.is_none() && furthest > received {
            self.behind = Some(Behind {
                target: furthest,
                since: now,
                gap_from: None,
            });
        }
    }

    /// *Gives* whom to ask, if it is time to ask; then it is not time again before the same while has passed.
    ///
    /// *Given* `patience`, the measured time in which an answer of the coordinator may be expected.
    pub(crate) fn on_time(&mut self, now: Monotonic, patience: Duration, profile: &Profile) -> Option<Ask> {
        if let Some(behind) = self
            .behind
            .filter(|behind| now >= self.due_at(behind, patience, profile))
        {
            self.attempts += 1;
            self.behind = Some(Behind { since: now, ..behind });
            return Some(match behind.gap_from {
                Some(from) if self.attempts == 1 => Ask::Node(from),
                _ => Ask::Holder(self.attempts - 1),
            });
        }
        let relay = self.relay.filter(|relay| now >= relay.renew_at)?;
        self.relay = None;
        let is_cut_off = now.since(self.direct_at) >= profile.fetch_after;
        is_cut_off.then_some(Ask::Node(relay.from))
    }

    /// When [`Lag::on_time`] may have something to do.
    pub(crate) fn wake_at(&self, patience: Duration, profile: &Profile) -> Monotonic {
        let behind = self
            .behind
            .map_or(Monotonic::NEVER, |behind| self.due_at(&behind, patience, profile));
        behind.min(self.relay.map_or(Monotonic::NEVER, |relay| relay.renew_at))
    }

    /// The stream was asked of `from`, who is not its coordinator: it will be relayed for a while.
    pub(crate) fn on_relay_asked(&mut self, from: NodeId, now: Monotonic, profile: &Profile) {
        self.relay = Some(Relay {
            from,
            renew_at: now.plus(profile.relay_for / 2),
        });
    }

    fn due_at(&self, behind: &Behind, patience: Duration, profile: &Profile) -> Monotonic {
        let wait = match (behind.gap_from, self.attempts) {
            (Some(_), 0) => profile.gap_grace,
            _ => profile.fetch_after.max(patience),
        };
        behind.since.plus(wait)
    }
}

/// The streams that this node relays to others, each until it is no longer asked for.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Relays {
    leases: BTreeMap<(NodeId, NodeId), Lease>,
}

/// One coordinator's stream, relayed to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lease {
    /// The peer was sent, or holds, all records up to here: as in `replication`, the last record, so that a lost promise
    /// leaves no hole.
    sent: Hlc,
    until: Monotonic,
}

impl Relays {
    /// `peer` asks for the stream of `coordinator` after `after`, and for what follows.
    pub(crate) fn on_asked(&mut self, peer: NodeId, coordinator: NodeId, after: Hlc, until: Monotonic) {
        self.leases.insert((peer, coordinator), Lease { sent: after, until });
    }

    /// The streams relayed to `peer`, each with how far it was sent; those that ran out are forgotten.
    pub(crate) fn relayed_to(&mut self, peer: NodeId, now: Monotonic) -> Vec<(NodeId, Hlc)> {
        if self.leases.is_empty() {
            return Vec::new();
        }
        self.leases.retain(|_, lease| lease.until > now);
        let of_peer = self.leases.range((peer, NodeId::new(0))..=(peer, NodeId::MAX));
        of_peer
            .map(|((_, coordinator), lease)| (*coordinator, lease.sent))
            .collect()
    }

    /// `peer` is being sent the records of `coordinator` up to the one at `sent`.
    pub(crate) fn on_sent(&mut self, peer: NodeId, coordinator: NodeId, sent: Hlc) {
        if let Some(lease) = self.leases.get_mut(&(peer, coordinator)) {
            lease.sent = lease.sent.max(sent);
        }
    }

    /// The peers to whom the stream of `coordinator` is relayed.
    pub(crate) fn peers_for(&self, coordinator: NodeId) -> impl Iterator<Item = NodeId> {
        self.leases
            .keys()
            .filter(move |(_, relayed)| *relayed == coordinator)
            .map(|(peer, _)| *peer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node};
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Monotonic {
        Monotonic(ms * 1000)
    }

    #[test]
    fn what_others_hold_is_fetched_only_if_it_does_not_come_in_time() {
        let (mut lag, profile) = (Lag::default(), Profile::wan());
        lag.on_progress(hlc(9), hlc(3), ms(0));
        assert_eq!(lag.on_time(ms(249), PATIENCE, &profile), None);
        lag.on_progress(hlc(20), hlc(9), ms(249));
        assert_eq!(
            lag.on_time(ms(250), PATIENCE, &profile),
            None,
            "it came: the next wait begins anew"
        );
        assert_eq!(lag.on_time(ms(499), PATIENCE, &profile), Some(Ask::Holder(0)));
        assert_eq!(lag.on_time(ms(500), PATIENCE, &profile), None);
        assert_eq!(
            lag.on_time(ms(749), PATIENCE, &profile),
            Some(Ask::Holder(1)),
            "the next one is asked"
        );
    }

    #[test]
    fn a_hole_is_asked_of_who_is_heard_after_a_moment_of_grace() {
        let (mut lag, profile) = (Lag::default(), Profile::wan());
        lag.on_gap(node(2), hlc(5), ms(0));
        assert_eq!(lag.on_time(ms(9), PATIENCE, &profile), None);
        assert_eq!(lag.on_time(ms(10), PATIENCE, &profile), Some(Ask::Node(node(2))));
        assert_eq!(lag.on_time(ms(259), PATIENCE, &profile), None);
        assert_eq!(lag.on_time(ms(260), PATIENCE, &profile), Some(Ask::Holder(1)));
    }

    #[test]
    fn a_relay_is_renewed_until_the_coordinator_is_heard_again() {
        let (mut lag, profile) = (Lag::default(), Profile::wan());
        lag.on_relay_asked(node(3), ms(1000), &profile);
        assert_eq!(lag.on_time(ms(1999), PATIENCE, &profile), None);
        assert_eq!(lag.on_time(ms(2000), PATIENCE, &profile), Some(Ask::Node(node(3))));
        lag.on_relay_asked(node(3), ms(2000), &profile);
        lag.on_direct(ms(2900));
        assert_eq!(lag.on_time(ms(3000), PATIENCE, &profile), None);
        assert_eq!(lag.wake_at(PATIENCE, &profile), Monotonic::NEVER);
    }

    #[test]
    fn a_lease_runs_out_unless_it_is_renewed() {
        let mut relays = Relays::default();
        relays.on_asked(node(1), node(2), hlc(4), ms(100));
        relays.on_sent(node(1), node(2), hlc(7));
        assert_eq!(relays.relayed_to(node(1), ms(99)), [(node(2), hlc(7))]);
        assert_eq!(relays.relayed_to(node(3), ms(99)), []);
        assert_eq!(relays.relayed_to(node(1), ms(100)), []);
    }

    #[test]
    fn a_hole_seen_by_way_of_two_nodes_is_asked_for_as_soon_as_one_seen_by_way_of_one() {
        let (mut lag, profile) = (Lag::default(), Profile::wan());
        let mut asked = None;
        for at in (0..=12).step_by(3) {
            lag.on_gap(node(1 + at as u32 % 2), hlc(9), ms(at));
            asked = asked.or(lag.on_time(ms(at), PATIENCE, &profile).map(|ask| (at, ask)));
        }
        assert_eq!(asked, Some((12, Ask::Node(node(1)))), "after a grace of 10 ms");
    }
}
