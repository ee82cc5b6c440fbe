//! The outcomes of transaction ids: what makes submitting an id twice harmless.
//!
//! Realises the exactly-once part of section 4 of the design. Everything here depends on ids and timestamps alone, so every
//! replica decides alike (invariant I-10). An outcome may be forgotten once an id of that age is refused anyway.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::id::TransactionId;
use crate::limits::{ID_AHEAD_MAX, OUTCOME_WINDOW};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Outcome};

/// An outcome and where it took effect.
type Settled = (Timestamp, Outcome);

/// The first outcome of every id within the window.
///
/// Kept by the second, of 1,024 ms, in which ids were made, which is also their order. A clone shares the seconds, and only those
/// that one of the two writes to later are copied: there are many outcomes, and nearly all belong to seconds that are over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    by_second: BTreeMap<u64, Arc<BTreeMap<TransactionId, Settled>>>,
}

impl Outcomes {
    /// The first outcome of `id` and where it took effect.
    pub(crate) fn first(&self, id: TransactionId) -> Option<&Settled> {
        self.by_second.get(&second_of(id))?.get(&id)
    }

    /// Whether `id` may take effect at `at`: it is neither older than outcomes are kept nor from the future.
    ///
    /// To be asked before [`first`](Outcomes::first), which says nothing reliable of an id that is too old.
    pub(crate) fn check_age(id: TransactionId, at: Hlc) -> Result<(), Abort> {
        let (made_ms, at_ms) = (id.unix_millis(), at.unix_millis());
        let window_ms = OUTCOME_WINDOW.as_millis() as u64;
        if made_ms.saturating_add(window_ms) < at_ms {
            return Err(Abort::Expired {
                age_ms: at_ms - made_ms,
                window_ms,
            });
        }
        let limit_ms = ID_AHEAD_MAX.as_millis() as u64;
        if made_ms > at_ms.saturating_add(limit_ms) {
            return Err(Abort::FromFuture {
                ahead_ms: made_ms - at_ms,
                limit_ms,
            });
        }
        Ok(())
    }

    /// Whether `id` would be refused as expired at every timestamp above `evaluated`.
    pub(crate) fn is_expired(id: TransactionId, evaluated: Hlc) -> bool {
        matches!(Self::check_age(id, evaluated), Err(Abort::Expired { .. }))
    }

    /// Keeps the first outcome of `id`.
    pub(crate) fn insert(&mut self, id: TransactionId, at: Timestamp, outcome: Outcome) {
        let of_second = Arc::make_mut(self.by_second.entry(second_of(id)).or_default());
        let before = of_second.insert(id, (at, outcome));
        assert!(before.is_none(), "{id} has had an outcome before {at}");
    }

    /// Forgets the outcomes of ids that would be refused as expired at every timestamp above `evaluated`, as far as their second is over.
    pub(crate) fn expire(&mut self, evaluated: Hlc) {
        while let Some(first) = self.by_second.first_entry() {
            match first.get().last_key_value() {
                Some((last, _)) if !Self::is_expired(*last, evaluated) => break,
                _ => first.remove(),
            };
        }
    }

    /// The outcomes that count at the evaluated bound `evaluated`, by id, from behind `after` on. They do not depend on when
    /// [`expire`](Outcomes::expire) was called.
    pub(crate) fn history(
        &self,
        evaluated: Hlc,
        after: Option<TransactionId>,
    ) -> impl Iterator<Item = (TransactionId, &Settled)> {
        let first_second = after.map_or(0, second_of);
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let seconds = self.by_second.range(first_second..);
        seconds
            .flat_map(move |(_, of_second)| of_second.range((behind, Bound::Unbounded)))
            .map(|(id, settled)| (*id, settled))
            .skip_while(move |(id, _)| Self::is_expired(*id, evaluated))
    }
}

/// Which second, of 1,024 ms, an id was made in.
fn second_of(id: TransactionId) -> u64 {
    id.unix_millis() >> 10
}
