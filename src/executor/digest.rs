//! The fold of everything a replica has evaluated, noted at fixed boundaries.
//!
//! Boundaries are the multiples of [`DIGEST_INTERVAL`] in timestamp time. Only the last boundary below each record, and below the
//! end of a batch, is noted: between them nothing was folded in, so replicas whose batches differ have equal
//! digests at every boundary that both have noted. The wording of panics and decoders is left out, see
//! [`Abort::without_wording`](crate::transaction::Abort::without_wording).

use std::collections::BTreeMap;

use crate::codec;
use crate::key::{Key, Value};
use crate::lattice::Digest;
use crate::limits::DIGEST_INTERVAL;
use crate::time::Hlc;
use crate::transaction::{Outcome, Settlement};

/// The running fold, and the boundaries passed since they were last taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct DigestFold {
    fold: u64,
    noted: Hlc,
    passed: Vec<Digest>,
    buffer: Vec<u8>,
}

impl DigestFold {
    /// A fold that goes on from `value`, where `noted` was the last boundary that was passed.
    pub(crate) fn resume(noted: Hlc, value: u64) -> Self {
        Self {
            fold: value,
            noted,
            ..Self::default()
        }
    }

    /// The last boundary that was passed.
    pub(crate) fn noted(&self) -> Hlc {
        self.noted
    }

    /// The fold of everything so far.
    pub(crate) fn value(&self) -> u64 {
        self.fold
    }

    /// Everything at or below `upto` is folded in.
    pub(crate) fn pass(&mut self, upto: Hlc) {
        let interval = Hlc::ZERO.plus(DIGEST_INTERVAL).bits();
        let boundary = Hlc::from_bits(upto.bits() / interval * interval);
        if boundary > self.noted {
            self.noted = boundary;
            self.passed.push(Digest {
                boundary,
                value: self.fold,
            });
        }
    }

    /// Folds one evaluated record in.
    pub(crate) fn fold(&mut self, settlement: &Settlement, writes: &BTreeMap<Key, Option<Value>>) {
        self.pass(settlement.record.hlc.prev());
        self.buffer.clear();
        let Settlement {
            record,
            id,
            effective,
            outcome,
        } = settlement;
        codec::encode_plain(&(record, id, effective), &mut self.buffer);
        match outcome {
            Outcome::Committed(output) => codec::encode_plain(&(true, output), &mut self.buffer),
            Outcome::Aborted(abort) => {
                codec::encode_plain(&(false, abort.without_wording().as_ref()), &mut self.buffer)
            }
        }
        for write in writes {
            codec::encode_plain(&write, &mut self.buffer);
        }
        self.fold = xxhash_rust::xxh3::xxh3_64_with_seed(&self.buffer, self.fold);
    }

    /// The boundaries passed since this was last asked, ascending.
    pub(crate) fn take_passed(&mut self) -> Vec<Digest> {
        std::mem::take(&mut self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, TransactionId};
    use crate::time::Timestamp;
    use crate::transaction::{Abort, ThunkId};

    fn digest_of(outcome: Outcome) -> u64 {
        let record = Timestamp {
            hlc: Hlc::from_unix_millis(1_800_000_000_000),
            node: NodeId::new(1),
        };
        let mut digest = DigestFold::default();
        digest.fold(
            &Settlement {
                record,
                id: TransactionId::from_u128(1),
                effective: record,
                outcome,
            },
            &BTreeMap::new(),
        );
        digest.fold
    }

    #[test]
    fn a_panic_worded_by_another_compiler_folds_alike_and_a_refusal_in_other_words_does_not() {
        let panicked = |name: &str, message: &str| {
            digest_of(Outcome::Aborted(Abort::Panicked {
                thunk: ThunkId {
                    name: name.into(),
                    version: 1,
                },
                message: message.into(),
            }))
        };
        assert_eq!(
            panicked("t", "index out of bounds"),
            panicked("t", "index 3 is out of bounds")
        );
        assert_ne!(panicked("t", ""), panicked("u", ""));
        let malformed = |text: &str| digest_of(Outcome::Aborted(Abort::Malformed(text.into())));
        assert_eq!(malformed("not a core::Type"), malformed("not a std::Type"));
        let refused = |text: &str| digest_of(Outcome::Aborted(Abort::Refused(text.into())));
        assert_ne!(refused("too little"), refused("too much"));
        assert_ne!(refused(""), malformed(""));
        assert_ne!(
            digest_of(Outcome::Committed("a".into())),
            digest_of(Outcome::Committed("b".into()))
        );
    }
}
