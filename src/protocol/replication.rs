//! One coordinator's own stream on its way to one peer.
//!
//! Realises the sending half of section 3.1 of the design: what the peer was sent, what it has acknowledged, and sending
//! again from the acknowledged position. Records are sent once and then again only after a time-out or when the
//! peer asks. Promises are in every frame anyway, and since a promise joins on to the last *record*, losing one
//! costs nothing.

use std::time::Duration;

use super::config::Profile;
use super::delay::Delay;
use super::message::Append;
use super::stream::Stream;
use crate::limits::APPEND_BYTES_MAX;
use crate::time::{Hlc, Monotonic};

/// What one peer was sent of the own stream, and has acknowledged.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Replication {
    /// The peer durably holds everything at or below.
    acknowledged: Hlc,
    /// All records at or below were sent, if perhaps lost: the last record sent, or where sending begins again.
    sent: Hlc,
    /// The highest record ever sent: one at or below is sent again, and gives no sample of the delay.
    first_sent: Hlc,
    /// The measured delay to the peer and back.
    delay: Delay,
    /// When to send again what is not acknowledged; [`Monotonic::NEVER`] when all that was sent is.
    retransmit_at: Monotonic,
    /// How often in a row nothing came of sending again.
    retransmissions: u32,
}

impl Replication {
    /// Nothing was sent of a stream that begins above `start`.
    pub(crate) fn new(start: Hlc) -> Self {
        Self {
            acknowledged: start,
            sent: start,
            first_sent: start,
            delay: Delay::default(),
            retransmit_at: Monotonic::NEVER,
            retransmissions: 0,
        }
    }

    /// The measured delay to the peer and back.
    pub(crate) fn delay(&self) -> &Delay {
        &self.delay
    }

    /// When [`Replication::on_time`] has something to do.
    pub(crate) fn retransmit_at(&self) -> Monotonic {
        self.retransmit_at
    }

    /// Whether records up to the last one wait to be sent.
    pub(crate) fn has_more(&self, last_record: Hlc) -> bool {
        last_record > self.sent
    }

    /// The peer's row says that it durably holds the own stream up to `position`.
    pub(crate) fn on_acknowledged(&mut self, position: Hlc, now: Monotonic, profile: &Profile) {
        self.delay.on_acknowledged(position, now);
        if position <= self.acknowledged {
            return;
        }
        self.acknowledged = position;
        self.retransmissions = 0;
        if self.acknowledged >= self.sent {
            self.retransmit_at = Monotonic::NEVER;
        } else {
            self.retransmit_at = now.plus(self.retransmit_after(profile));
        }
    }

    /// The peer asks for the stream after `after`: it has not got what was sent.
    pub(crate) fn on_asked(&mut self, after: Hlc) {
        // What it has acknowledged since it asked, it has.
        let after = after.max(self.acknowledged);
        if after < self.sent {
            self.sent = after;
            self.delay.on_sent_again();
        }
    }

    /// *Gives* whether the time has come to send again, from the acknowledged position.
    pub(crate) fn on_time(&mut self, now: Monotonic, profile: &Profile) -> bool {
        if now < self.retransmit_at {
            return false;
        }
        self.retransmissions += 1;
        self.retransmit_at = now.plus(self.retransmit_after(profile));
        self.on_asked(self.acknowledged);
        true
    }

    /// The next piece of the own stream for the peer: its records not sent yet, or a promise.
    pub(crate) fn next_append(&mut self, own: &Stream, now: Monotonic, profile: &Profile) -> Append {
        let append = own.piece(self.sent, APPEND_BYTES_MAX);
        if let Some(last) = append.records.last() {
            self.sent = last.hlc;
            if last.hlc > self.first_sent {
                self.first_sent = last.hlc;
                self.delay.on_sent(last.hlc, now);
            }
            if self.retransmit_at == Monotonic::NEVER {
                self.retransmit_at = now.plus(self.retransmit_after(profile));
            }
        }
        append
    }

    fn retransmit_after(&self, profile: &Profile) -> Duration {
        let patience = self.delay.patience(profile.active_tick * 4).max(profile.retransmit_min);
        // Doubling stops at 2^6: the longest wait is bounded anyway.
        (patience * (1 << self.retransmissions.min(6))).min(profile.retransmit_max.max(patience))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SyncMark;
    use super::super::testing::{hlc, node, record};
    use super::*;
    use crate::id::Epoch;

    fn ms(ms: u64) -> Monotonic {
        Monotonic(ms * 1000)
    }

    fn own(records: &[u64], upto: u64) -> Stream {
        let mut stream = Stream::new(Epoch::FIRST, node(1), Hlc::ZERO);
        let records: Vec<_> = records.iter().map(|place| record(*place)).collect();
        stream.extend(&records, hlc(upto), SyncMark(1));
        stream
    }

    #[test]
    fn records_are_sent_once_and_promises_join_on_to_the_last_record() {
        let (mut replication, profile) = (Replication::new(Hlc::ZERO), Profile::wan());
        let first = replication.next_append(&own(&[2, 4], 5), ms(0), &profile);
        assert_eq!((first.prev, first.upto, first.records.len()), (hlc(0), hlc(5), 2));
        let promise = replication.next_append(&own(&[2, 4], 9), ms(5), &profile);
        assert_eq!((promise.prev, promise.upto, promise.records.len()), (hlc(4), hlc(9), 0));
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_from_the_acknowledged_position_and_backs_off() {
        let (mut replication, profile) = (Replication::new(Hlc::ZERO), Profile::wan());
        let stream = own(&[2, 4, 6], 7);
        replication.next_append(&stream, ms(0), &profile);
        replication.on_acknowledged(hlc(3), ms(100), &profile);
        let first_wait = replication.retransmit_at();
        assert!(!replication.on_time(ms(101), &profile));
        assert!(replication.on_time(first_wait, &profile));
        let again = replication.next_append(&stream, first_wait, &profile);
        assert_eq!((again.prev, again.records.len()), (hlc(2), 2));
        let second_wait = replication.retransmit_at();
        assert!(second_wait.since(first_wait) > first_wait.since(ms(100)));
        replication.on_acknowledged(hlc(7), second_wait, &profile);
        assert_eq!(replication.retransmit_at(), Monotonic::NEVER);
    }

    #[test]
    fn a_peer_that_asks_is_sent_what_it_lacks_at_once() {
        let (mut replication, profile) = (Replication::new(Hlc::ZERO), Profile::wan());
        let stream = own(&[2, 4, 6], 7);
        replication.next_append(&stream, ms(0), &profile);
        assert!(!replication.has_more(hlc(6)));
        replication.on_asked(hlc(4));
        assert!(replication.has_more(hlc(6)));
        let again = replication.next_append(&stream, ms(20), &profile);
        assert_eq!((again.prev, again.records.len()), (hlc(4), 1));
        replication.on_acknowledged(hlc(7), ms(900), &profile);
        assert_eq!(
            *replication.delay(),
            Delay::default(),
            "an answer to either sending times neither"
        );
    }

    #[test]
    fn a_request_that_comes_late_is_not_answered_with_what_was_acknowledged_since() {
        let (mut replication, profile) = (Replication::new(Hlc::ZERO), Profile::wan());
        let stream = own(&[2, 4, 6], 7);
        replication.next_append(&stream, ms(0), &profile);
        replication.on_acknowledged(hlc(5), ms(100), &profile);
        replication.on_asked(hlc(0));
        let again = replication.next_append(&stream, ms(120), &profile);
        assert_eq!((again.prev, again.records.len()), (hlc(4), 1));
    }
}
