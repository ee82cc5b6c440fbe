//! The store of a whole replica on a simulated disk: log and versions of one disk, driven by a real node.

mod crashes;
mod full;
mod golden;
mod install;
mod life;
mod model;
mod replica;
mod workload;
