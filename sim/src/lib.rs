//! A discrete-event simulator of whole Plimsoll clusters.

pub mod check;
pub mod history;
