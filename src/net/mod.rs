//! The network: one QUIC endpoint for each process, mutually authenticated.
//!
//! Realises section 6 of the design. An [`Endpoint`] is one UDP socket that speaks QUIC; who is at the other end of a connection is
//! read from its certificate and from nothing else ([`Caller`]), and certificates are made by the cluster's own [`Authority`]. [`Peers`] carries
//! the protocol's frames to the other nodes; [`ClientConnection`] carries requests, whose bytes mean nothing here, and their answers.
//!
//! | stream | who opens it | what it carries |
//! |---|---|---|
//! | unidirectional, one for each direction between two nodes | the sender | frames, in order |
//! | unidirectional, one for each piece of a snapshot | the sender | one frame, which yields to the others |
//! | bidirectional, one for each connection | a client, or a node | requests, and answers in any order |
//!
//! Each node calls the others for what it sends and reads what it is sent on the connections that they made; so no two have to
//! agree on whose connection to keep. What is malformed, oversized, of another cluster or not what its certificate says is refused and
//! counted ([`Refused`]), and harms nothing else. Bytes that are not even a packet of QUIC are dropped below this module, uncounted.
//! How much anybody can make an endpoint hold is in [`Bounds`].
//!
//! A node that was killed and comes back is noticed at once, by both: what still reaches its old connections it disowns, and whom it calls
//! calls it in turn without waiting for the next attempt.
//!
//! It resends nothing beyond what QUIC does on one connection: the protocol goes on from the position that was acknowledged.
//! The version of what is spoken is `plimsoll/1`, agreed in the handshake. Tests: `tests/net`.

mod bounds;
mod certificates;
mod credentials;
mod endpoint;
mod frames;
mod name;
mod peers;
mod refused;
mod requests;
mod restart;
mod service;
mod tls;

pub use bounds::{Bounds, InvalidBounds};
pub use certificates::{Authority, IssueError, Issued};
pub use credentials::{Credentials, CredentialsError, CredentialsFiles, Part};
pub use endpoint::{ConnectError, Endpoint, Load, OpenError};
pub use name::Caller;
pub use peers::{Address, InvalidAddress, PeerStatus, Peers};
pub use refused::Refused;
pub use requests::{ClientConnection, RequestError};
pub use service::Service;
