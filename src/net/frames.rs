//! Frames on a stream, as they are read. A frame's envelope says how long it is, so that nothing stands between two of them.
//!
//! A frame that is not in order says that its sender is broken or lies, and after it the stream cannot be trusted either: the
//! connection is closed, and the sender may call again.

use bytes::{Buf, BytesMut};
use quinn::{Connection, RecvStream};

use super::endpoint::{Close, Shared};
use super::refused::Cause;
use super::service::Service;
use crate::codec::{DecodeError, HEADER_BYTES, Header, Kind};
use crate::id::NodeId;
use crate::protocol::frame::Frame;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes of a buffer that is kept while no frame is under way.
const IDLE_BYTES: usize = 1 << 20;

/// Reads frames from a stream of a node, until it ends or one is not in order.
pub(super) async fn read_all(
    shared: &Shared,
    connection: &Connection,
    from: NodeId,
    mut stream: RecvStream,
    service: &Service,
) {
    // It grows with the bytes that came, never with those that were announced.
    let mut buffer = BytesMut::new();
    let cause = loop {
        match stream.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) if buffer.is_empty() => return,
            Ok(None) => break Cause::MalformedFrame,
            // The connection has ended, or the node has given the stream up: what came in part is lost.
            Err(_) => return,
        }
        if let Err(cause) = take_frames(shared, from, &mut buffer, service) {
            break cause;
        }
        if buffer.is_empty() && buffer.capacity() > IDLE_BYTES {
            buffer = BytesMut::new();
        }
    };
    tracing::warn!(%from, ?cause, "a frame is refused, and its connection closed");
    shared.refusals.count(cause);
    Close::Refused(cause).apply(connection);
}

/// Hands on the frames that are whole, and leaves the beginning of the next one.
fn take_frames(shared: &Shared, from: NodeId, buffer: &mut BytesMut, service: &Service) -> Result<(), Cause> {
    while buffer.len() >= HEADER_BYTES {
        let header = Header::read(Kind::Frame, buffer).map_err(|error| match error {
            DecodeError::Oversized { .. } => Cause::OversizedFrame,
            _ => Cause::MalformedFrame,
        })?;
        let bytes = header.envelope_bytes();
        if buffer.len() < bytes {
            return Ok(());
        }
        let frame = Frame::decode(&buffer[..bytes]).map_err(|error| {
            tracing::debug!(%from, %error, "a frame is malformed");
            Cause::MalformedFrame
        })?;
        buffer.advance(bytes);
        if frame.cluster != shared.cluster {
            return Err(Cause::WrongCluster);
        }
        if frame.from != from {
            return Err(Cause::WrongSender);
        }
        if !service.take(from, frame.messages) {
            tracing::debug!(%from, "a frame is lost: too many wait");
            shared.refusals.count(Cause::InboxFull);
        }
    }
    Ok(())
}
