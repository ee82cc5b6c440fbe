//! Thunks: deterministic functions with a static footprint.
//!
//! Realises section 4 of the design. A program implements [`Thunk`] for its argument types, registers them in a
//! [`Registry`], and submits values of them. `docs/thunks.md` is the guide. Every replica evaluates a thunk at the transaction's timestamp
//! through an [`Evaluation`], which lets it touch what its footprint declares and nothing else.
//!
//! Evaluation must be deterministic: it may depend on the arguments, on what it reads and on what [`Evaluation`] offers
//! ([`now`](Evaluation::now), [`rng`](Evaluation::rng)), and on nothing else: no clock, no randomness, no order of a hash map.
//! Nor on the wording of an [`Abort`] that it was given: nodes of different builds may word a panic or a decoder's complaint
//! differently. Replicas compare digests of what they evaluated, and one that differs stops serving. [`Registry::evaluate_twice`] finds out before
//! that, and so do embedded databases in debug builds.

#[cfg(feature = "arrow")]
pub mod arrow;
mod builtin;
mod evaluation;
mod footprint;
mod guarded;
mod guards;
mod operator;
mod registry;
mod required;
mod reservation;
mod resolve;
mod shown;
mod twice;
mod unwind;

pub use builtin::{
    Append, CompareAndSet, Delete, Entry, Expected, Gave, Get, Increment, Intent, Merge, Operation, Operations, Put,
    PutIfAbsent, Write, Written, register_builtins,
};
pub(crate) use evaluation::other_type;
pub use evaluation::{Direction, Evaluation, View};
pub use guarded::{Guarded, Refuse};
pub use guards::{Guards, Seen};
pub use operator::{Operator, OperatorError};
pub use registry::{FootprintError, RESERVED_PREFIX, Registry, RegistryError, UnknownThunk};
pub use required::required;
pub use reservation::{Reservation, Reservations, Reserve};
pub use resolve::{Resolution, Resolve};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::transaction::{Abort, Footprint};

/// A deterministic function over declared keys. The value is its arguments.
///
/// ```
/// use plimsoll::key::{Key, Value};
/// use plimsoll::thunk::{Evaluation, Thunk};
/// use plimsoll::transaction::{Abort, Footprint};
/// use serde::{Deserialize, Serialize};
///
/// /// Renames a user, unless the name is empty.
/// #[derive(Serialize, Deserialize)]
/// struct Rename {
///     user: String,
///     name: String,
/// }
///
/// impl Thunk for Rename {
///     const NAME: &'static str = "rename";
///     const VERSION: u32 = 1;
///     type Output = Option<String>;
///
///     fn footprint(&self) -> Footprint {
///         Footprint::new().write(Key::from(self.user.as_str()))
///     }
///
///     fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Option<String>, Abort> {
///         if self.name.is_empty() {
///             return Err(Abort::Refused("a name is not empty".into()));
///         }
///         let key = Key::from(self.user.as_str());
///         let before = evaluation.get(&key)?;
///         evaluation.put(&key, Value::from(self.name.as_str()))?;
///         Ok(before.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no transaction: it does not implement `Thunk`",
    label = "this is no thunk",
    note = "implement `plimsoll::thunk::Thunk` for it, with NAME, VERSION, Output, footprint() and evaluate(), and derive `Serialize` and `Deserialize`; \
            or use a built-in one, such as `plimsoll::thunk::Put`"
)]
pub trait Thunk: Serialize + DeserializeOwned + 'static {
    /// The name under which it is registered, unique within a cluster; 1 to
    /// [`THUNK_NAME_BYTES_MAX`](crate::limits::THUNK_NAME_BYTES_MAX) bytes, not beginning with [`RESERVED_PREFIX`].
    const NAME: &'static str;
    /// The version of its code. Code that behaves differently needs another version.
    const VERSION: u32;
    /// What it returns to the client.
    type Output: Serialize + DeserializeOwned;

    /// All that the thunk may touch, from its arguments alone. It must exist for all arguments: a client may send any.
    fn footprint(&self) -> Footprint;

    /// Computes the output and the writes.
    ///
    /// *Errors* are the thunk's refusal, [`Abort::Refused`], or come from the evaluation: pass them on with `?`. On an error
    /// nothing of the transaction takes effect.
    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Self::Output, Abort>;
}

/// The examples of the guide are compiled and run with those of the code.
#[cfg(doctest)]
#[doc = include_str!("../../docs/thunks.md")]
struct Guide;
