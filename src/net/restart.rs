//! What lets a node's peers notice at once that it has been restarted.
//!
//! A process that is killed tells nobody. Its peers go on sending to a connection that is no more, and would notice only after the
//! idle time-out. So a node derives from its private key what QUIC needs to disown such a connection in a way that
//! its peers can trust (a stateless reset, RFC 9000, section 10.3): the same after a restart, and known to nobody else.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use ring::hmac;

use super::credentials::Credentials;
use super::name::Caller;

/// The configuration of an endpoint. Of a client, to which nobody holds on, nothing is derived.
pub(super) fn endpoint_config(credentials: &Credentials) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    if matches!(credentials.caller(), Caller::Node(_)) {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, credentials.key.secret_der());
        let derived = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, purpose).as_ref());
        config.reset_key(Arc::new(derived(b"plimsoll stateless reset")));
        let key = derived(b"plimsoll connection id");
        config.cid_generator(move || Box::new(OwnIds { key: key.clone() }));
    }
    config
}

/// Ids of connections: a random part, and a tag by which a later run of the same node knows that it was the one who gave the id
/// out. What bears no such tag is not answered.
struct OwnIds {
    key: hmac::Key,
}

const RANDOM_BYTES: usize = 8;
const TAG_BYTES: usize = 4;

impl OwnIds {
    fn tag(&self, random: &[u8]) -> [u8; TAG_BYTES] {
        let mac = hmac::sign(&self.key, random);
        let (tag, _) = mac.as_ref().split_first_chunk().expect("a MAC is longer than the tag");
        *tag
    }
}

impl ConnectionIdGenerator for OwnIds {
    fn generate_cid(&mut self) -> ConnectionId {
        // Hashed, as the bits of a UUID are not all random.
        let random = hmac::sign(&self.key, uuid::Uuid::new_v4().as_bytes());
        let random = &random.as_ref()[..RANDOM_BYTES];
        let mut id = random.to_vec();
        id.extend_from_slice(&self.tag(random));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), quinn_proto::InvalidCid> {
        let (random, tag) = id.split_at_checked(RANDOM_BYTES).ok_or(quinn_proto::InvalidCid)?;
        if tag == self.tag(random) {
            Ok(())
        } else {
            Err(quinn_proto::InvalidCid)
        }
    }

    fn cid_len(&self) -> usize {
        RANDOM_BYTES + TAG_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
