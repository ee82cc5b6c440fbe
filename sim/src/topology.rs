//! Where the nodes are and how far apart: what a scenario's regions, nodes and delays come to.

use plimsoll::id::NodeId;

use crate::scenario::Place;

/// The regions, the nodes in them, and the delays between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    regions: Vec<String>,
    /// The region of each node.
    nodes: Vec<usize>,
    /// By row, then by column, in the order of `regions`.
    rtt_ms: Vec<f64>,
}

impl Topology {
    /// The topology of these regions.
    ///
    /// *Given* the place in `regions` of each node, and the round trip between any two regions by rows, within a region
    /// included.
    ///
    /// *Panics* when a node's region is not among them, or the delays are not a square.
    pub fn new(regions: Vec<String>, nodes: Vec<usize>, rtt_ms: Vec<f64>) -> Self {
        assert_eq!(rtt_ms.len(), regions.len() * regions.len(), "a delay for every pair");
        assert!(
            nodes.iter().all(|region| *region < regions.len()),
            "{nodes:?} in {regions:?}"
        );
        Self { regions, nodes, rtt_ms }
    }

    /// The names of the regions, in the order of the scenario.
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The region of a node, by its place.
    pub fn region_of(&self, node: usize) -> usize {
        self.nodes[node]
    }

    /// The nodes of a region, ascending.
    pub fn nodes_in(&self, region: usize) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(move |(_, place)| **place == region).map(|(node, _)| node)
    }

    /// The nodes at a place of a fault.
    pub fn nodes_at(&self, place: &Place) -> Vec<usize> {
        let is_there = |node: &usize| match place {
            Place::Node(number) => self.id_of(*node) == NodeId::new(*number),
            Place::Region(region) => self.regions[self.nodes[*node]] == *region,
        };
        (0..self.node_count()).filter(is_there).collect()
    }

    /// The protocol's name for a node: its place, from 1.
    pub fn id_of(&self, node: usize) -> NodeId {
        NodeId::new(node as u32 + 1)
    }

    /// The place of a node of the protocol; absent for one that is not in this world.
    pub fn node_of(&self, id: NodeId) -> Option<usize> {
        (id.number() as usize)
            .checked_sub(1)
            .filter(|node| *node < self.nodes.len())
    }

    /// The node as a person calls it: its id and its region.
    pub fn name_of(&self, node: usize) -> String {
        format!("{} in {}", self.id_of(node), self.regions[self.nodes[node]])
    }

    /// The round trip between two nodes in milliseconds, begun by the first; 0 for a node and itself.
    pub fn rtt_ms(&self, from: usize, to: usize) -> f64 {
        if from == to {
            return 0.0;
        }
        self.rtt_ms[self.nodes[from] * self.regions.len() + self.nodes[to]]
    }

    /// The delay from one node to another in milliseconds: half a round trip; 0 for a node and itself.
    pub fn one_way_ms(&self, from: usize, to: usize) -> f64 {
        self.rtt_ms(from, to) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_of_a_region_are_as_far_apart_as_the_region_is_wide() {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let topology = Topology::new(names, vec![0, 0, 1], vec![0.2, 60.0, 61.0, 0.3]);
        assert_eq!(topology.one_way_ms(0, 1), 0.1);
        assert_eq!(topology.one_way_ms(0, 0), 0.0);
        assert_eq!(topology.rtt_ms(1, 2), 60.0);
        assert_eq!(topology.rtt_ms(2, 1), 61.0);
        assert_eq!(topology.nodes_in(0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(topology.name_of(2), "n3 in b");
        assert_eq!(topology.node_of(NodeId::new(3)), Some(2));
        assert_eq!(topology.node_of(NodeId::new(4)), None);
        assert_eq!(topology.node_of(NodeId::new(0)), None);
    }
}
