//! Frames: the messages of one node to another, as bytes.
//!
//! Realises section 6 of the design as far as bytes go. A frame is an envelope of the [`codec`] that holds the
//! cluster, the sender and the messages. What comes out of [`Frame::decode`] is not only well formed but obeys what every
//! honest sender obeys ([`validation`]), so that the machines need not ask again. Whether the cluster is the own one
//! and whether `from` is whom the transport authenticated is for the driver to compare.

use crate::codec::{self, DecodeError, EncodeError, Kind};
use crate::id::{ClusterId, NodeId};

use super::message::Message;
use super::validation::{self, InvalidMessage};

/// A received frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The sender's cluster. The receiver refuses a frame of another one.
    pub cluster: ClusterId,
    /// The sender. The receiver refuses it unless the transport has authenticated the same node.
    pub from: NodeId,
    /// What it says, in order.
    pub messages: Vec<Message>,
}

/// Why a frame was refused. Nothing of it was used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are no frame: damaged, of another release, or made up.
    #[error("not a frame: {0}")]
    Undecodable(#[from] DecodeError),
    /// The bytes are a frame, but a message says what no honest sender says.
    #[error("message {place} of the frame from {from} is refused: {reason}")]
    Invalid {
        /// Who the frame says has sent it.
        from: NodeId,
        /// Number of the message in the frame, from 0.
        place: usize,
        /// What is wrong with it.
        reason: InvalidMessage,
    },
}

impl Frame {
    /// Appends a frame to `out`, which keeps its capacity for the next one.
    ///
    /// *Errors*: the frame would be larger than [`FRAME_BYTES_MAX`](crate::limits::FRAME_BYTES_MAX); `out` is then as it was.
    pub fn encode(
        cluster: ClusterId,
        from: NodeId,
        messages: &[Message],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        codec::encode(Kind::Frame, &(cluster, from, messages), out)
    }

    /// The frame that `bytes` are, all of them.
    ///
    /// *Errors*: the bytes are no frame, or one of its messages is invalid.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let (cluster, from, messages): (_, _, Vec<Message>) = codec::decode(Kind::Frame, bytes)?;
        for (place, message) in messages.iter().enumerate() {
            validation::validate(message).map_err(|reason| FrameError::Invalid { from, place, reason })?;
        }
        Ok(Self {
            cluster,
            from,
            messages,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Epoch;
    use crate::protocol::message::{Append, Fetch};
    use crate::time::Hlc;

    const CLUSTER: ClusterId = ClusterId::new(7);
    const FROM: NodeId = NodeId::new(2);

    fn fetch() -> Message {
        Message::Fetch(Fetch {
            epoch: Epoch::FIRST,
            coordinator: FROM,
            after: Hlc::from_bits(9),
        })
    }

    #[test]
    fn a_frame_is_appended_to_the_buffer_and_read_back() {
        let mut out = vec![1, 2, 3];
        Frame::encode(CLUSTER, FROM, &[fetch()], &mut out).expect("small");
        assert_eq!(out[..3], [1, 2, 3]);
        let frame = Frame::decode(&out[3..]).expect("as it was encoded");
        assert_eq!(
            (frame.cluster, frame.from, frame.messages),
            (CLUSTER, FROM, vec![fetch()])
        );
    }

    #[test]
    fn the_error_of_an_invalid_message_names_sender_and_place() {
        let backwards = Message::Append(Append {
            epoch: Epoch::FIRST,
            coordinator: FROM,
            prev: Hlc::from_bits(2),
            upto: Hlc::from_bits(1),
            records: Vec::new(),
        });
        let mut out = Vec::new();
        Frame::encode(CLUSTER, FROM, &[fetch(), backwards], &mut out).expect("small");
        let error = Frame::decode(&out).expect_err("prev is above upto");
        assert!(
            matches!(
                error,
                FrameError::Invalid {
                    from: FROM,
                    place: 1,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .starts_with("message 1 of the frame from n2 is refused: ")
        );
    }
}
