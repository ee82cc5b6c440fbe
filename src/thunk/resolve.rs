//! The end of doubt about a transaction: a small transaction that cancels another one unless that has an outcome.
//!
//! Realises the `resolve` of section 4 of the design. Here are its arguments and its output; what it does is done by the
//! executor, since outcomes of ids lie beside the versions and no footprint reaches them. Tests: `tests/resolve.rs`.

use bincode::{Decode, Encode};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Evaluation, Thunk};
use crate::codec;
use crate::id::TransactionId;
use crate::key::Value;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::time::Timestamp;
use crate::transaction::{Abort, Footprint, Outcome, ThunkId};

/// Ends the doubt about a transaction id. Its output is a [`Resolution`].
///
/// It touches no keys, and has a transaction id of its own. At its timestamp the target has an outcome, and that is its output;
/// or it has none, and gets one: [`Abort::Cancelled`], which every later record of it is given. So whatever comes out is
/// so for ever. It is itself refused ([`Abort::FromFuture`]) if the target's id was made too far ahead of its timestamp, when the target
/// cannot have had an effect, nor can yet; and if the target is itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    /// The id in doubt.
    pub target: TransactionId,
}

/// What became of a transaction whose end was in doubt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Resolution {
    /// It has taken effect.
    Committed {
        /// Where.
        effective: Timestamp,
        /// Its encoded output; absent if it is too large to lie in another output. Who needs it submits the id again and gets it.
        output: Option<Value>,
    },
    /// It was aborted, and has no effect.
    Aborted {
        /// Where.
        effective: Timestamp,
        /// Why.
        abort: Abort,
    },
    /// It was cancelled, and never takes effect.
    Cancelled {
        /// Where.
        effective: Timestamp,
        /// The id of the resolving transaction that did it: this one, or an earlier one.
        by: TransactionId,
    },
    /// Its id is older than outcomes are kept: it can no longer take effect, and whether it did is no longer known.
    Expired,
}

impl Resolve {
    /// Whether `thunk` is this one.
    pub fn is(thunk: &ThunkId) -> bool {
        &*thunk.name == Self::NAME && thunk.version == Self::VERSION
    }
}

impl Thunk for Resolve {
    const NAME: &'static str = "plimsoll.resolve";
    const VERSION: u32 = 1;
    type Output = Resolution;

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    /// Refuses: the executor comes before. This is reached when another thunk calls it, or a registry evaluates it by itself.
    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<Resolution, Abort> {
        Err(Abort::Refused(format!(
            "{} is a transaction by itself: submit it, other thunks cannot call it",
            Self::NAME
        )))
    }
}

impl Resolution {
    /// What is to be told of an outcome and of where it took effect.
    pub fn of(effective: Timestamp, outcome: &Outcome) -> Self {
        /// Bytes of a resolution beside the output in it.
        const BESIDE_OUTPUT_BYTES: usize = 64;
        match outcome {
            Outcome::Committed(output) => {
                let fits = output.as_bytes().len() + BESIDE_OUTPUT_BYTES <= OUTPUT_BYTES_MAX;
                let output = fits.then(|| output.clone());
                Self::Committed { effective, output }
            }
            Outcome::Aborted(Abort::Cancelled { by }) => Self::Cancelled { effective, by: *by },
            Outcome::Aborted(abort) => {
                let abort = abort.clone();
                Self::Aborted { effective, abort }
            }
        }
    }
}

/// As the bytes of its own encoding: what it consists of has no other.
impl Serialize for Resolution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        codec::encode_plain(self, &mut bytes);
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Resolution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Value::deserialize(deserializer)?;
        codec::decode_plain(bytes.as_bytes()).map_err(D::Error::custom)
    }
}
