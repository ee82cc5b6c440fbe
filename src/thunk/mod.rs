//! Thunks: deterministic functions with a static footprint.
//!
//! Realises section 4 of the design. A program implements [`Thunk`] for its argument types, registers them in a
//! [`Registry`], and submits values of them. Every replica evaluates a thunk at the transaction's timestamp
//! through an [`Evaluation`], which lets it touch what its footprint declares and nothing else.

mod builtin;
mod evaluation;
mod footprint;
mod registry;
