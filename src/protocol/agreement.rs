//! Whether this replica computes what the others compute.
//!
//! Realises the digests of section 3.3 of the design. Every replica folds outcomes and writes into a digest at fixed
//! boundaries and gossips the last one. A replica whose digest differs from that of a majority has a damaged state, another
//! version of a thunk's code, or a thunk that is not deterministic: it must stop before it answers anything.

use std::collections::BTreeMap;

use super::Divergence;
use crate::id::NodeId;
use crate::lattice::Digest;
use crate::quorum::majority;
use crate::time::Hlc;

/// How many boundaries are remembered of each replica: more than replicas lie apart, unless one has been away.
const BOUNDARIES_KEPT: usize = 64;

/// The digests heard of, this replica's own among them.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Agreement {
    own: NodeId,
    members: usize,
    digests: BTreeMap<Hlc, BTreeMap<NodeId, u64>>,
}

impl Agreement {
    /// Nothing was heard yet, by `own`, of a cluster with this many members.
    pub(crate) fn new(own: NodeId, members: usize) -> Self {
        Self {
            own,
            members,
            digests: BTreeMap::new(),
        }
    }

    /// `node` has this digest.
    ///
    /// *Gives* the divergence if now a majority agrees on another value than this replica's.
    pub(crate) fn on_digest(&mut self, node: NodeId, digest: Digest) -> Option<Divergence> {
        if digest == Digest::default() {
            return None;
        }
        let at_boundary = self.digests.entry(digest.boundary).or_default();
        if at_boundary.insert(node, digest.value) == Some(digest.value) {
            return None;
        }
        let divergence = Self::divergence(self.own, self.members, digest.boundary, at_boundary);
        let divergence = divergence.map(|divergence| Divergence {
            agreed: self.agreed_below(digest.boundary),
            ..divergence
        });
        while self.digests.len() > BOUNDARIES_KEPT {
            self.digests.pop_first();
        }
        divergence
    }

    /// The last boundary below `boundary` at which a majority has the own value.
    fn agreed_below(&self, boundary: Hlc) -> Hlc {
        let agreed = self.digests.range(..boundary).rev().find(|(_, values)| {
            values
                .get(&self.own)
                .is_some_and(|own| values.values().filter(|value| *value == own).count() >= majority(self.members))
        });
        agreed.map_or(Hlc::ZERO, |(boundary, _)| *boundary)
    }

    fn divergence(own: NodeId, members: usize, boundary: Hlc, values: &BTreeMap<NodeId, u64>) -> Option<Divergence> {
        let own_value = *values.get(&own)?;
        let others = values.values().filter(|value| **value != own_value);
        let value = others
            .copied()
            .find(|value| values.values().filter(|other| *other == value).count() >= majority(members))?;
        Some(Divergence {
            own: Digest {
                boundary,
                value: own_value,
            },
            majority: Digest { boundary, value },
            peers: values
                .iter()
                .filter(|(_, other)| **other == value)
                .map(|(node, _)| *node)
                .collect(),
            agreed: Hlc::ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node};
    use super::*;

    fn digest(boundary: u64, value: u64) -> Digest {
        Digest {
            boundary: hlc(boundary),
            value,
        }
    }

    #[test]
    fn only_a_majority_that_agrees_on_another_value_is_a_divergence() {
        let mut agreement = Agreement::new(node(1), 5);
        for (peer, value) in [(2, 7), (3, 8), (4, 7)] {
            assert_eq!(agreement.on_digest(node(peer), digest(10, value)), None);
        }
        assert_eq!(
            agreement.on_digest(node(1), digest(10, 9)),
            None,
            "two of five are no majority"
        );
        let divergence = agreement
            .on_digest(node(5), digest(10, 7))
            .expect("three of five agree against this one");
        assert_eq!(divergence.peers, [node(2), node(4), node(5)]);
        assert_eq!((divergence.own, divergence.majority), (digest(10, 9), digest(10, 7)));
        assert_eq!(divergence.agreed, Hlc::ZERO);
    }

    #[test]
    fn a_divergence_tells_where_all_was_well_for_the_last_time() {
        let mut agreement = Agreement::new(node(1), 3);
        for (peer, boundary, value) in [
            (1, 10, 7),
            (2, 10, 7),
            (1, 20, 8),
            (2, 20, 8),
            (1, 30, 9),
            (1, 40, 5),
            (2, 40, 6),
        ] {
            assert_eq!(agreement.on_digest(node(peer), digest(boundary, value)), None);
        }
        let divergence = agreement.on_digest(node(3), digest(40, 6)).expect("two of three");
        assert_eq!(divergence.agreed, hlc(20), "nobody has said anything about 30");
    }

    #[test]
    fn agreement_and_repetition_are_silent() {
        let mut agreement = Agreement::new(node(1), 3);
        for _ in 0..2 {
            for peer in 1..=3 {
                assert_eq!(agreement.on_digest(node(peer), digest(10, 7)), None);
            }
        }
    }
}
