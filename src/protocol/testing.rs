//! Small values for the unit tests of the protocol.

use std::sync::Arc;

use crate::id::{NodeId, TransactionId};
use crate::time::Hlc;
use crate::transaction::{Record, ThunkId, Transaction};

/// Milliseconds since the Unix epoch at which the tests' time begins.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// A small position.
pub(crate) fn hlc(place: u64) -> Hlc {
    Hlc::from_bits(place)
}

/// The record at a small position.
pub(crate) fn record(place: u64) -> Arc<Record> {
    Arc::new(Record {
        hlc: hlc(place),
        transaction: transaction(place),
    })
}

/// A transaction that is told apart by its number.
pub(crate) fn transaction(number: u64) -> Transaction {
    Transaction {
        id: TransactionId::from_parts(START_MS, [number as u8; 10]),
        thunk: ThunkId {
            name: "test".into(),
            version: 1,
        },
        arguments: Default::default(),
        footprint: Default::default(),
    }
}

/// The node with this number.
pub(crate) fn node(number: u32) -> NodeId {
    NodeId::new(number)
}
