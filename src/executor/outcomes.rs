//! The outcomes of transaction ids: what makes submitting an id twice harmless.
//!
//! Realises the exactly-once part of section 4 of the design. Everything here depends on ids and timestamps alone, so every
//! replica decides alike (invariant I-10). An outcome may be forgotten once an id of that age is refused anyway.

use std::collections::BTreeMap;

use crate::id::TransactionId;
use crate::limits::{ID_AHEAD_MAX, OUTCOME_WINDOW};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Outcome};

/// The first outcome of every id within the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    by_id: BTreeMap<TransactionId, (Timestamp, Outcome)>,
}

impl Outcomes {
    /// The first outcome of `id` and where it took effect.
    pub(crate) fn first(&self, id: TransactionId) -> Option<&(Timestamp, Outcome)> {
        self.by_id.get(&id)
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

    /// Keeps the first outcome of `id`.
    pub(crate) fn insert(&mut self, id: TransactionId, at: Timestamp, outcome: Outcome) {
        let before = self.by_id.insert(id, (at, outcome));
        assert!(before.is_none(), "{id} has had an outcome before {at}");
    }

    /// Forgets the outcomes of ids that would be refused as expired at every timestamp above `evaluated`.
    pub(crate) fn expire(&mut self, evaluated: Hlc) {
        while let Some(first) = self.by_id.first_entry() {
            match Self::check_age(*first.key(), evaluated) {
                Err(Abort::Expired { .. }) => first.remove(),
                _ => break,
            };
        }
    }
}
