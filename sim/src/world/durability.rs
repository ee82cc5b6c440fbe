//! Which transactions a majority's disks hold: what an answer must rest on.
//!
//! It looks at disks, memberships and answers, and knows nothing of how nodes come to any of them.

use std::collections::BTreeMap;

use plimsoll::id::{Epoch, TransactionId};

/// Nodes by their places, one bit each.
type Nodes = u64;

/// For every transaction the nodes whose disks have synced it, by the epoch of the record.
#[derive(Default)]
pub(super) struct Durability {
    /// Nearly always one epoch.
    held: BTreeMap<TransactionId, Vec<(Epoch, Nodes)>>,
    members: BTreeMap<Epoch, Nodes>,
}

impl Durability {
    /// These nodes are the members of an epoch.
    ///
    /// *Panics* beyond 64 nodes.
    pub(super) fn on_epoch(&mut self, epoch: Epoch, members: impl Iterator<Item = usize>) {
        let members = || members.fold(0, |nodes, node| nodes | 1 << node);
        self.members.entry(epoch).or_insert_with(members);
    }

    /// The disk of `node` has synced a record of the transaction.
    ///
    /// *Panics* beyond 64 nodes.
    pub(super) fn on_synced(&mut self, node: usize, epoch: Epoch, id: TransactionId) {
        let held = self.held.entry(id).or_default();
        match held.iter_mut().find(|(of, _)| *of == epoch) {
            Some((_, nodes)) => *nodes |= 1 << node,
            None => held.push((epoch, 1 << node)),
        }
    }

    /// How many disks hold a transaction.
    pub(super) fn holders(&self, id: TransactionId) -> usize {
        self.nodes(id).count_ones() as usize
    }

    /// Whether the disk of `node` holds a transaction.
    pub(super) fn is_on(&self, node: usize, id: TransactionId) -> bool {
        self.nodes(id) & (1 << node) != 0
    }

    fn nodes(&self, id: TransactionId) -> Nodes {
        let held = self.held.get(&id).into_iter().flatten();
        held.fold(0, |all, (_, nodes)| all | nodes)
    }

    /// *Errors* with how many disks hold a transaction that is being answered, when in no epoch a majority of its members holds a record
    /// of it.
    pub(super) fn check(&self, id: TransactionId) -> Result<(), String> {
        let mut counts = Vec::new();
        for (epoch, nodes) in self.held.get(&id).into_iter().flatten() {
            let members = self.members.get(epoch).copied().unwrap_or_default();
            let (disks, of) = ((nodes & members).count_ones(), members.count_ones());
            if 2 * disks > of {
                return Ok(());
            }
            counts.push(format!("{disks} of {of} disks hold it in {epoch}"));
        }
        let counts = match counts.is_empty() {
            true => "no disk holds it".to_owned(),
            false => counts.join(", "),
        };
        Err(format!("answers {id} while {counts}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = TransactionId::from_u128(7);

    #[test]
    fn an_answer_rests_on_a_majority_of_disks() {
        let mut durability = Durability::default();
        durability.on_epoch(Epoch::FIRST, 0..3);
        assert!(durability.check(ID).is_err());
        durability.on_synced(1, Epoch::FIRST, ID);
        durability.on_synced(1, Epoch::FIRST, ID);
        let counts = format!("answers {ID} while 1 of 3 disks hold it in {}", Epoch::FIRST);
        assert_eq!(durability.check(ID), Err(counts));
        durability.on_synced(0, Epoch::FIRST, ID);
        assert_eq!(durability.check(ID), Ok(()));
    }

    #[test]
    fn disks_of_nodes_that_are_no_members_do_not_count_and_neither_do_those_of_two_epochs_together() {
        let second = Epoch::FIRST.next();
        let mut durability = Durability::default();
        durability.on_epoch(Epoch::FIRST, 0..3);
        durability.on_epoch(second, 1..4);
        durability.on_synced(0, Epoch::FIRST, ID);
        durability.on_synced(3, Epoch::FIRST, ID);
        durability.on_synced(1, second, ID);
        assert!(durability.check(ID).is_err());
        durability.on_synced(3, second, ID);
        assert_eq!(durability.check(ID), Ok(()));
        assert_eq!((durability.holders(ID), durability.is_on(2, ID)), (3, false));
    }
}
