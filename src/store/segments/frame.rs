//! Frames: what stands in a segment behind its header, one behind the other.
//!
//! A frame is the length of its body (four bytes, little-endian), a checksum (eight bytes), the body (a tag and what belongs to it), and zeros up
//! to a multiple of eight bytes. The checksum covers the length and the body, the segment and the frame's offset.

use xxhash_rust::xxh3::xxh3_64;

/// Bytes in front of the body: length and checksum.
const BODY_AT: usize = 4 + 8;

/// Bytes in front of an entry: length, checksum and tag.
pub(super) const FRAME_HEADER_BYTES: usize = BODY_AT + 1;

/// Every frame begins at a multiple of it.
pub(super) const ALIGNMENT: usize = 8;

/// The length of the body of a mark.
pub(super) const MARK_BODY_BYTES: usize = 1 + 8;

/// Bytes of a mark.
pub(super) const MARK_BYTES: usize = (BODY_AT + MARK_BODY_BYTES).next_multiple_of(ALIGNMENT);

const ENTRY: u8 = 1;
const MARK: u8 = 2;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// The next entry.
    Entry(&'a [u8]),
    /// So many entries, from the first ever written, were durable when this was written.
    Mark(u64),
}

/// Adds the frame of an entry, of which `encode` adds the bytes. It is to be [sealed](seal) when it is known where it will stand.
///
/// *Gives* how many bytes the frame has.
pub(super) fn add_entry(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
    add(out, ENTRY, encode)
}

/// A mark that stands at `offset`.
pub(super) fn mark(seed: u64, offset: u64, durable: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MARK_BYTES);
    add(&mut bytes, MARK, |out| out.extend_from_slice(&durable.to_le_bytes()));
    seal(seed, offset, &mut bytes);
    bytes
}

fn add(out: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES - 1]);
    out.push(tag);
    content(out);
    let length = (out.len() - start - BODY_AT) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let frame_bytes = (out.len() - start).next_multiple_of(ALIGNMENT);
    out.resize(start + frame_bytes, 0);
    frame_bytes
}

/// Gives a frame the checksum that it has at `offset`.
pub(super) fn seal(seed: u64, offset: u64, frame: &mut [u8]) {
    let (head, body) = frame.split_at_mut(BODY_AT);
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let checksum = checksum(seed, offset, length, &body[..length as usize]);
    head[4..].copy_from_slice(&checksum.to_le_bytes());
}

/// The hash of the body, and over it the place. Those of two frames of one length in one segment always differ; to
/// seed the hash with the place would find no more and cost more.
fn checksum(seed: u64, offset: u64, length: u32, body: &[u8]) -> u64 {
    let place = seed ^ offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(length).rotate_left(32);
    xxh3_64(body) ^ place
}

/// The length of the body of the frame at the beginning of `bytes`; none if there cannot be one.
pub(super) fn body_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (length > 0).then_some(length)
}

/// The frame at the beginning of `bytes`, which stand at `offset`, and how many bytes it has. *Gives* none if there is none, or the bytes
/// end before it does.
pub(super) fn read(seed: u64, offset: u64, bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let length = body_bytes(bytes)?;
    let found = u64::from_le_bytes(bytes.get(4..BODY_AT)?.try_into().ok()?);
    let body = bytes.get(BODY_AT..BODY_AT.checked_add(length)?)?;
    if checksum(seed, offset, length as u32, body) != found {
        return None;
    }
    let (tag, content) = body.split_first()?;
    let frame = match *tag {
        ENTRY => Frame::Entry(content),
        MARK => Frame::Mark(u64::from_le_bytes(content.try_into().ok()?)),
        _ => return None,
    };
    Some((frame, (BODY_AT + length).next_multiple_of(ALIGNMENT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_where_it_was_written_and_nowhere_else() {
        let mut bytes = Vec::new();
        let mark_at = add_entry(&mut bytes, |out| out.extend_from_slice(b"entry"));
        assert_eq!(read(7, 100, &bytes), None, "it is not sealed");
        seal(7, 100, &mut bytes);
        bytes.extend(mark(7, 100 + mark_at as u64, 3));
        assert_eq!((mark_at, bytes.len() - mark_at), (24, MARK_BYTES));
        assert_eq!(read(7, 100, &bytes), Some((Frame::Entry(b"entry"), mark_at)));
        let mark = read(7, 100 + mark_at as u64, &bytes[mark_at..]);
        assert_eq!(mark, Some((Frame::Mark(3), MARK_BYTES)));
        assert_eq!(read(7, 101, &bytes), None, "at another place");
        assert_eq!(read(8, 100, &bytes), None, "in another segment");
        assert_eq!(read(7, 100, &bytes[..FRAME_HEADER_BYTES + 4]), None, "cut off");
        for bit in 0..8 * (FRAME_HEADER_BYTES + 5) {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(7, 100, &damaged), None, "bit {bit}");
        }
        assert_eq!(read(0, 0, &[0; 64]), None, "nothing was written");
    }
}
