//! Reads that wait for their snapshot.
//!
//! Realises section 3.4 of the design. A strict read takes a fresh promise from the own clock and waits until the
//! watermark and the evaluated bound have passed it: the majority that acknowledged the promise did so after the read
//! began, and everything answered before lies below it. The other modes wait for a bound that is known already, or not at all.
//!
//! A strict read belongs to the epoch of its promise: a watermark of a later epoch proves nothing about it.

use std::collections::BTreeMap;

use super::{Effect, Query, Refusal};
use crate::id::RequestId;
use crate::limits::READS_WAITING_MAX;
use crate::time::Hlc;

/// The reads that wait, by the bound that must be evaluated.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Reads {
    waiting: BTreeMap<(Hlc, RequestId), Waiting>,
}

#[derive(Clone, Debug, Hash)]
struct Waiting {
    query: Query,
    snapshot: Snapshot,
}

/// Which snapshot a read gets once its bound is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Snapshot {
    /// The one at its bound.
    AtBound,
    /// The one at its bound, which is a promise of this epoch and proves nothing in another.
    AtPromise,
    /// The latest: the one at the evaluated bound.
    Latest,
}

impl Reads {
    /// Whether one more may be taken in.
    pub(crate) fn check_capacity(&self) -> Result<(), Refusal> {
        if self.waiting.len() >= READS_WAITING_MAX {
            return Err(Refusal::Overloaded {
                what: "reads wait for their snapshot".into(),
                limit: READS_WAITING_MAX,
            });
        }
        Ok(())
    }

    /// `request` waits until everything up to `bound` is evaluated.
    pub(crate) fn wait(&mut self, bound: Hlc, request: RequestId, query: Query, snapshot: Snapshot) {
        self.waiting.insert((bound, request), Waiting { query, snapshot });
    }

    /// Adds the reads to `effects` whose bound is at or below `evaluated`.
    pub(crate) fn take_ready(&mut self, evaluated: Hlc, effects: &mut Vec<Effect>) {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= evaluated) {
            let ((bound, request), Waiting { query, snapshot }) = first.remove_entry();
            let at = match snapshot {
                Snapshot::AtBound | Snapshot::AtPromise => bound,
                Snapshot::Latest => evaluated,
            };
            effects.push(Effect::Read { request, at, query });
        }
    }

    /// Takes the reads that wait for a promise of the epoch that has ended: they start over.
    pub(crate) fn take_strict(&mut self) -> Vec<(RequestId, Query)> {
        let is_strict = |_: &(Hlc, RequestId), waiting: &mut Waiting| waiting.snapshot == Snapshot::AtPromise;
        self.waiting
            .extract_if(.., is_strict)
            .map(|((_, request), waiting)| (request, waiting.query))
            .collect()
    }

    /// *Gives* every request that waits: nobody will answer them here.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = RequestId> {
        std::mem::take(&mut self.waiting)
            .into_keys()
            .map(|(_, request)| request)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::hlc;
    use super::*;

    #[test]
    fn each_read_gets_its_snapshot_once_its_bound_is_evaluated() {
        let mut reads = Reads::default();
        reads.wait(hlc(5), RequestId(1), Query::default(), Snapshot::AtBound);
        reads.wait(hlc(5), RequestId(2), Query::default(), Snapshot::Latest);
        reads.wait(hlc(8), RequestId(3), Query::default(), Snapshot::Latest);
        let mut effects = Vec::new();
        reads.take_ready(hlc(4), &mut effects);
        assert_eq!(effects, []);
        reads.take_ready(hlc(6), &mut effects);
        let read = |request, at| Effect::Read {
            request: RequestId(request),
            at: hlc(at),
            query: Query::default(),
        };
        assert_eq!(effects, [read(1, 5), read(2, 6)]);
        assert_eq!(reads.abandon().collect::<Vec<_>>(), [RequestId(3)]);
    }
}
