//! A discrete-event simulator of whole Plimsoll clusters.

pub mod history;
pub mod port;
