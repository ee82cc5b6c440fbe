//! Any bytes as a frame: what an unauthenticated peer or a damaged disk can offer. The checksum stands in front.

#![no_main]

use plimsoll::codec::{Header, Kind};
use plimsoll::protocol::frame::Frame;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::Frame, Kind::LogEntry, Kind::SnapshotChunk] {
        if let Ok(header) = Header::read(kind, bytes) {
            assert!(header.envelope_bytes() <= kind.bytes_max());
        }
    }
    if let Ok(frame) = Frame::decode(bytes) {
        let mut again = Vec::new();
        Frame::encode(frame.cluster, frame.from, &frame.messages, &mut again).expect("it was not larger before");
        assert_eq!(Frame::decode(&again).expect("just encoded"), frame);
    }
});
