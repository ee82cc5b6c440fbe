//! What nodes gossip: a matrix of rows that only ever grows.
//!
//! Realises section 3.2 of the design. [`Row`] and [`Matrix`] are join-semilattices (`crdts::CvRDT`): merging is
//! associative, commutative and idempotent, so rows may be lost, repeated, reordered or carried by a third node. Every
//! node computes from its own matrix, by an order statistic, what a majority holds ([`Matrix::stable`]).
//! Lattices merge monotone facts and never choose between outcomes: a choice is made by a decree. The laws, and what they say of
//! what nodes learn, are tested in `tests/lattice.rs`.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bincode::{Decode, Encode};
use crdts::CvRDT;

use crate::id::{Epoch, NodeId};
use crate::quorum;
use crate::time::Hlc;

/// How far one node has come in an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Row {
    /// Whose row.
    pub node: NodeId,
    /// The epoch of `positions`. A row of a later epoch replaces them.
    pub epoch: Epoch,
    /// How far the node durably holds each coordinator's stream, ascending by coordinator. A coordinator that is not
    /// named counts as [`Hlc::ZERO`].
    pub positions: Vec<(NodeId, Hlc)>,
    /// How far the node has evaluated: everything at or below is in its versions.
    pub evaluated: Hlc,
    /// How far the node's versions are durable: it will never again need a record at or below, over a restart too.
    pub flushed: Hlc,
    /// The highest bound that somebody waits for at the node. A coordinator that sees one above its last promise
    /// promises at once.
    pub wanted: Hlc,
    /// The node's last digest.
    pub digest: Digest,
}

/// A fold of all outcomes and writes up to a boundary: equal on every replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Digest {
    /// The boundary: everything at or below is folded in.
    pub boundary: Hlc,
    /// The fold.
    pub value: u64,
}

impl Row {
    /// The row of a node of which nothing is known in `epoch`: the lowest one.
    pub fn new(node: NodeId, epoch: Epoch) -> Self {
        Self {
            node,
            epoch,
            positions: Vec::new(),
            evaluated: Hlc::ZERO,
            flushed: Hlc::ZERO,
            wanted: Hlc::ZERO,
            digest: Digest::default(),
        }
    }

    /// How far the node durably holds the stream of `coordinator`.
    pub fn position(&self, coordinator: NodeId) -> Hlc {
        match self.positions.binary_search_by_key(&coordinator, |(node, _)| *node) {
            Ok(place) => self.positions[place].1,
            Err(_) => Hlc::ZERO,
        }
    }

    /// Raises the position in the stream of `coordinator`; a lower one changes nothing.
    pub fn raise_position(&mut self, coordinator: NodeId, position: Hlc) {
        match self.positions.binary_search_by_key(&coordinator, |(node, _)| *node) {
            Ok(place) => self.positions[place].1 = self.positions[place].1.max(position),
            Err(place) => self.positions.insert(place, (coordinator, position)),
        }
    }

    /// Joins `other` into this row: the later epoch's positions, or their pointwise maximum in the same epoch; the
    /// maximum of all else.
    ///
    /// It is associative over epochs too: whatever the order of several joins, the positions come out as the pointwise maximum
    /// of exactly those rows that are of the latest epoch among them. All else is a product of chains. Two digests of
    /// one node at one boundary would be a divergence of its own; the join keeps the greater until the next boundary.
    ///
    /// *Given* positions ascending by coordinator on both sides, as [`Row::raise_position`] keeps them and a
    /// received frame is checked for.
    ///
    /// *Panics* when the rows are of two nodes.
    pub fn join(&mut self, other: &Self) {
        assert_eq!(self.node, other.node, "rows of two nodes have no join");
        if other.epoch > self.epoch {
            self.epoch = other.epoch;
            self.positions.clone_from(&other.positions);
        } else if other.epoch == self.epoch {
            for (coordinator, position) in &other.positions {
                self.raise_position(*coordinator, *position);
            }
        }
        self.evaluated = self.evaluated.max(other.evaluated);
        self.flushed = self.flushed.max(other.flushed);
        self.wanted = self.wanted.max(other.wanted);
        self.digest = self.digest.max(other.digest);
    }
}

/// Rows of two nodes were to be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rows are of two nodes, {0} and {1}: they have no join")]
pub struct RowsOfTwoNodes(pub NodeId, pub NodeId);

impl CvRDT for Row {
    type Validation = RowsOfTwoNodes;

    fn validate_merge(&self, other: &Self) -> Result<(), RowsOfTwoNodes> {
        if self.node == other.node {
            Ok(())
        } else {
            Err(RowsOfTwoNodes(self.node, other.node))
        }
    }

    fn merge(&mut self, other: Self) {
        self.join(&other);
    }
}

/// The rows of all nodes, as far as one node has heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Matrix {
    rows: BTreeMap<NodeId, Row>,
}

impl Matrix {
    /// The row of `node`; absent if nothing was heard of it.
    pub fn row(&self, node: NodeId) -> Option<&Row> {
        self.rows.get(&node)
    }

    /// All rows, ascending by node.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The highest bound that anybody is known to wait for.
    pub fn wanted(&self) -> Hlc {
        self.rows.values().map(|row| row.wanted).max().unwrap_or_default()
    }

    /// The row of `node`, to be raised; the lowest one in `epoch` if nothing was heard of it.
    pub fn row_mut(&mut self, node: NodeId, epoch: Epoch) -> &mut Row {
        self.rows.entry(node).or_insert_with(|| Row::new(node, epoch))
    }

    /// Joins one row into the matrix.
    pub fn join(&mut self, row: &Row) {
        match self.rows.get_mut(&row.node) {
            Some(known) => known.join(row),
            None => {
                self.rows.insert(row.node, row.clone());
            }
        }
    }

    /// The largest position such that a majority of `members` durably hold the stream of `coordinator` up to it
    /// in `epoch`. Rows of other epochs prove nothing and count as [`Hlc::ZERO`].
    ///
    /// Whatever was learned stays true, but it is not learned again once members have gone on to a later epoch: their rows
    /// do not tell of this one any more, and the result falls. Who needs a bound that never goes back keeps the highest
    /// one that was learned.
    ///
    /// *Panics* for no members, or more than [`MEMBERS_MAX`](crate::limits::MEMBERS_MAX).
    pub fn stable(&self, epoch: Epoch, members: &[NodeId], coordinator: NodeId) -> Hlc {
        let mut reached = [Hlc::ZERO; crate::limits::MEMBERS_MAX];
        let reached = &mut reached[..members.len()];
        for (place, member) in reached.iter_mut().zip(members) {
            if let Some(row) = self.rows.get(member).filter(|row| row.epoch == epoch) {
                *place = row.position(coordinator);
            }
        }
        quorum::reached_by_majority(reached)
    }
}

impl CvRDT for Matrix {
    type Validation = Infallible;

    fn validate_merge(&self, _: &Self) -> Result<(), Infallible> {
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        for row in other.rows.values() {
            self.join(row);
        }
    }
}
