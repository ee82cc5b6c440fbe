//! The outcomes of transaction ids: what makes submitting an id twice harmless.
//!
//! Realises the exactly-once part of section 4 of the design. Everything here depends on ids and timestamps alone, so every
//! replica decides alike (invariant I-10). An outcome may be forgotten once an id of that age is refused anyway.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::time::Duration;

use crate::id::TransactionId;
use crate::limits::{ID_AHEAD_MAX, OUTCOME_WINDOW};
use crate::store::versions::Settled;
use crate::store::{History, OutcomeVisitor, Versions};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Outcome};

/// An outcome and where it took effect.
pub(super) type Ended = (Timestamp, Outcome);

/// Timestamp time for which outcomes stay in memory that are on disk as well, by the time in their ids: nearly every id that is evaluated is
/// younger, and need not be looked for there.
const IN_MEMORY: Duration = Duration::from_secs(15);

/// The first outcome of every id within the window; or, where versions are kept on disk, of every id that is young or not flushed.
///
/// Kept by the second, of 1,024 ms, in which ids were made, which is also their order. A clone shares the seconds, and only those
/// that one of the two writes to later are copied: there are many outcomes, and nearly all belong to seconds that are over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes {
    by_second: BTreeMap<u64, Arc<BTreeMap<TransactionId, Ended>>>,
    flushes: Flushes,
}

/// What of the outcomes is on disk.
#[derive(Clone, Debug, Default)]
enum Flushes {
    /// They are never flushed.
    #[default]
    Never,
    Into {
        /// Not handed to a flush yet.
        unflushed: Vec<Settled>,
        /// Handed to the flush that has not ended.
        flushing: Arc<Vec<Settled>>,
        /// Ids of earlier seconds may have their outcomes on disk alone.
        released: u64,
    },
}

impl Outcomes {
    /// The first outcome of `id` and where it took effect.
    pub(crate) fn first(&self, id: TransactionId) -> Option<&Ended> {
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
        if let Flushes::Into { unflushed, .. } = &mut self.flushes {
            // A copy, so that a flush, which takes them all at once, has nothing to look up.
            unflushed.push(Settled {
                id,
                effective: at,
                outcome: outcome.clone(),
            });
        }
        let of_second = Arc::make_mut(self.by_second.entry(second_of(id)).or_default());
        let before = of_second.insert(id, (at, outcome));
        assert!(before.is_none(), "{id} has had an outcome before {at}");
    }

    /// Outcomes of which those that are older than they need be in memory are on disk, where everything up to `evaluated` is.
    pub(super) fn on_disk(evaluated: Hlc) -> Self {
        Self {
            by_second: BTreeMap::new(),
            flushes: Flushes::Into {
                unflushed: Vec::new(),
                flushing: Arc::default(),
                released: released_at(evaluated),
            },
        }
    }

    /// From now on they are flushed, all that there are being new.
    pub(super) fn flush_from_now_on(&mut self) {
        if matches!(self.flushes, Flushes::Never) {
            let ended = self.by_second.values().flat_map(|of_second| of_second.iter());
            let settled = ended.map(|(id, (effective, outcome))| Settled {
                id: *id,
                effective: *effective,
                outcome: outcome.clone(),
            });
            self.flushes = Flushes::Into {
                unflushed: settled.collect(),
                flushing: Arc::default(),
                released: 0,
            };
        }
    }

    /// Keeps an outcome that was read from the disk.
    pub(super) fn load(&mut self, id: TransactionId, ended: Ended) {
        Arc::make_mut(self.by_second.entry(second_of(id)).or_default()).insert(id, ended);
    }

    /// Behind this id all outcomes on disk are in memory too; none: not even the first need be. *Given* that they are flushed.
    pub(super) fn released_upto(&self) -> Option<TransactionId> {
        match self.flushes {
            Flushes::Into { released, .. } if released > 0 => {
                let first_behind = u128::from(released << 10) << 80;
                Some(TransactionId::from_u128(first_behind - 1))
            }
            _ => None,
        }
    }

    /// Whether the outcome of `id`, should it have one, may be on disk alone.
    pub(super) fn is_released(&self, id: TransactionId) -> bool {
        matches!(self.flushes, Flushes::Into { released, .. } if second_of(id) < released)
    }

    /// The outcomes that are new since this was last called, for a flush, in the order in which they were evaluated.
    pub(super) fn begin_flush(&mut self) -> Arc<Vec<Settled>> {
        let Flushes::Into {
            unflushed, flushing, ..
        } = &mut self.flushes
        else {
            return Arc::default();
        };
        assert!(flushing.is_empty(), "a flush begins before the last one has ended");
        *flushing = Arc::new(std::mem::take(unflushed));
        Arc::clone(flushing)
    }

    /// The flush is durable, with everything up to `flushed`: what need not be in memory is released.
    pub(super) fn flush_succeeded(&mut self, flushed: Hlc) {
        let Flushes::Into {
            unflushed,
            flushing,
            released,
        } = &mut self.flushes
        else {
            return;
        };
        *flushing = Arc::default();
        *released = released_at(flushed).max(*released);
        self.by_second = self.by_second.split_off(released);
        for settled in unflushed.iter().filter(|settled| second_of(settled.id) < *released) {
            let of_second = self.by_second.entry(second_of(settled.id)).or_default();
            let ended = (settled.effective, settled.outcome.clone());
            Arc::make_mut(of_second).insert(settled.id, ended);
        }
    }

    /// The flush did not take place.
    pub(super) fn flush_failed(&mut self) {
        if let Flushes::Into {
            unflushed, flushing, ..
        } = &mut self.flushes
        {
            let newer = std::mem::replace(unflushed, Arc::unwrap_or_clone(std::mem::take(flushing)));
            unflushed.extend(newer);
        }
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
    ) -> impl Iterator<Item = (TransactionId, &Ended)> {
        let first_second = after.map_or(0, second_of);
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let seconds = self.by_second.range(first_second..);
        seconds
            .flat_map(move |(_, of_second)| of_second.range((behind, Bound::Unbounded)))
            .map(|(id, ended)| (*id, ended))
            .skip_while(move |(id, _)| Self::is_expired(*id, evaluated))
    }
}

/// All outcomes that are known: those in memory, and those on disk beside the versions.
pub(super) struct Ledger<'a, V> {
    pub(super) outcomes: &'a Outcomes,
    pub(super) versions: &'a V,
}

impl<V: Versions> Ledger<'_, V> {
    /// The first outcome of `id` and where it took effect, see [`Outcomes::check_age`].
    pub(super) fn first(&self, id: TransactionId) -> Option<Ended> {
        match self.outcomes.first(id) {
            Some(ended) => Some(ended.clone()),
            None if self.outcomes.is_released(id) => self.versions.outcome(id),
            None => None,
        }
    }
}

impl<V: History> Ledger<'_, V> {
    /// Shows the outcomes that count at the evaluated bound, by id, from behind `after` on, until `visit` breaks.
    pub(super) fn history(&self, after: Option<TransactionId>, visit: &mut OutcomeVisitor<'_>) {
        let evaluated = self.versions.evaluated();
        let mut in_memory = self.outcomes.history(evaluated, after).peekable();
        let mut flow = ControlFlow::Continue(());
        self.versions.settled(after, &mut |id, effective, outcome| {
            while let Some((young, (effective, outcome))) = in_memory.next_if(|(young, _)| *young <= id) {
                flow = visit(young, *effective, outcome);
                if flow.is_break() || young == id {
                    return flow;
                }
            }
            if !Outcomes::is_expired(id, evaluated) {
                flow = visit(id, effective, outcome);
            }
            flow
        });
        if flow.is_continue() {
            let _ = in_memory.try_for_each(|(id, (effective, outcome))| visit(id, *effective, outcome));
        }
    }
}

/// Ids of seconds below this one need not be in memory where everything up to `flushed` is on disk.
fn released_at(flushed: Hlc) -> u64 {
    flushed.minus(IN_MEMORY).unix_millis() >> 10
}

/// Which second, of 1,024 ms, an id was made in.
fn second_of(id: TransactionId) -> u64 {
    id.unix_millis() >> 10
}
