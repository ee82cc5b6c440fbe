//! The network over loopback: real sockets, certificates and time. Every test ends within [`site::within`]'s bound.

mod certificates;
mod exchange;
mod hostile;
mod intruder;
mod requests;
mod site;
