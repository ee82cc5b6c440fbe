//! What is admitted, and what is refused before it is submitted.

use plimsoll::client::{self, NotSubmitted};
use plimsoll::id::TransactionId;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::limits::{KEY_BYTES_MAX, RECORD_BYTES_MAX};
use plimsoll::thunk::{Evaluation, FootprintError, Get, Put, Registry, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use serde::{Deserialize, Serialize};

use crate::rogue::Rogue;

fn admit<T: Thunk>(thunk: &T) -> Result<(), NotSubmitted> {
    let mut registry = Registry::with_builtins();
    registry.register::<Rogue>().expect("its name is free");
    registry.register::<Untidy>().expect("its name is free");
    let arguments = client::arguments(thunk).expect("plain data");
    let transaction = client::admit(&registry, TransactionId::from_u128(1), ThunkId::of::<T>(), arguments)?;
    let ascending = |keys: &[Key]| keys.windows(2).all(|pair| pair[0] < pair[1]);
    let footprint = &transaction.footprint;
    assert!(ascending(&footprint.reads) && ascending(&footprint.writes));
    assert!(footprint.ranges.windows(2).all(|pair| pair[0] < pair[1]));
    Ok(())
}

/// Fills its footprint by hand.
#[derive(Serialize, Deserialize)]
struct Untidy;

impl Thunk for Untidy {
    const NAME: &'static str = "test.untidy";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint {
            reads: vec!["b".into(), "a".into(), "b".into()],
            ranges: vec![KeyRange::from("z".into()), KeyRange::prefix("a".into())],
            writes: vec!["c".into(), "c".into()],
        }
    }

    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<(), Abort> {
        Ok(())
    }
}

#[test]
fn a_footprint_filled_by_hand_is_put_in_order() {
    assert_eq!(admit(&Untidy), Ok(()));
}

#[test]
fn a_panic_over_the_footprint_is_refused_and_harms_nobody() {
    let refused = admit(&Rogue::HasNoFootprint).unwrap_err();
    let NotSubmitted::NoFootprint(FootprintError::Panicked { thunk, message }) = refused else {
        panic!("{refused}")
    };
    assert_eq!(thunk, ThunkId::of::<Rogue>());
    assert!(message.contains("no footprint for this"), "{message}");
}

#[test]
fn what_cannot_be_submitted_is_refused_with_what_is_wrong() {
    let registry = Registry::with_builtins();
    let of = |name: &str, version| ThunkId {
        name: name.into(),
        version,
    };
    let admit_raw = |thunk, arguments| client::admit(&registry, TransactionId::from_u128(1), thunk, arguments);
    let unknown = admit_raw(of("transfer", 1), Value::default()).unwrap_err().to_string();
    assert!(
        unknown.contains("transfer v1") && unknown.contains("register it"),
        "{unknown}"
    );
    let other_version = admit_raw(of(Put::NAME, 9), Value::default()).unwrap_err().to_string();
    assert!(other_version.contains("[1]"), "{other_version}");
    let foreign = admit_raw(ThunkId::of::<Put>(), Value::new(vec![250; 9]))
        .unwrap_err()
        .to_string();
    assert!(foreign.contains("plimsoll.put v1"), "{foreign}");
    let oversized = admit_raw(ThunkId::of::<Put>(), Value::new(vec![0; RECORD_BYTES_MAX + 1])).unwrap_err();
    assert_eq!(
        oversized,
        NotSubmitted::RecordTooLarge {
            thunk: ThunkId::of::<Put>(),
            bytes: RECORD_BYTES_MAX + 1
        }
    );

    let long = Key::new(vec![b'k'; KEY_BYTES_MAX + 1]);
    let refused = admit(&Get { keys: vec![long] }).unwrap_err();
    assert!(
        matches!(&refused, NotSubmitted::KeyTooLong { bytes, .. } if *bytes == KEY_BYTES_MAX + 1),
        "{refused}"
    );
    let many = Get {
        keys: (0..10_001_u32).map(|n| Key::new(n.to_be_bytes().to_vec())).collect(),
    };
    let refused = admit(&many).unwrap_err();
    assert!(
        matches!(refused, NotSubmitted::FootprintTooLarge { count: 10_001, .. }),
        "{refused}"
    );
    // The arguments fit, but the footprint names the key a second time.
    let large = Put {
        entries: vec![(Key::new(vec![0; 4096]), Value::new(vec![0; RECORD_BYTES_MAX - 6000]))],
    };
    assert!(
        matches!(admit(&large).unwrap_err(), NotSubmitted::RecordTooLarge { bytes, .. } if bytes > RECORD_BYTES_MAX)
    );
}
