//! Frames as the production codec has them.

use plimsoll::id::ClusterId;
use plimsoll::protocol::message::Message;

/// Appends the frame of these messages to `bytes`.
pub(super) fn encode(_cluster: ClusterId, messages: &[Message], bytes: &mut Vec<u8>) {
    bincode::encode_into_std_write(messages, bytes, bincode::config::standard()).expect("a vector takes all bytes");
}

/// The messages of a frame.
pub(super) fn decode(_cluster: ClusterId, bytes: &[u8]) -> Result<Vec<Message>, String> {
    let decoded = bincode::decode_from_slice(bytes, bincode::config::standard());
    decoded.map(|(messages, _)| messages).map_err(|error| error.to_string())
}
