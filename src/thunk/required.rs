//! Which code a transaction needs where it is evaluated.

use super::Guarded;
use crate::codec;
use crate::transaction::{ThunkId, Transaction};

/// The thunks without which `transaction` cannot be evaluated: its own, and the one that its arguments name where it is
/// [guarded](Guarded).
///
/// What a thunk [calls](super::Evaluation::call) by its type is part of its own code and is not among them.
pub fn required(transaction: &Transaction) -> impl Iterator<Item = ThunkId> {
    let is_guarded = Guarded::is(&transaction.thunk);
    // Arguments that cannot be decoded abort the transaction, which needs no other code.
    let guarded = is_guarded.then(|| codec::decode_value::<Guarded>(&transaction.arguments));
    let guarded = guarded.and_then(Result::ok).map(|guarded| guarded.guarded());
    std::iter::once(transaction.thunk.clone()).chain(guarded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TransactionId;
    use crate::key::Value;
    use crate::thunk::Guards;
    use crate::transaction::Footprint;

    fn thunk(name: &str, version: u32) -> ThunkId {
        let name = name.into();
        ThunkId { name, version }
    }

    fn needs(thunk: ThunkId, arguments: Value) -> Vec<ThunkId> {
        let transaction = Transaction {
            id: TransactionId::from_u128(1),
            thunk,
            arguments,
            footprint: Footprint::default(),
        };
        required(&transaction).collect()
    }

    #[test]
    fn a_guarded_transaction_needs_the_guarded_thunk_and_another_only_its_own() {
        let (inner, outer) = (thunk("transfer", 2), ThunkId::of::<Guarded>());
        assert_eq!(needs(inner.clone(), Value::default()), vec![inner.clone()]);
        let guarded = Guarded::new(&inner, Value::default(), Guards::default(), None);
        let arguments = codec::encode_value(&guarded).expect("small");
        assert_eq!(needs(outer.clone(), arguments), [outer.clone(), inner]);
        assert_eq!(needs(outer.clone(), "no such arguments".into()), [outer]);
    }
}
