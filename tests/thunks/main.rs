//! Thunks through the public door: what an evaluation shows and refuses, the built-in thunks, the registry and admission.

mod admission;
mod builtin;
mod database;
mod faults;
mod intents;
mod operators;
mod own_writes;
mod rogue;
mod twice;
