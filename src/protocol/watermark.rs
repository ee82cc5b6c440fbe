//! The watermark of one epoch, as one node computes it from the rows it has heard.
//!
//! Realises section 3.2 of the design. Acknowledgements are the gossip: every node hears every row and sees a majority form
//! by itself. The watermark is the minimum over coordinators of what a majority durably holds of their streams: below it
//! the set of transactions is final.
//!
//! Departure: the paper gossips a minimum per server and data centre, computed by coordinators. Positions let every node
//! see a quorum form one message delay earlier.

use super::config::Membership;
use crate::id::NodeId;
use crate::lattice::{Matrix, Row};
use crate::time::Hlc;

/// The matrix of rows and what follows from it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Watermark {
    membership: Membership,
    matrix: Matrix,
    watermark: Hlc,
}

impl Watermark {
    /// Nothing was heard of anybody; the epoch's timestamps lie above `start`.
    pub(crate) fn new(membership: Membership, start: Hlc) -> Self {
        Self {
            membership,
            matrix: Matrix::default(),
            watermark: start,
        }
    }

    /// The same of a restarted node, which knows that everything up to `evaluated` is final.
    pub(crate) fn resume(&mut self, evaluated: Hlc) {
        self.watermark = self.watermark.max(evaluated);
    }

    /// The highest bound below which the set of transactions is final, as far as this node knows.
    pub(crate) fn watermark(&self) -> Hlc {
        self.watermark
    }

    /// The rows heard so far.
    pub(crate) fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// This node's own row, to be raised. Call [`Watermark::advance`] afterwards.
    pub(crate) fn own_row(&mut self, node: NodeId) -> &mut Row {
        self.matrix.row_mut(node, self.membership.epoch)
    }

    /// Joins a row that was heard. *Given* that it is of this epoch. Call [`Watermark::advance`] afterwards.
    pub(crate) fn join(&mut self, row: &Row) {
        assert_eq!(
            row.epoch, self.membership.epoch,
            "I-3: a row of another epoch proves nothing here"
        );
        self.matrix.join(row);
    }

    /// What a majority of the members durably holds of the stream of `coordinator`.
    pub(crate) fn stable(&self, coordinator: NodeId) -> Hlc {
        self.matrix
            .stable(self.membership.epoch, &self.membership.members, coordinator)
    }

    /// Computes the watermark anew. *Gives* whether it went up.
    pub(crate) fn advance(&mut self) -> bool {
        let lowest = self
            .membership
            .coordinators
            .iter()
            .map(|coordinator| self.stable(*coordinator))
            .min();
        // Where every coordinator has resigned there is no more to come, and nothing that a bound could tell.
        let Some(reached) = lowest.filter(|reached| *reached > self.watermark && *reached < Hlc::MAX) else {
            return false;
        };
        self.watermark = reached;
        true
    }

    /// Up to where every member has flushed its versions: nobody needs a record at or below any more.
    pub(crate) fn flushed_by_all(&self) -> Hlc {
        let flushed = |member: &NodeId| self.matrix.row(*member).map_or(Hlc::ZERO, |row| row.flushed);
        self.membership.members.iter().map(flushed).min().unwrap_or_default()
    }

    /// The furthest position in the stream of `coordinator` that any node is known to hold.
    pub(crate) fn furthest(&self, coordinator: NodeId) -> Hlc {
        let rows = self.matrix.rows().filter(|row| row.epoch == self.membership.epoch);
        rows.map(|row| row.position(coordinator)).max().unwrap_or_default()
    }

    /// The nodes that hold more of the stream of `coordinator` than up to `held`, who holds most first.
    pub(crate) fn holders(&self, coordinator: NodeId, held: Hlc) -> Vec<NodeId> {
        let rows = self.matrix.rows().filter(|row| row.epoch == self.membership.epoch);
        let mut holders: Vec<(Hlc, NodeId)> = rows.map(|row| (row.position(coordinator), row.node)).collect();
        holders.retain(|(position, _)| *position > held);
        holders.sort_unstable_by_key(|(position, node)| (std::cmp::Reverse(*position), *node));
        holders.into_iter().map(|(_, node)| node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node};
    use super::*;
    use crate::id::Epoch;

    fn row(owner: u32, positions: &[(u32, u64)]) -> Row {
        let mut row = Row::new(node(owner), Epoch::FIRST);
        for (coordinator, position) in positions {
            row.raise_position(node(*coordinator), hlc(*position));
        }
        row
    }

    fn three() -> Watermark {
        let nodes = [node(1), node(2), node(3)];
        Watermark::new(Membership::new(Epoch::FIRST, nodes, nodes).unwrap(), Hlc::ZERO)
    }

    #[test]
    fn a_majority_of_every_stream_makes_the_watermark() {
        let mut watermark = three();
        watermark.join(&row(1, &[(1, 9), (2, 7), (3, 5)]));
        assert!(!watermark.advance(), "one node is no majority");
        watermark.join(&row(2, &[(1, 8), (2, 8)]));
        assert!(!watermark.advance(), "nobody but n1 holds anything of n3's stream");
        watermark.join(&row(3, &[(3, 6)]));
        assert!(watermark.advance());
        assert_eq!(watermark.watermark(), hlc(5));
        assert_eq!(watermark.stable(node(1)), hlc(8));
    }

    #[test]
    fn a_coordinator_that_is_no_member_counts_in_no_quorum() {
        let members = [node(1), node(2), node(3)];
        let membership = Membership::new(Epoch::FIRST, members, [node(4)]).unwrap();
        let mut watermark = Watermark::new(membership, Hlc::ZERO);
        watermark.join(&row(4, &[(4, 9)]));
        watermark.join(&row(1, &[(4, 9)]));
        assert!(!watermark.advance());
        watermark.join(&row(3, &[(4, 3)]));
        assert!(watermark.advance());
        assert_eq!(watermark.watermark(), hlc(3));
    }

    #[test]
    fn who_holds_most_is_asked_first() {
        let mut watermark = three();
        watermark.join(&row(2, &[(1, 8)]));
        watermark.join(&row(3, &[(1, 9)]));
        assert_eq!(watermark.holders(node(1), hlc(7)), [node(3), node(2)]);
        assert_eq!(watermark.holders(node(1), hlc(8)), [node(3)]);
        assert_eq!(watermark.furthest(node(1)), hlc(9));
    }
}
