//! What is refused before it is submitted, and with which words; what cannot be registered.

use plimsoll::client::{self, NotSubmitted};
use plimsoll::id::TransactionId;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::limits::{FOOTPRINT_KEYS_MAX, KEY_BYTES_MAX, RECORD_BYTES_MAX};
use plimsoll::protocol::message::{Append, Message};
use plimsoll::thunk::{Evaluation, Get, Put, Registry, RegistryError, Thunk, register_builtins};
use plimsoll::transaction::{Abort, Footprint, ThunkId, Transaction};
use serde::{Deserialize, Serialize};

use crate::database::{Database, START_MS};

/// Declares and does nothing, under a name and a version of the test's choice.
#[derive(Serialize, Deserialize)]
struct Nothing<const NAME: usize, const VERSION: u32>;

const NAMES: [&str; 4] = [
    "test.nothing",
    "",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
];

impl<const NAME: usize, const VERSION: u32> Thunk for Nothing<NAME, VERSION> {
    const NAME: &'static str = NAMES[NAME];
    const VERSION: u32 = VERSION;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<(), Abort> {
        Ok(())
    }
}

fn admit(registry: &Registry, thunk: ThunkId, arguments: Value) -> Result<Transaction, NotSubmitted> {
    client::admit(registry, TransactionId::from_parts(START_MS, [0; 10]), thunk, arguments)
}

fn admit_builtin<T: Thunk>(thunk: &T) -> Result<Transaction, NotSubmitted> {
    let arguments = client::arguments(thunk).expect("plain data");
    admit(&Registry::with_builtins(), ThunkId::of::<T>(), arguments)
}

#[test]
fn an_unknown_thunk_is_refused_with_the_versions_that_there_are() {
    let mut registry = Registry::new();
    registry.register::<Nothing<0, 7>>().expect("its name is free");
    registry.register::<Nothing<0, 2>>().expect("its version is free");
    let error = admit(&registry, ThunkId::of::<Nothing<0, 3>>(), Value::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "thunk test.nothing v3 is not registered on this node: of test.nothing it has the versions [2, 7]; \
         use one of them, or register it, by `.thunk::<T>()` before the database is opened or by `Plimsoll::register` while it runs"
    );
    let error = admit(&registry, ThunkId::of::<Get>(), Value::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "thunk plimsoll.get v1 is not registered on this node: register it, by `.thunk::<T>()` before the database is opened \
         or by `Plimsoll::register` while it runs"
    );
}

#[test]
fn arguments_of_another_type_are_refused_with_what_to_submit() {
    let registry = Registry::with_builtins();
    let nothing = Value::default();
    let error = admit(&registry, ThunkId::of::<Get>(), nothing).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the arguments of thunk plimsoll.get v1 cannot be decoded: "),
        "{text}"
    );
    assert!(text.ends_with("; submit a value of the thunk's own type"), "{text}");
}

#[test]
fn a_footprint_with_too_many_keys_is_refused_and_one_less_is_not() {
    let get = |count: u32| Get {
        keys: (0..count).map(|name| Key::new(name.to_be_bytes())).collect(),
    };
    let limit = FOOTPRINT_KEYS_MAX as u32;
    assert!(admit_builtin(&get(limit)).is_ok());
    let error = admit_builtin(&get(limit + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the footprint of thunk plimsoll.get v1 names 10001 keys and ranges, more than 10000: split the transaction"
    );
}

#[test]
fn a_key_that_is_too_long_is_refused_with_its_beginning() {
    let get = |bytes: usize| Get {
        keys: vec![Key::new(vec![b'k'; bytes])],
    };
    assert!(admit_builtin(&get(KEY_BYTES_MAX)).is_ok());
    let error = admit_builtin(&get(KEY_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a key of 4097 bytes in the footprint of thunk plimsoll.get v1, more than 4096: shorten it; \
         it begins with \"kkkkkkkkkkkkkkkk\""
    );
}

#[test]
fn a_record_that_is_too_large_is_refused_by_its_arguments_and_by_its_whole() {
    let error = admit(
        &Registry::with_builtins(),
        ThunkId::of::<Put>(),
        Value::new(vec![0; RECORD_BYTES_MAX + 1]),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record of thunk plimsoll.put v1 has 1048577 bytes, more than 1048576: split the transaction"
    );
    // The arguments alone are within the limit; the rest of the record is too much.
    let put = |bytes: usize| Put {
        entries: vec![("k".into(), Value::new(vec![0; bytes]))],
    };
    let overhead = plimsoll::codec::encoded_len(&admit_builtin(&put(1 << 19)).expect("small")) - (1 << 19);
    assert!(admit_builtin(&put(RECORD_BYTES_MAX - overhead)).is_ok());
    let error = admit_builtin(&put(RECORD_BYTES_MAX - overhead + 1)).unwrap_err();
    let (thunk, bytes) = (ThunkId::of::<Put>(), RECORD_BYTES_MAX + 1);
    assert_eq!(error, NotSubmitted::RecordTooLarge { thunk, bytes });
}

#[test]
fn a_thunk_is_registered_twice_or_under_an_unusable_name_and_nothing_changes() {
    let mut registry = Registry::new();
    registry.register::<Nothing<0, 1>>().expect("its name is free");
    let ids: Vec<_> = registry.ids().cloned().collect();
    let twice = registry.register::<Nothing<0, 1>>().unwrap_err();
    assert_eq!(
        twice.to_string(),
        "thunk test.nothing v1 is registered already: give one of the two another name, or a changed one the next version"
    );
    let empty = registry.register::<Nothing<1, 1>>().unwrap_err();
    assert_eq!(empty.to_string(), "the thunk name \"\" has 0 bytes: a name has 1 to 64");
    let long = registry.register::<Nothing<3, 1>>().unwrap_err();
    assert!(matches!(long, RegistryError::Name { bytes: 65, .. }), "{long:?}");
    let reserved = registry.register::<Put>().unwrap_err();
    assert_eq!(
        reserved.to_string(),
        "the thunk name \"plimsoll.put\" begins with \"plimsoll.\", which is kept for Plimsoll's own: choose another"
    );
    assert!(registry.ids().eq(&ids));
    assert!(registry.register::<Nothing<2, 1>>().is_ok(), "64 bytes are allowed");
    assert!(registry.contains(&ThunkId::of::<Nothing<2, 1>>()));
    let mut builtins = Registry::with_builtins();
    assert!(matches!(register_builtins(&mut builtins), Err(RegistryError::Twice(_))));
}

/// Makes its footprint by hand, in no order and with repetitions.
#[derive(Serialize, Deserialize)]
struct Untidy;

impl Thunk for Untidy {
    const NAME: &'static str = "test.untidy";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint {
            reads: ["z", "a", "z"].map(Key::from).into(),
            ranges: ["s", "p", "s"].map(|prefix| KeyRange::prefix(prefix.into())).into(),
            writes: ["w", "v", "a", "v"].map(Key::from).into(),
        }
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        for key in ["z", "a", "s1", "p1", "w", "v"].map(Key::from) {
            evaluation.get(&key)?;
        }
        for key in ["w", "v", "a"].map(Key::from) {
            evaluation.put(&key, "x".into())?;
        }
        Ok(())
    }
}

#[test]
fn a_footprint_made_by_hand_is_put_in_order_so_that_peers_accept_its_record() {
    let mut database = Database::with::<Untidy>();
    let transaction = database.admit(&Untidy);
    let footprint = Footprint {
        reads: ["a", "z"].map(Key::from).into(),
        ranges: ["p", "s"].map(|prefix| KeyRange::prefix(prefix.into())).into(),
        writes: ["a", "v", "w"].map(Key::from).into(),
    };
    assert_eq!(transaction.footprint, footprint);
    let hlc = plimsoll::time::Hlc::from_unix_millis(START_MS);
    let append = Append {
        epoch: plimsoll::id::Epoch::FIRST,
        coordinator: plimsoll::id::NodeId::new(1),
        prev: hlc.prev(),
        upto: hlc,
        records: vec![std::sync::Arc::new(plimsoll::transaction::Record { hlc, transaction })],
    };
    assert_eq!(
        plimsoll::protocol::validation::validate(&Message::Append(append)),
        Ok(())
    );
    assert_eq!(database.run(&Untidy), Ok(()));
}
