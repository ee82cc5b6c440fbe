//! The last stage of a staged transaction: a thunk, and guards over what the earlier stages saw.
//!
//! Realises the staged transactions of section 4 of the design, on the replicas. At the transaction's timestamp the guards are
//! checked: if nothing that was seen has changed, everything happened at that one timestamp; else the transaction is [stale](Abort::Stale), the
//! same on every replica, and whoever submitted it runs its stages again. What runs them is `client::staged`; tests are in `tests/staged/`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Evaluation, FootprintError, Guards, Registry, Reservations, Reserve, Resolve, Thunk, UnknownThunk, View};
use crate::codec;
use crate::id::TransactionId;
use crate::key::{Key, Value};
use crate::time::Timestamp;
use crate::transaction::{Abort, Footprint, Outcome, ThunkId, Transaction};

/// A thunk with guards. Its output is that of the thunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    name: String,
    version: u32,
    arguments: Value,
    guards: Guards,
    /// Whose reservation ends with this, and who yields to senior ones only.
    holder: Option<TransactionId>,
}

/// The end of a staged transaction whose stages have refused: nothing is written, and the refusal is guarded like a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// Why.
    pub reason: String,
}

impl Thunk for Refuse {
    const NAME: &'static str = "plimsoll.refuse";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<(), Abort> {
        Err(Abort::Refused(self.reason.clone()))
    }
}

impl Guarded {
    /// `thunk` with these encoded arguments, if what `guards` say is still so; for whom a reservation was made, if one was.
    pub fn new(thunk: &ThunkId, arguments: Value, guards: Guards, holder: Option<TransactionId>) -> Self {
        Self {
            name: (*thunk.name).to_owned(),
            version: thunk.version,
            arguments,
            guards,
            holder,
        }
    }

    /// Whether `thunk` is this one.
    pub fn is(thunk: &ThunkId) -> bool {
        &*thunk.name == Self::NAME && thunk.version == Self::VERSION
    }

    /// The thunk that is guarded.
    pub fn guarded(&self) -> ThunkId {
        ThunkId {
            name: self.name.as_str().into(),
            version: self.version,
        }
    }

    /// Its encoded arguments.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// What the thunk may touch, what is guarded, and the reservations.
    ///
    /// *Errors* as [`Registry::footprint`].
    pub(super) fn whole_footprint(&self, registry: &Registry) -> Result<Footprint, FootprintError> {
        let footprint = self.guards.added_to(self.inner_footprint(registry)?);
        Ok(match self.holder {
            Some(_) => footprint.write(Reservations::key()),
            None => footprint.read(Reservations::key()),
        })
    }

    fn inner_footprint(&self, registry: &Registry) -> Result<Footprint, FootprintError> {
        let thunk = self.guarded();
        if Self::is(&thunk) || Resolve::is(&thunk) || thunk == ThunkId::of::<Reserve>() {
            return Err(FootprintError::NotGuardable { thunk });
        }
        registry.footprint(&thunk, &self.arguments)
    }

    /// Evaluates `transaction`, which is of this thunk, at `now` over `view`.
    ///
    /// *Errors* when the guarded thunk is not registered: nothing can be said of the outcome.
    pub(super) fn evaluate_in(
        registry: &Registry,
        transaction: &Transaction,
        now: Timestamp,
        view: &dyn View,
    ) -> Result<(Outcome, BTreeMap<Key, Option<Value>>), UnknownThunk> {
        let aborted = |abort: Abort| Ok((Outcome::Aborted(abort.within_bounds()), BTreeMap::new()));
        let guarded: Self = match codec::decode_value(&transaction.arguments) {
            Ok(guarded) => guarded,
            Err(error) => return aborted(Abort::Malformed(format!("arguments: {error}"))),
        };
        let footprint = match guarded.inner_footprint(registry) {
            Ok(footprint) => footprint,
            Err(FootprintError::UnknownThunk(unknown)) => return Err(unknown),
            Err(error) => return aborted(Abort::Malformed(error.to_string())),
        };
        let reservations = match guarded.admit(&footprint, view, now) {
            Ok(reservations) => reservations,
            Err(abort) => return aborted(abort),
        };
        let inner = Transaction {
            id: transaction.id,
            thunk: guarded.guarded(),
            arguments: guarded.arguments,
            footprint,
        };
        let (outcome, mut writes) = registry.evaluate(&inner, now, view)?;
        if let (Outcome::Committed(_), Some(holder)) = (&outcome, guarded.holder) {
            let mut reservations = reservations;
            if reservations.release(holder) {
                writes.insert(Reservations::key(), reservations.encode());
            }
        }
        Ok((outcome, writes))
    }

    /// Whether the thunk may be evaluated at `now`. *Gives* the reservations that hold then.
    fn admit(&self, footprint: &Footprint, view: &dyn View, now: Timestamp) -> Result<Reservations, Abort> {
        self.guards.check(view, now)?;
        let reservations = Reservations::read(view, now.hlc)?;
        match reservations.in_the_way(self.holder, &footprint.writes) {
            None => Ok(reservations),
            Some((reservation, key)) => Err(Abort::Reserved {
                key: key.clone(),
                by: reservation.holder,
                until: reservation.until,
            }),
        }
    }
}

impl Thunk for Guarded {
    const NAME: &'static str = "plimsoll.guarded";
    const VERSION: u32 = 1;
    type Output = ();

    /// What is guarded. The registry, which knows the other thunk, comes before.
    fn footprint(&self) -> Footprint {
        self.guards.added_to(Footprint::new())
    }

    /// Refuses: the registry comes before. This is reached when another thunk calls it.
    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<(), Abort> {
        Err(Abort::Refused(format!(
            "{} is a transaction by itself: submit it, other thunks cannot call it",
            Self::NAME
        )))
    }
}
