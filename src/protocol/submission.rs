//! Own transactions that wait for their evaluation.
//!
//! The coordinator answers a client once its own replica has evaluated the transaction (section 3.3 of the design).

use std::collections::BTreeMap;

use super::{Refusal, Reply};
use crate::id::{NodeId, RequestId};
use crate::limits::{STREAM_BYTES_KEPT_MAX, UNSTABLE_BYTES_MAX};
use crate::time::Hlc;
use crate::transaction::Settlement;

/// The requests that wait, by the timestamps of their transactions.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Submissions {
    waiting: BTreeMap<Hlc, RequestId>,
}

impl Submissions {
    /// Whether one more may be taken in.
    ///
    /// *Given* how many may wait, and the weight of the own records that a majority does not hold yet, and of those that cannot be dropped yet.
    pub(crate) fn check_capacity(
        &self,
        waiting_max: usize,
        unstable_bytes: usize,
        kept_bytes: usize,
    ) -> Result<(), Refusal> {
        let bounds = [
            (
                "transactions wait for their evaluation",
                self.waiting.len(),
                waiting_max,
            ),
            (
                "bytes of records wait for a majority",
                unstable_bytes,
                UNSTABLE_BYTES_MAX,
            ),
            ("bytes of records wait to be flushed", kept_bytes, STREAM_BYTES_KEPT_MAX),
        ];
        match bounds.into_iter().find(|(_, used, limit)| used >= limit) {
            Some((what, _, limit)) => Err(Refusal::Overloaded {
                what: what.into(),
                limit,
            }),
            None => Ok(()),
        }
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// `request` waits for the transaction at `hlc`.
    pub(crate) fn wait(&mut self, hlc: Hlc, request: RequestId) {
        let before = self.waiting.insert(hlc, request);
        assert!(before.is_none(), "two transactions at {hlc}");
    }

    /// *Gives* the answers of own transactions that were evaluated.
    pub(crate) fn on_evaluated(
        &mut self,
        own: NodeId,
        settlements: Vec<Settlement>,
    ) -> impl Iterator<Item = (RequestId, Reply)> {
        let of_own = settlements
            .into_iter()
            .filter(move |settlement| settlement.record.node == own);
        of_own.filter_map(|settlement| {
            let request = self.waiting.remove(&settlement.record.hlc)?;
            Some((request, Reply::Settled(settlement)))
        })
    }

    /// *Gives* the requests that wait for transactions at or below `bound`, whose outcomes will not be seen here.
    pub(crate) fn cover(&mut self, bound: Hlc) -> impl Iterator<Item = RequestId> {
        let above = self.waiting.split_off(&bound.next());
        std::mem::replace(&mut self.waiting, above).into_values()
    }

    /// The request that waits for the transaction at `hlc`, which is void: it will have another place.
    pub(crate) fn take(&mut self, hlc: Hlc) -> Option<RequestId> {
        self.waiting.remove(&hlc)
    }

    /// *Gives* every request that waits: nobody will answer them here.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = RequestId> {
        std::mem::take(&mut self.waiting).into_values()
    }
}
