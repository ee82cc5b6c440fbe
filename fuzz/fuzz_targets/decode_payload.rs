//! Any bytes as a frame's payload, under a good checksum: what a peer inside the cluster can offer.
//!
//! What passes obeys the bounds, and comes back when it is encoded again.

#![no_main]

use bincode::enc::{Encoder, write::Writer};
use bincode::error::EncodeError;
use plimsoll::codec::{self, Kind};
use plimsoll::limits;
use plimsoll::protocol::frame::Frame;
use plimsoll::protocol::message::Message;

struct Raw<'a>(&'a [u8]);

impl bincode::Encode for Raw<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encoder.writer().write(self.0)
    }
}

libfuzzer_sys::fuzz_target!(|payload: &[u8]| {
    let mut bytes = Vec::new();
    codec::encode(Kind::Frame, &Raw(payload), &mut bytes).expect("inputs are far below the limit");
    let Ok(frame) = Frame::decode(&bytes) else { return };
    for message in &frame.messages {
        match message {
            Message::Append(append) => {
                assert!(append.prev <= append.upto);
                assert!(append.records.is_sorted_by(|a, b| a.hlc < b.hlc));
                assert!(
                    append
                        .records
                        .iter()
                        .all(|record| append.prev < record.hlc && record.hlc <= append.upto)
                );
            }
            Message::Row(row) => {
                assert!(row.positions.len() <= limits::COORDINATORS_MAX);
                assert!(row.positions.is_sorted_by(|a, b| a.0 < b.0));
            }
            _ => {}
        }
    }
    let mut again = Vec::new();
    Frame::encode(frame.cluster, frame.from, &frame.messages, &mut again).expect("it was not larger before");
    assert_eq!(Frame::decode(&again).expect("just encoded"), frame);
});
