//! The order of the keys of a layer, for whoever asks for it.
//!
//! Who reads and writes single keys needs none, and to keep one would be a large part of what a write costs. So it is made of all keys at once
//! when somebody asks; if a new key comes after that, it is kept from then on, as who scans once scans again. The layer that follows begins
//! likewise: with the order kept if somebody has asked for it, and without one otherwise.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use indexmap::IndexMap;

use super::super::chain::Chain;
use crate::key::Key;

/// The keys of a layer and their versions, in the order in which the keys came.
pub(super) type Chains = IndexMap<Key, Chain>;

/// Chains by their keys, ascending.
pub(super) type Ordered<'a> = Box<dyn DoubleEndedIterator<Item = (&'a Key, &'a Chain)> + 'a>;

/// Where the chains of a layer are in the order of their keys.
#[derive(Debug)]
pub(super) enum Order {
    /// Made of the keys there are when somebody asks.
    Made(OnceLock<Vec<usize>>),
    /// Kept with every new key.
    Kept {
        places: BTreeMap<Key, usize>,
        is_asked: AtomicBool,
    },
}

impl Default for Order {
    fn default() -> Self {
        Self::Made(OnceLock::new())
    }
}

impl Order {
    /// That of the layer which follows.
    pub(super) fn next(&self) -> Self {
        match self {
            Self::Kept { is_asked, .. } if is_asked.load(Ordering::Relaxed) => Self::Kept {
                places: BTreeMap::new(),
                is_asked: AtomicBool::new(false),
            },
            _ => Self::default(),
        }
    }

    /// A chain has come to `chains`, as their last.
    pub(super) fn add_last(&mut self, chains: &Chains) {
        let named = |place: usize| {
            let (key, _) = chains.get_index(place).expect("it is the place of a chain");
            (key.clone(), place)
        };
        let last = chains.len() - 1;
        match self {
            Self::Made(made) => {
                if let Some(before) = made.take() {
                    *self = Self::Kept {
                        places: before.into_iter().chain([last]).map(named).collect(),
                        is_asked: AtomicBool::new(true),
                    };
                }
            }
            Self::Kept { places, .. } => {
                let (key, place) = named(last);
                places.insert(key, place);
            }
        }
    }

    /// The chains between two keys.
    ///
    /// *Given* all chains, and bounds of which the first is not above the second.
    pub(super) fn between<'a>(&'a self, chains: &'a Chains, (start, end): (Bound<&Key>, Bound<&Key>)) -> Ordered<'a> {
        match self {
            Self::Made(made) => {
                let at = |place: usize| chains.get_index(place).expect("it is the place of a chain");
                let sorted = made.get_or_init(|| {
                    let mut places: Vec<usize> = (0..chains.len()).collect();
                    places.sort_unstable_by_key(|place| at(*place).0);
                    places
                });
                let first = match start {
                    Bound::Unbounded => 0,
                    Bound::Included(start) => sorted.partition_point(|place| at(*place).0 < start),
                    Bound::Excluded(start) => sorted.partition_point(|place| at(*place).0 <= start),
                };
                let behind = match end {
                    Bound::Unbounded => sorted.len(),
                    Bound::Included(end) => sorted.partition_point(|place| at(*place).0 <= end),
                    Bound::Excluded(end) => sorted.partition_point(|place| at(*place).0 < end),
                };
                Box::new(sorted[first..behind].iter().map(move |place| at(*place)))
            }
            Self::Kept { places, is_asked } => {
                is_asked.store(true, Ordering::Relaxed);
                let places = places.range((start, end));
                Box::new(places.map(|(key, place)| (key, &chains[*place])))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::NodeId;
    use crate::time::{Hlc, Timestamp};

    fn add(chains: &mut Chains, order: &mut Order, key: Key) {
        let at = Timestamp {
            hlc: Hlc::from_bits(1),
            node: NodeId::new(1),
        };
        if chains.insert(key, Chain::new((at, None))).is_none() {
            order.add_last(chains);
        }
    }

    fn is_kept(order: &Order) -> bool {
        matches!(order, Order::Kept { .. })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(Key),
        Ask(Bound<Key>, Bound<Key>),
    }

    fn key() -> impl Strategy<Value = Key> {
        proptest::collection::vec(0..3_u8, 0..4).prop_map(Key::new)
    }

    fn bound() -> impl Strategy<Value = Bound<Key>> {
        prop_oneof![
            Just(Bound::Unbounded),
            key().prop_map(Bound::Included),
            key().prop_map(Bound::Excluded),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => key().prop_map(Step::Add),
            1 => (bound(), bound()).prop_map(|(start, end)| Step::Ask(start, end)),
        ]
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_a_tree_whenever_somebody_asks(
            begins_kept in any::<bool>(),
            steps in proptest::collection::vec(step(), 0..60),
        ) {
            let (mut chains, mut order, mut tree) = (Chains::default(), Order::default(), BTreeMap::new());
            if begins_kept {
                order = Order::Kept { places: BTreeMap::new(), is_asked: AtomicBool::new(false) };
            }
            for step in steps {
                match step {
                    Step::Add(key) => {
                        tree.insert(key.clone(), ());
                        add(&mut chains, &mut order, key);
                    }
                    Step::Ask(start, end) => {
                        let bounds = (start.as_ref(), end.as_ref());
                        // A tree panics where the bounds cross, and nobody asks for that.
                        let (low, high) = match (&start, &end) {
                            (Bound::Unbounded, _) | (_, Bound::Unbounded) => (0, 1),
                            (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
                                (usize::from(low >= high), 1)
                            }
                        };
                        if low < high {
                            let expected: Vec<&Key> = tree.range::<Key, _>(bounds).map(|(key, ())| key).collect();
                            let found: Vec<&Key> = order.between(&chains, bounds).map(|(key, _)| key).collect();
                            prop_assert_eq!(&found, &expected);
                            let backward: Vec<&Key> = order.between(&chains, bounds).rev().map(|(key, _)| key).collect();
                            prop_assert!(backward.iter().eq(expected.iter().rev()));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_order_is_kept_from_the_first_new_key_after_somebody_asked_until_nobody_does_any_more() {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let (mut chains, mut order) = (Chains::default(), Order::default());
        add(&mut chains, &mut order, "a".into());
        assert_eq!(order.between(&chains, all).count(), 1);
        assert!(!is_kept(&order) && !is_kept(&order.next()), "nothing has come since");
        add(&mut chains, &mut order, "b".into());
        assert!(is_kept(&order) && is_kept(&order.next()));

        let (mut chains, mut order) = (Chains::default(), order.next());
        add(&mut chains, &mut order, "c".into());
        assert!(!is_kept(&order.next()), "nobody has asked");
        assert_eq!(order.between(&chains, all).count(), 1);
        assert!(is_kept(&order.next()));
    }
}
