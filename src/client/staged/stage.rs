//! What a stage reads through.

use serde::de::DeserializeOwned;

use super::Mailbox;
use crate::codec;
use crate::key::{Key, KeyRange, Value};
use crate::protocol::{Query, Scan};
use crate::thunk::{Direction, other_type};
use crate::transaction::Abort;

/// The snapshot that one run of the stages reads. Everything that is read is guarded: see [`start`](super::start).
///
/// A clone reads the same snapshot. Reads that do not depend on each other may be awaited together.
#[derive(Clone)]
pub struct Stage {
    mailbox: Mailbox,
    run: u32,
}

impl Stage {
    pub(super) fn new(mailbox: Mailbox, run: u32) -> Self {
        Self { mailbox, run }
    }

    /// Which run of the stages this is, from 1.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// The value at `key`; absent where there is none.
    pub async fn get(&self, key: impl Into<Key>) -> Option<Value> {
        let found = self.get_all([key.into()]).await;
        found.into_iter().next().flatten()
    }

    /// The values at `keys`, in their order, by one read.
    pub async fn get_all(&self, keys: impl IntoIterator<Item = Key>) -> Vec<Option<Value>> {
        let answer = self.mailbox.read(self.run, Query::keys(keys)).await;
        answer
            .keys
            .into_iter()
            .map(|found| found.map(|versioned| versioned.value))
            .collect()
    }

    /// The value at `key`, decoded from the encoding of [`Evaluation::put_as`](crate::thunk::Evaluation::put_as).
    ///
    /// *Errors* when the stored value is of another type; passed on by the closure it is a refusal.
    pub async fn get_as<T: DeserializeOwned>(&self, key: impl Into<Key>) -> Result<Option<T>, Abort> {
        let key = key.into();
        let found = self.get(key.clone()).await;
        let decoded = found.as_ref().map(codec::decode_value).transpose();
        decoded.map_err(|error| other_type(&key, &error))
    }

    /// The first `limit` entries of `range` in this direction.
    pub async fn scan(&self, range: KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Value)> {
        let scan = Scan {
            range,
            limit,
            direction,
        };
        let answer = self.mailbox.read(self.run, Query::scan(scan)).await;
        let entries = answer.ranges.into_iter().flatten();
        entries.map(|(key, versioned)| (key, versioned.value)).collect()
    }
}
