//! An exhaustive check of Plimsoll's protocol core on small clusters.
//!
//! The node that is checked is the production one, [`plimsoll::protocol::node::Node`]: a state of the model is two or three of them,
//! their logs, the frames in flight, and what must be remembered for the properties. `stateright` goes through every order of
//! deliveries, syncs, crashes and submissions, up to the bounds of [`Settings`](settings::Settings). What is bounded, what is abstracted and what was
//! found stands in `docs/model.md`.

pub mod action;
pub mod history;
pub mod host;
pub mod property;
pub mod report;
pub mod scene;
pub mod search;
pub mod settings;
pub mod state;
pub mod step;
pub mod walk;
