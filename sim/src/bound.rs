//! The least commit latency that the delays allow: section 3.10 of the design as a number per node.
//!
//! Pure delays: no tick, no disk, no processor, no clock error. What is measured above it is what those cost.

use plimsoll::quorum::majority;

use crate::topology::Topology;

/// The commit latency at a node, in milliseconds, when every node is a member and coordinates.
///
/// It is the later of two moments. The first is when a majority, the node included, has acknowledged the node's own record.
/// The second is when the node has seen every other coordinator past the record's timestamp at a majority: the promise of
/// that coordinator, made at the same moment, goes to each member, and the member's row to the node.
pub fn commit_ms(topology: &Topology, node: usize) -> f64 {
    let coordinators = 0..topology.node_count();
    coordinators
        .map(|coordinator| seen_ms(topology, coordinator, node))
        .fold(0.0, f64::max)
}

/// How long until `node` sees that a majority holds what `coordinator` has just made.
///
/// For the node's own stream this is the round trip to the nearest majority.
fn seen_ms(topology: &Topology, coordinator: usize, node: usize) -> f64 {
    let members = 0..topology.node_count();
    let mut seen: Vec<f64> = members
        .map(|member| topology.one_way_ms(coordinator, member) + topology.one_way_ms(member, node))
        .collect();
    seen.sort_unstable_by(f64::total_cmp);
    seen[majority(seen.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One node in each region; the upper triangle of the round trips, by rows.
    fn topology(count: usize, upper: &[f64]) -> Topology {
        let mut rtt_ms = vec![0.0; count * count];
        let mut given = upper.iter();
        for row in 0..count {
            for column in row + 1..count {
                let rtt = *given.next().unwrap();
                rtt_ms[row * count + column] = rtt;
                rtt_ms[column * count + row] = rtt;
            }
        }
        let names = (0..count).map(|region| region.to_string()).collect();
        Topology::new(names, (0..count).collect(), rtt_ms)
    }

    fn all(topology: &Topology) -> Vec<f64> {
        (0..topology.node_count())
            .map(|node| commit_ms(topology, node))
            .collect()
    }

    /// a-b 60, a-c 150, b-c 150. At a: own record at b and back 60; b's promise is here after 30 with b's row, which makes a
    /// majority with this node; c's promise after 75. At c: own record 150, because nobody is nearer.
    #[test]
    fn three_regions_with_one_far_away() {
        assert_eq!(all(&topology(3, &[60.0, 150.0, 150.0])), [75.0, 75.0, 150.0]);
    }

    /// a-b 60, a-c 60, b-c 150. At a: everything is 60 away. At b: own record at a and back 60; c's promise is at a after 30 and
    /// a's row here after 60, but the second row is c's own or this node's, after 75.
    #[test]
    fn three_regions_in_a_row() {
        assert_eq!(all(&topology(3, &[60.0, 60.0, 150.0])), [60.0, 75.0, 75.0]);
    }

    #[test]
    fn all_equally_far_costs_one_round_trip() {
        assert_eq!(all(&topology(3, &[60.0; 3])), [60.0; 3]);
        assert_eq!(all(&topology(5, &[100.0; 10])), [100.0; 5]);
    }

    /// Five on a line, 20 ms of round trip apart. At an end: own record reaches the middle and back 40, and of the other end's
    /// promise every member lies on the way, 40. At the middle: own record reaches both neighbours and back 20; a neighbour's
    /// promise is here after 10, acknowledged by the two of us, and by a third only after 30.
    #[test]
    fn five_on_a_line() {
        let mut upper = Vec::new();
        for row in 0..5_i32 {
            for column in row + 1..5 {
                upper.push(f64::from(20 * (column - row)));
            }
        }
        assert_eq!(all(&topology(5, &upper)), [40.0, 30.0, 30.0, 30.0, 40.0]);
    }

    #[test]
    fn a_node_alone_waits_for_nobody() {
        assert_eq!(all(&topology(1, &[])), [0.0]);
    }
}
