//! Reservations: staged transactions that were stale take their turn on hot data, the longest waiting first.
//!
//! Realises the reservations of section 4 of the design. All of them lie in one value under a key of the system, so that a look at
//! all is one read, and none is left behind: whoever writes the value drops those that have expired. Who reserves is told its place
//! in the order of seniority, which is the timestamp of its first reservation. Whoever is senior goes first: a guarded transaction yields to every
//! reservation of a senior one that covers a key which it writes. So the most senior one finds its keys unchanged from its
//! next run on, however many others there are, and everybody is the most senior one at some time. Transactions that are not
//! guarded know nothing of this: they never fail, and may make a staged one stale again. Tests: here, and `tests/staged/`.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{Evaluation, Thunk, View};
use crate::codec;
use crate::id::TransactionId;
use crate::key::{Key, KeyRange, SYSTEM_PREFIX, Value};
use crate::limits::{RESERVATION_BYTES_MAX, RESERVATION_MAX, RESERVATIONS_MAX};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Footprint};

/// Reserves keys and ranges for a staged transaction, in place of what it had reserved. With none of either it lets go of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// Whose reservation this is.
    pub holder: TransactionId,
    /// The timestamp of its first reservation, where this is not the first one.
    pub since: Option<Timestamp>,
    /// The keys.
    pub keys: Vec<Key>,
    /// The ranges.
    pub ranges: Vec<KeyRange>,
    /// How long, in milliseconds of timestamp time; at most [`RESERVATION_MAX`].
    pub lasts_ms: u64,
}

/// All reservations, the most senior first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Reservations {
    all: Vec<Reservation>,
}

/// What one staged transaction has reserved.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reservation {
    /// Since when it waits.
    pub since: Timestamp,
    /// Who.
    pub holder: TransactionId,
    /// From then on it holds nothing.
    pub until: Hlc,
    keys: Vec<Key>,
    ranges: Vec<KeyRange>,
}

impl Thunk for Reserve {
    const NAME: &'static str = "plimsoll.reserve";
    const VERSION: u32 = 1;
    /// Since when it counts as waiting.
    type Output = Timestamp;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(Reservations::key())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Timestamp, Abort> {
        let now = evaluation.now();
        let since = self.since.map_or(now, |since| since.min(now));
        let stored = evaluation.get(&Reservations::key())?;
        let mut reservations = Reservations::decode(stored.as_ref(), now.hlc)?;
        reservations.release(self.holder);
        if !self.keys.is_empty() || !self.ranges.is_empty() {
            let lasts = std::time::Duration::from_millis(self.lasts_ms).min(RESERVATION_MAX);
            reservations.add(Reservation {
                since,
                holder: self.holder,
                until: now.hlc.plus(lasts),
                keys: self.keys.clone(),
                ranges: self.ranges.clone(),
            })?;
        }
        match reservations.encode() {
            Some(value) => evaluation.put(&Reservations::key(), value)?,
            None => evaluation.delete(&Reservations::key())?,
        }
        Ok(since)
    }
}

impl Reservations {
    /// Where they lie.
    pub fn key() -> Key {
        Key::new([&SYSTEM_PREFIX[..], b"reservations"].concat())
    }

    /// Those that hold at `now`, of what lies under [`Reservations::key`].
    ///
    /// *Errors* when these bytes are no reservations.
    pub fn decode(stored: Option<&Value>, now: Hlc) -> Result<Self, Abort> {
        let Some(stored) = stored else {
            return Ok(Self::default());
        };
        let decoded = codec::decode_plain(stored.as_bytes());
        let mut reservations: Self =
            decoded.map_err(|error| Abort::Malformed(format!("the reservations at {}: {error}", Self::key())))?;
        reservations.all.retain(|reservation| reservation.until > now);
        Ok(reservations)
    }

    /// Those that hold in `view` at `now`.
    pub(super) fn read(view: &dyn View, now: Hlc) -> Result<Self, Abort> {
        let found = view.get(&Self::key());
        Self::decode(found.map(|versioned| versioned.value).as_ref(), now)
    }

    /// What is to lie there; nothing if there are none.
    pub(super) fn encode(&self) -> Option<Value> {
        if self.all.is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        codec::encode_plain(self, &mut bytes);
        Some(Value::new(bytes))
    }

    /// Takes away what `holder` has reserved. *Gives* whether there was something.
    pub(super) fn release(&mut self, holder: TransactionId) -> bool {
        let before = self.all.len();
        self.all.retain(|reservation| reservation.holder != holder);
        self.all.len() < before
    }

    fn add(&mut self, reservation: Reservation) -> Result<(), Abort> {
        let bytes = reservation.bytes();
        if bytes > RESERVATION_BYTES_MAX {
            return Err(Abort::TooLarge {
                what: "the reservation".into(),
                bytes: bytes as u64,
                limit: RESERVATION_BYTES_MAX as u64,
            });
        }
        if self.all.len() >= RESERVATIONS_MAX {
            return Err(Abort::Refused(format!(
                "{RESERVATIONS_MAX} staged transactions hold reservations already: try again when some have ended"
            )));
        }
        self.all.push(reservation);
        self.all.sort_by_key(Reservation::seniority);
        Ok(())
    }

    /// The most senior reservation that covers one of `keys`, of those that `holder` yields to: everybody else's, or if it holds one itself, those
    /// that are senior to it.
    pub fn in_the_way<'a>(
        &'a self,
        holder: Option<TransactionId>,
        keys: &'a [Key],
    ) -> Option<(&'a Reservation, &'a Key)> {
        let mut senior = self.seniors(holder);
        senior.find_map(|reservation| Some((reservation, keys.iter().find(|key| reservation.covers(key))?)))
    }

    /// The most senior reservation that shares something with the one of `holder` and is senior to it: whose turn comes before.
    pub fn ahead_of(&self, holder: TransactionId) -> Option<&Reservation> {
        let own = self.all.iter().find(|reservation| reservation.holder == holder)?;
        let mut senior = self.seniors(Some(holder));
        senior.find(|reservation| reservation.overlaps(own))
    }

    /// Whether `holder` holds anything.
    pub fn has(&self, holder: TransactionId) -> bool {
        self.all.iter().any(|reservation| reservation.holder == holder)
    }

    fn seniors(&self, holder: Option<TransactionId>) -> impl Iterator<Item = &Reservation> {
        let is_other = move |reservation: &&Reservation| Some(reservation.holder) != holder;
        self.all.iter().take_while(is_other)
    }
}

impl Reservation {
    fn seniority(&self) -> (Timestamp, TransactionId) {
        (self.since, self.holder)
    }

    fn covers(&self, key: &Key) -> bool {
        self.keys.contains(key) || self.ranges.iter().any(|range| range.contains(key))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let meet = |one: &KeyRange, two: &KeyRange| {
            let is_before = |one: &KeyRange, two: &KeyRange| one.end().is_some_and(|end| end <= two.start());
            !one.is_empty() && !two.is_empty() && !is_before(one, two) && !is_before(two, one)
        };
        self.keys.iter().any(|key| other.covers(key))
            || other.keys.iter().any(|key| self.covers(key))
            || self
                .ranges
                .iter()
                .any(|range| other.ranges.iter().any(|other| meet(range, other)))
    }

    /// About how many bytes it takes beside what every reservation does.
    fn bytes(&self) -> usize {
        const PER_KEY_BYTES: usize = 8;
        let ends = self
            .ranges
            .iter()
            .flat_map(|range| [Some(range.start()), range.end()])
            .flatten();
        let keys = self.keys.iter().chain(ends);
        keys.map(|key| key.as_bytes().len() + PER_KEY_BYTES).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    fn id(number: u8) -> TransactionId {
        TransactionId::from_parts(1_800_000_000_000, [number; 10])
    }

    fn hlc(bits: u64) -> Hlc {
        Hlc::from_bits(bits)
    }

    fn reservation(number: u8, since: u64, keys: &[&str], ranges: &[KeyRange]) -> Reservation {
        Reservation {
            since: Timestamp {
                hlc: hlc(since),
                node: NodeId::new(1),
            },
            holder: id(number),
            until: hlc(100 + since),
            keys: keys.iter().map(|key| Key::from(*key)).collect(),
            ranges: ranges.to_vec(),
        }
    }

    fn three() -> Reservations {
        let mut reservations = Reservations::default();
        let late = reservation(2, 20, &["b", "c"], &[]);
        let early = reservation(1, 10, &["a", "b"], &[]);
        let range = reservation(3, 30, &[], &[KeyRange::prefix("c".into())]);
        for one in [late, early, range] {
            reservations.add(one).unwrap();
        }
        reservations
    }

    #[test]
    fn who_has_waited_longest_goes_first_and_who_holds_nothing_last() {
        let reservations = three();
        let keys = [Key::from("b")];
        let in_the_way = |holder| reservations.in_the_way(holder, &keys).map(|(found, _)| found.holder);
        assert_eq!(in_the_way(None), Some(id(1)));
        assert_eq!(in_the_way(Some(id(2))), Some(id(1)));
        assert_eq!(in_the_way(Some(id(1))), None);
        assert_eq!(
            in_the_way(Some(id(9))),
            Some(id(1)),
            "one that has expired holds nothing"
        );
        let keys = [Key::from("c1")];
        assert_eq!(
            reservations.in_the_way(None, &keys).map(|(found, _)| found.holder),
            Some(id(3))
        );
        assert_eq!(reservations.in_the_way(None, &[Key::from("d")]), None);
    }

    #[test]
    fn a_turn_comes_when_no_senior_one_shares_a_key_or_a_range() {
        let mut reservations = three();
        let ahead = |reservations: &Reservations, number| reservations.ahead_of(id(number)).map(|found| found.holder);
        assert_eq!(ahead(&reservations, 1), None);
        assert_eq!(ahead(&reservations, 2), Some(id(1)));
        assert_eq!(
            ahead(&reservations, 3),
            Some(id(2)),
            "a key of another lies in its range"
        );
        assert!(reservations.release(id(1)) && !reservations.release(id(1)));
        assert_eq!(ahead(&reservations, 2), None);
    }

    #[test]
    fn what_has_expired_is_not_there_any_more() {
        let stored = three().encode().unwrap();
        let at = |bits| Reservations::decode(Some(&stored), hlc(bits)).unwrap();
        assert_eq!(at(50), three());
        assert!(!at(110).has(id(1)) && at(110).has(id(2)));
        assert_eq!(at(130), Reservations::default());
        assert_eq!(Reservations::default().encode(), None);
        assert!(Reservations::decode(Some(&Value::from("no")), hlc(1)).is_err());
    }

    #[test]
    fn too_many_reservations_and_one_that_is_too_large_are_refused() {
        let mut reservations = Reservations::default();
        let long = "k".repeat(RESERVATION_BYTES_MAX);
        assert!(matches!(
            reservations.add(reservation(0, 1, &[&long], &[])),
            Err(Abort::TooLarge { .. })
        ));
        for number in 0..RESERVATIONS_MAX {
            reservations.add(reservation(number as u8, 1, &["a"], &[])).unwrap();
        }
        assert!(matches!(
            reservations.add(reservation(255, 1, &["a"], &[])),
            Err(Abort::Refused(_))
        ));
    }
}
