//! The laws of the gossip lattice, and what they buy: validity, stability and comparability of what nodes learn.
//!
//! Section 3.2 of the design calls the gossip generalized lattice agreement. The last tests here say what is meant by that, on
//! histories of a whole epoch change of which every node has heard some part, in some order, some of it twice.

use std::collections::{BTreeMap, BTreeSet};

use crdts::CvRDT;
use plimsoll::id::{Epoch, NodeId};
use plimsoll::lattice::{Digest, Matrix, Row};
use plimsoll::quorum::majority;
use plimsoll::time::Hlc;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Few values, so that equal epochs, equal coordinators and equal bounds are common.
fn hlc() -> impl Strategy<Value = Hlc> {
    prop_oneof![0..5_u64, Just(u64::MAX)].prop_map(Hlc::from_bits)
}

fn row_of(node: NodeId) -> impl Strategy<Value = Row> {
    let positions = vec((0..4_u32, hlc()), 0..4);
    let bounds = [hlc(), hlc(), hlc(), hlc()];
    (1..4_u64, positions, bounds, 0..3_u64).prop_map(move |(epoch, positions, bounds, value)| {
        let [evaluated, flushed, wanted, boundary] = bounds;
        let mut row = Row::new(node, Epoch::new(epoch));
        for (coordinator, position) in positions {
            row.raise_position(NodeId::new(coordinator), position);
        }
        Row {
            evaluated,
            flushed,
            wanted,
            digest: Digest { boundary, value },
            ..row
        }
    })
}

fn row() -> impl Strategy<Value = Row> {
    row_of(NodeId::new(1))
}

fn matrix() -> impl Strategy<Value = Matrix> {
    vec((0..4_u32).prop_flat_map(|node| row_of(NodeId::new(node))), 0..8).prop_map(|rows| joined(&rows))
}

fn joined<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Matrix {
    let mut matrix = Matrix::default();
    rows.into_iter().for_each(|row| matrix.join(row));
    matrix
}

fn merged<T: CvRDT + Clone>(a: &T, b: &T) -> T {
    let mut merged = a.clone();
    merged.merge(b.clone());
    merged
}

/// The order of rows, written down from the definition and without the join.
fn is_at_most(a: &Row, b: &Row) -> bool {
    let positions_at_most = a
        .positions
        .iter()
        .all(|(coordinator, position)| *position <= b.position(*coordinator));
    (a.epoch < b.epoch || a.epoch == b.epoch && positions_at_most)
        && a.evaluated <= b.evaluated
        && a.flushed <= b.flushed
        && a.wanted <= b.wanted
        && a.digest <= b.digest
}

/// Some row at or above two others, made field by field and not by joining: each field of `more`, raised where it has to be.
fn upper_bound(a: &Row, b: &Row, more: Row) -> Row {
    let mut bound = more;
    bound.epoch = bound.epoch.max(a.epoch).max(b.epoch);
    for row in [a, b] {
        let same_epoch = row.positions.iter().filter(|_| row.epoch == bound.epoch);
        for (coordinator, position) in same_epoch.copied().collect::<Vec<_>>() {
            bound.raise_position(coordinator, position);
        }
    }
    let rows = [a, b];
    let highest = |of: fn(&Row) -> Hlc| rows.map(of).into_iter().max().expect("two rows");
    bound.evaluated = bound.evaluated.max(highest(|row| row.evaluated));
    bound.flushed = bound.flushed.max(highest(|row| row.flushed));
    bound.wanted = bound.wanted.max(highest(|row| row.wanted));
    bound.digest = bound.digest.max(a.digest).max(b.digest);
    bound
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_join_of_rows_is_associative_commutative_and_idempotent(a in row(), b in row(), c in row()) {
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&a, &a), a);
    }

    #[test]
    fn the_join_of_rows_is_their_least_upper_bound(a in row(), b in row(), more in row()) {
        let join = merged(&a, &b);
        prop_assert!(is_at_most(&a, &join) && is_at_most(&b, &join));
        let bound = upper_bound(&a, &b, more);
        prop_assert!(is_at_most(&a, &bound) && is_at_most(&b, &bound));
        prop_assert!(is_at_most(&join, &bound), "any upper bound is at or above the join");
        prop_assert_eq!(is_at_most(&a, &b) && is_at_most(&b, &a), is_same(&a, &b), "the order tells rows apart");
    }

    #[test]
    fn the_join_is_monotone(a in row(), more in row(), b in row()) {
        let greater = merged(&a, &more);
        prop_assert!(is_at_most(&merged(&a, &b), &merged(&greater, &b)));
    }

    #[test]
    fn a_joined_row_stays_in_order(rows in vec(row(), 1..6)) {
        let join = rows[1..].iter().fold(rows[0].clone(), |join, row| merged(&join, row));
        prop_assert!(join.positions.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn the_join_of_matrices_is_associative_commutative_and_idempotent(a in matrix(), b in matrix(), c in matrix()) {
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&a, &Matrix::default()), a);
    }

    /// Lost and late rows aside, neither order nor repetition nor the way through third nodes matters.
    #[test]
    fn a_matrix_depends_only_on_the_set_of_rows_heard(
        rows in vec((0..4_u32).prop_flat_map(|node| row_of(NodeId::new(node))), 1..10),
        ways in vec((any::<Index>(), 0..3_usize), 0..20),
    ) {
        let mut nodes = [Matrix::default(), Matrix::default(), Matrix::default()];
        let each_once = rows.iter().enumerate().map(|(place, row)| (row, place % 3));
        let repeated = ways.iter().map(|(row, node)| (row.get(&rows), *node));
        for (row, node) in repeated.chain(each_once) {
            nodes[node].join(row);
        }
        let [a, b, c] = nodes;
        prop_assert_eq!(merged(&merged(&b, &c), &a), joined(&rows));
    }
}

/// Equal but for coordinators that are named at [`Hlc::ZERO`], which counts as not being named.
fn is_same(a: &Row, b: &Row) -> bool {
    let named = |row: &Row| -> Vec<_> {
        let positions = row.positions.iter().copied();
        positions.filter(|(_, position)| *position > Hlc::ZERO).collect()
    };
    let plain = |row: &Row| Row {
        positions: named(row),
        ..row.clone()
    };
    plain(a) == plain(b)
}

#[test]
fn rows_of_two_nodes_are_refused() {
    let (a, b) = (
        Row::new(NodeId::new(1), Epoch::FIRST),
        Row::new(NodeId::new(2), Epoch::FIRST),
    );
    let refused = a.validate_merge(&b).expect_err("two nodes");
    assert!(refused.to_string().contains("n1 and n2"), "{refused}");
    assert_eq!(a.validate_merge(&a.clone()), Ok(()));
}

/// The epoch that is observed; the one after it is [`Epoch::next`].
const EPOCH: Epoch = Epoch::FIRST;

/// All rows that the members of an epoch ever gossiped, in the order in which they came about.
#[derive(Clone, Debug)]
struct History {
    members: Vec<NodeId>,
    coordinators: Vec<NodeId>,
    rows: Vec<Row>,
}

impl History {
    /// What `member` ever held of the stream of `coordinator` in the epoch.
    fn held(&self, member: NodeId, coordinator: NodeId) -> Hlc {
        let rows = self.rows.iter().filter(|row| row.node == member && row.epoch == EPOCH);
        rows.map(|row| row.position(coordinator)).max().unwrap_or_default()
    }

    /// The members that ever held the stream of `coordinator` up to `bound`.
    fn holders(&self, coordinator: NodeId, bound: Hlc) -> BTreeSet<NodeId> {
        let members = self.members.iter().copied();
        members
            .filter(|member| self.held(*member, coordinator) >= bound)
            .collect()
    }

    fn stable(&self, matrix: &Matrix) -> BTreeMap<NodeId, Hlc> {
        let coordinators = self.coordinators.iter();
        let stable = coordinators.map(|coordinator| (*coordinator, matrix.stable(EPOCH, &self.members, *coordinator)));
        stable.collect()
    }

    fn watermark(&self, matrix: &Matrix) -> Hlc {
        self.stable(matrix).into_values().min().expect("there is a coordinator")
    }
}

/// One member comes further in one stream, or (rarely) goes on to the next epoch and begins again there.
#[derive(Clone, Debug)]
enum Step {
    Advance { member: Index, coordinator: Index, by: u64 },
    NextEpoch { member: Index },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (any::<Index>(), any::<Index>(), 1..6_u64)
            .prop_map(|(member, coordinator, by)| Step::Advance { member, coordinator, by }),
        1 => any::<Index>().prop_map(|member| Step::NextEpoch { member }),
    ]
}

fn history() -> impl Strategy<Value = History> {
    (1..8_u32, 1..4_u32, vec(step(), 1..80)).prop_map(|(members, coordinators, steps)| {
        let members: Vec<NodeId> = (0..members).map(NodeId::new).collect();
        // A coordinator need not be a member.
        let coordinators: Vec<NodeId> = (0..coordinators).map(|number| NodeId::new(2 * number)).collect();
        let mut current: Vec<Row> = members.iter().map(|member| Row::new(*member, EPOCH)).collect();
        let mut rows = current.clone();
        for step in steps {
            let row = match step {
                Step::Advance {
                    member,
                    coordinator,
                    by,
                } => {
                    let row = &mut current[member.index(members.len())];
                    let coordinator = *coordinator.get(&coordinators);
                    let further = Hlc::from_bits(row.position(coordinator).bits() + by);
                    row.raise_position(coordinator, further);
                    row
                }
                Step::NextEpoch { member } => {
                    let row = &mut current[member.index(members.len())];
                    *row = Row::new(row.node, row.epoch.next());
                    row
                }
            };
            rows.push(row.clone());
        }
        History {
            members,
            coordinators,
            rows,
        }
    })
}

/// What a node that heard some rows, in some order, makes of them.
fn heard(history: &History, heard: &[Index]) -> Matrix {
    joined(heard.iter().map(|row| row.get(&history.rows)))
}

fn some() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Validity: what is learned was proposed, and I-3: a majority really holds it.
    #[test]
    fn what_is_learned_is_held_by_a_majority_and_was_reported(history in history(), some in some()) {
        let matrix = heard(&history, &some);
        for (coordinator, stable) in history.stable(&matrix) {
            prop_assert!(history.holders(coordinator, stable).len() >= majority(history.members.len()));
            let reported = history.rows.iter().any(|row| row.epoch == EPOCH && row.position(coordinator) == stable);
            prop_assert!(reported, "{} at {:?}", coordinator, stable);
        }
    }

    /// Nothing more could have been learned: one higher is not held by a majority of those heard.
    #[test]
    fn what_is_learned_is_the_most_that_the_rows_heard_prove(history in history(), some in some()) {
        let matrix = heard(&history, &some);
        for (coordinator, stable) in history.stable(&matrix) {
            let rows = matrix.rows().filter(|row| row.epoch == EPOCH);
            let further = rows.filter(|row| row.position(coordinator) > stable).count();
            prop_assert!(further < majority(history.members.len()));
        }
    }

    /// Stability: hearing more of the same epoch never takes anything back.
    #[test]
    fn hearing_more_of_the_epoch_never_lowers_what_is_learned(history in history(), some in some(), more in some()) {
        let mut history = history;
        history.rows.retain(|row| row.epoch == EPOCH);
        let before = heard(&history, &some);
        let after = merged(&before, &heard(&history, &more));
        for (coordinator, stable) in history.stable(&after) {
            prop_assert!(stable >= history.stable(&before)[&coordinator]);
        }
        prop_assert!(history.watermark(&after) >= history.watermark(&before));
    }

    /// Comparability: of two nodes that learned watermarks, one knows all transactions that the other knows, because in
    /// every stream one and the same member holds everything below both.
    #[test]
    fn any_two_learned_watermarks_are_comparable(history in history(), one in some(), other in some()) {
        let watermarks = [&one, &other].map(|some| history.watermark(&heard(&history, some)));
        let [low, high] = [watermarks[0].min(watermarks[1]), watermarks[0].max(watermarks[1])];
        for coordinator in &history.coordinators {
            let of_low = history.holders(*coordinator, low);
            let of_high = history.holders(*coordinator, high);
            prop_assert!(of_high.is_subset(&of_low), "the higher one includes the lower");
            prop_assert!(of_high.len() >= majority(history.members.len()));
        }
        // Two majorities that were really heard share a member, so the two nodes learned the same records up to `low`.
        for coordinator in &history.coordinators {
            let witnesses = [&one, &other].map(|some| -> BTreeSet<NodeId> {
                let matrix = heard(&history, some);
                let rows = matrix.rows().filter(|row| row.epoch == EPOCH && row.position(*coordinator) >= low);
                rows.map(|row| row.node).collect()
            });
            let shared = witnesses[0].intersection(&witnesses[1]).count();
            prop_assert!(low == Hlc::ZERO || shared > 0);
        }
    }

    /// The vectors behind two watermarks need not be comparable; their minimum is what makes them so. And a decree's cut, the
    /// pointwise maximum over any majority, is at or above every watermark (I-4).
    #[test]
    fn the_highest_positions_of_any_majority_are_at_or_above_every_watermark(
        history in history(),
        some in some(),
        excluded in any::<u32>(),
    ) {
        let members = &history.members;
        let minority = members.len() - majority(members.len());
        let mut answering: Vec<NodeId> = members.clone();
        for round in 0..minority {
            answering.remove((excluded as usize).rotate_right(4 * round as u32) % answering.len());
        }
        let watermark = history.watermark(&heard(&history, &some));
        for coordinator in &history.coordinators {
            let held = answering.iter().map(|member| history.held(*member, *coordinator));
            prop_assert!(held.max().expect("a majority is not empty") >= watermark);
        }
    }
}

#[test]
fn what_was_learned_of_an_epoch_is_not_learned_again_after_its_members_have_left_it() {
    let members: Vec<NodeId> = (0..3).map(NodeId::new).collect();
    let coordinator = members[0];
    let mut matrix = Matrix::default();
    for member in &members {
        let mut row = Row::new(*member, EPOCH);
        row.raise_position(coordinator, Hlc::from_bits(9));
        matrix.join(&row);
    }
    assert_eq!(matrix.stable(EPOCH, &members, coordinator), Hlc::from_bits(9));
    for member in &members[..2] {
        matrix.join(&Row::new(*member, EPOCH.next()));
    }
    assert_eq!(matrix.stable(EPOCH, &members, coordinator), Hlc::ZERO);
    assert_eq!(matrix.stable(EPOCH.next(), &members, coordinator), Hlc::ZERO);
}

#[test]
fn vectors_of_stable_positions_need_not_be_comparable() {
    let members: Vec<NodeId> = (0..3).map(NodeId::new).collect();
    let row = |member: usize, coordinator: usize| {
        let mut row = Row::new(members[member], EPOCH);
        row.raise_position(members[coordinator], Hlc::from_bits(5));
        row
    };
    let one = joined(&[row(0, 0), row(1, 0)]);
    let other = joined(&[row(1, 1), row(2, 1)]);
    let stable = |matrix: &Matrix, coordinator: usize| matrix.stable(EPOCH, &members, members[coordinator]);
    assert!(stable(&one, 0) > stable(&other, 0) && stable(&one, 1) < stable(&other, 1));
}
