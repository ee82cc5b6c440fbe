//! Which transactions a majority's disks hold: what an answer must rest on.
//!
//! It looks at disks and at answers, and knows nothing of how nodes come to either.

use std::collections::BTreeMap;

use plimsoll::id::TransactionId;

/// For every transaction the nodes whose disks have synced it.
#[derive(Default)]
pub(super) struct Durability {
    /// One bit for each node, by its place.
    held: BTreeMap<TransactionId, u64>,
}

impl Durability {
    /// The disk of `node` has synced a record of the transaction.
    ///
    /// *Panics* beyond 64 nodes.
    pub(super) fn on_synced(&mut self, node: usize, id: TransactionId) {
        *self.held.entry(id).or_default() |= 1 << node;
    }

    /// How many disks hold a transaction.
    pub(super) fn holders(&self, id: TransactionId) -> usize {
        self.held.get(&id).map_or(0, |nodes| nodes.count_ones() as usize)
    }

    /// Whether the disk of `node` holds a transaction.
    pub(super) fn is_on(&self, node: usize, id: TransactionId) -> bool {
        self.held.get(&id).is_some_and(|nodes| nodes & (1 << node) != 0)
    }

    /// *Errors* with how many disks hold a transaction that is being answered, when they are no majority of so many members.
    pub(super) fn check(&self, id: TransactionId, members: usize) -> Result<(), String> {
        let disks = self.holders(id);
        if 2 * disks > members {
            return Ok(());
        }
        Err(format!("answers {id} while {disks} of {members} disks hold it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_rests_on_a_majority_of_disks() {
        let id = TransactionId::from_u128(7);
        let mut durability = Durability::default();
        assert!(durability.check(id, 3).is_err());
        durability.on_synced(1, id);
        durability.on_synced(1, id);
        assert_eq!(
            durability.check(id, 3),
            Err(format!("answers {id} while 1 of 3 disks hold it"))
        );
        durability.on_synced(0, id);
        assert_eq!(durability.check(id, 3), Ok(()));
        assert!(durability.check(id, 4).is_err());
    }
}
