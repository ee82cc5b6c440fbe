//! What a replica shows of itself when it has gone another way than a majority: the transactions among which that happened.
//!
//! Realises the dump of section 3.3 of the design. Digests are compared at boundaries, so the place is known to one interval: between the last
//! boundary at which this replica agreed and the one at which it did not. The records that were evaluated of late are kept for that, within
//! bounds; a replica that was told late may have let go of some. Whoever compares the dumps of two replicas sees the first difference.
//! Tests: `tests/upgrade.rs`, and `world` in the simulator.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use crate::executor::{Known, Status};
use crate::id::{NodeId, TransactionId};
use crate::limits::DIGEST_INTERVAL;
use crate::protocol::{Batch, Divergence};
use crate::time::{Hlc, Timestamp};
use crate::transaction::Record;

/// Bytes of records that are kept to be shown.
const RECENT_BYTES_MAX: usize = 8 << 20;

/// Records that are kept to be shown.
const RECENT_RECORDS_MAX: usize = 65_536;

/// Digest intervals for which records are kept: rows with digests travel with every frame, so a majority is heard of in far less time.
const RECENT_INTERVALS: u32 = 16;

/// Bytes of a dump. What does not fit is counted.
const DUMP_BYTES_MAX: usize = 4 << 20;

/// Bytes of one transaction's arguments or outcome that are shown.
const SHOWN_BYTES_MAX: usize = 4 << 10;

/// The records that were evaluated last, in order.
#[derive(Debug, Default)]
pub struct Recent {
    records: VecDeque<(Timestamp, Arc<Record>)>,
    bytes: usize,
}

impl Recent {
    /// A batch was evaluated up to `upto`.
    pub fn note(&mut self, batch: &Batch, upto: Hlc) {
        // One that was stopped is handed out again from there.
        let last = self.records.back().map(|(timestamp, _)| *timestamp);
        for (timestamp, record) in &batch.records {
            if last.is_none_or(|last| *timestamp > last) && timestamp.hlc <= upto {
                self.bytes += record.weight();
                self.records.push_back((*timestamp, Arc::clone(record)));
            }
        }
        let oldest = upto.minus(DIGEST_INTERVAL * RECENT_INTERVALS);
        while let Some((timestamp, record)) = self.records.front()
            && (timestamp.hlc < oldest || self.bytes > RECENT_BYTES_MAX || self.records.len() > RECENT_RECORDS_MAX)
        {
            self.bytes -= record.weight();
            self.records.pop_front();
        }
    }

    /// The dump of a replica that found itself different: its digest and the majority's, and each transaction of the interval that is still
    /// held, with what it came to here. At most a few megabytes of text, in the order of timestamps.
    ///
    /// *Given* what is known here of a transaction by its id; none if the store has failed.
    pub fn dump(
        &self,
        node: NodeId,
        divergence: &Divergence,
        status: impl Fn(TransactionId) -> Option<Status>,
    ) -> String {
        let Divergence {
            own,
            majority,
            peers,
            agreed,
        } = divergence;
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{node} has evaluated something else than a majority.");
        let _ = writeln!(
            text,
            "It agreed with one at {agreed} for the last time, as far as it knows."
        );
        let _ = writeln!(text, "At {} its digest is {:016x}.", own.boundary, own.value);
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "That of {} is {:016x}.", peers.join(", "), majority.value);
        let within = |timestamp: &Timestamp| timestamp.hlc > *agreed && timestamp.hlc <= own.boundary;
        let suspects = self.records.iter().filter(|(timestamp, _)| within(timestamp));
        let count = suspects.clone().count();
        let _ = writeln!(text, "{count} transactions between the two are held:");
        if self.records.front().is_none_or(|(first, _)| first.hlc > *agreed) {
            let _ = writeln!(
                text,
                "(There may have been others before them, which are held no more.)"
            );
        }
        for (shown, (timestamp, record)) in suspects.enumerate() {
            if text.len() > DUMP_BYTES_MAX {
                let _ = writeln!(text, "\n{} more are left out.", count - shown);
                break;
            }
            let transaction = &record.transaction;
            let _ = writeln!(text, "\n{timestamp} {} {}", transaction.id, transaction.thunk);
            let footprint = &transaction.footprint;
            let _ = writeln!(text, "  arguments {}", cut(format!("{:?}", transaction.arguments)));
            let _ = writeln!(text, "  reads {}", cut(format!("{:?}", footprint.reads)));
            let _ = writeln!(text, "  ranges {}", cut(format!("{:?}", footprint.ranges)));
            let _ = writeln!(text, "  writes {}", cut(format!("{:?}", footprint.writes)));
            let outcome = match status(transaction.id).map(|status| status.known) {
                Some(Known::Settled { effective, outcome }) => format!("at {effective}: {outcome:?}"),
                Some(Known::NotYet) => "none".to_owned(),
                Some(Known::Expired) => "expired".to_owned(),
                None => "cannot be read".to_owned(),
            };
            let _ = writeln!(text, "  outcome here {}", cut(outcome));
        }
        text
    }

    /// How many transactions a dump would show.
    pub fn suspects(&self, divergence: &Divergence) -> usize {
        let (above, upto) = (divergence.agreed, divergence.own.boundary);
        let records = self.records.iter();
        records
            .filter(|(timestamp, _)| timestamp.hlc > above && timestamp.hlc <= upto)
            .count()
    }
}

/// Cuts between characters, and says so.
fn cut(mut text: String) -> String {
    let bytes = text.len();
    if bytes > SHOWN_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
        // Writing into a string cannot fail.
        let _ = write!(text, "... ({bytes} bytes)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Value;
    use crate::lattice::Digest;
    use crate::transaction::{Footprint, ThunkId, Transaction};

    fn at(ms: u64) -> Hlc {
        Hlc::from_unix_millis(1_800_000_000_000 + ms)
    }

    fn batch(times_ms: impl IntoIterator<Item = u64>, upto_ms: u64, bytes: usize) -> Batch {
        let record = |ms: u64| {
            let hlc = at(ms);
            let node = NodeId::new(1);
            let transaction = Transaction {
                id: TransactionId::from_u128(ms.into()),
                thunk: ThunkId {
                    name: "t".into(),
                    version: 2,
                },
                arguments: Value::new(vec![7; bytes]),
                footprint: Footprint::default(),
            };
            (Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))
        };
        Batch {
            records: times_ms.into_iter().map(record).collect(),
            upto: at(upto_ms),
        }
    }

    fn divergence(agreed_ms: u64, boundary_ms: u64) -> Divergence {
        let digest = |value| Digest {
            boundary: at(boundary_ms),
            value,
        };
        Divergence {
            own: digest(0xabc),
            majority: digest(0xdef),
            peers: vec![NodeId::new(2), NodeId::new(3)],
            agreed: at(agreed_ms),
        }
    }

    #[test]
    fn a_dump_shows_the_interval_and_nothing_else() {
        let mut recent = Recent::default();
        recent.note(&batch([10, 20], 25, 3), at(15));
        recent.note(&batch([10, 20, 30, 40], 50, 3), at(50));
        let divergence = divergence(10, 30);
        assert_eq!(recent.suspects(&divergence), 2);
        let dump = recent.dump(NodeId::new(1), &divergence, |_| None);
        let shown = |ms: u64| dump.contains(&TransactionId::from_u128(ms.into()).to_string());
        assert_eq!([10, 20, 30, 40].map(shown), [false, true, true, false], "{dump}");
        assert!(
            dump.contains("0000000000000abc") && dump.contains("0000000000000def"),
            "{dump}"
        );
        assert!(dump.contains("n2, n3") && !dump.contains("held no more"), "{dump}");
    }

    #[test]
    fn what_is_kept_and_what_is_shown_is_bounded() {
        let mut recent = Recent::default();
        for round in 0..300 {
            let times = (0..50).map(|number| round * 50 + number);
            recent.note(&batch(times, round * 50 + 49, 1_000), at(round * 50 + 49));
        }
        assert!(recent.bytes <= RECENT_BYTES_MAX, "{}", recent.bytes);
        let dump = recent.dump(NodeId::new(1), &divergence(0, 15_000), |_| None);
        assert!(dump.len() < DUMP_BYTES_MAX + 5 * SHOWN_BYTES_MAX, "{}", dump.len());
        assert!(dump.contains("held no more") && dump.contains("are left out"));
        recent.note(&batch([], 60_000, 0), at(60_000));
        assert_eq!(
            (recent.records.len(), recent.bytes),
            (0, 0),
            "an idle replica keeps nothing"
        );
    }
}
