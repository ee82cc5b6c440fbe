//! A discrete-event simulator of whole Plimsoll clusters.

pub mod delays;
pub mod history;
pub mod port;
pub mod scenario;
pub mod topology;
