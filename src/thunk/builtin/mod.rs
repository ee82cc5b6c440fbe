//! Thunks for users who write none.
//!
//! Realises the built-in thunks of section 4 of the design: what takes effect whatever is there (`plain`), what combines with it (`merge`), what
//! depends on it (`conditional` for one key, `write` for several, each with its own intent), and several of them as one transaction
//! (`operations`). Tests: `tests/thunks/builtin.rs` and `tests/thunks/intents.rs`.

mod conditional;
mod merge;
mod operations;
mod plain;
mod write;

pub use conditional::{CompareAndSet, PutIfAbsent};
pub use merge::{Append, Increment, Merge};
pub use operations::{Gave, Operation, Operations};
pub use plain::{Delete, Get, Put};
pub use write::{Entry, Expected, Intent, Write, Written};

use super::{Guarded, Refuse, Registry, RegistryError, Reserve, Resolve};

/// Adds every thunk of this module, [`Resolve`], and those of staged transactions to `registry`.
///
/// *Errors* when a thunk of the same name is registered already.
pub fn register_builtins(registry: &mut Registry) -> Result<(), RegistryError> {
    registry.add::<Get>()?.add::<Put>()?.add::<Delete>()?;
    registry
        .add::<CompareAndSet>()?
        .add::<PutIfAbsent>()?
        .add::<Write>()?
        .add::<Increment>()?;
    registry.add::<Append>()?.add::<Merge>()?.add::<Operations>()?;
    registry.add::<Resolve>()?;
    registry.add::<Guarded>()?.add::<Refuse>()?.add::<Reserve>()?;
    Ok(())
}
