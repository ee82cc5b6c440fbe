//! Ranges of a table hold exactly the rows that the bounds say, and no others.

use std::ops::{Bound, RangeBounds};

use plimsoll::key::{Key, KeyRange};
use plimsoll::limits::TABLE_NAME_BYTES_MAX;
use plimsoll::table::{KeyError, RowError, Table};
use proptest::prelude::*;

const A: Table<(Vec<u8>, u8), String> = Table::new("a");
const AB: Table<(Vec<u8>, u8), String> = Table::new("ab");
const DEEP: Table<Deep, String> = Table::new("deep");

type Deep = (Option<u8>, String, i8, bool, Vec<u8>, u8);

/// Keys of which two are often near each other.
fn keys() -> impl Strategy<Value = (Vec<u8>, u8)> {
    let byte = proptest::sample::select(vec![0, 1, 0xff]);
    (
        proptest::collection::vec(byte, 0..3),
        proptest::sample::select(vec![0, 1, 0xff]),
    )
}

fn bound<K: Clone + std::fmt::Debug>(key: impl Strategy<Value = K>) -> impl Strategy<Value = Bound<K>> {
    (key, 0..3).prop_map(|(key, kind)| match kind {
        0 => Bound::Included(key),
        1 => Bound::Excluded(key),
        _ => Bound::Unbounded,
    })
}

fn lent((bytes, number): &(Vec<u8>, u8)) -> (&[u8], u8) {
    (bytes, *number)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn a_range_holds_the_rows_within_its_bounds(start in bound(keys()), end in bound(keys()), key in keys()) {
        let range = A.range((start.as_ref().map(lent), end.as_ref().map(lent)));
        let is_within = (start, end).contains(&key);
        prop_assert_eq!(range.contains(&A.key(lent(&key))), is_within);
        prop_assert!(!range.contains(&AB.key(lent(&key))), "a row of another table");
        prop_assert!(A.all().covers(&range));
    }

    #[test]
    fn a_prefix_holds_the_rows_that_begin_with_it(prefix in keys(), key in keys()) {
        let range = A.prefix((prefix.0.as_slice(),));
        prop_assert_eq!(range.contains(&A.key(lent(&key))), prefix.0 == key.0);
        prop_assert!(A.all().covers(&range));
    }

    #[test]
    fn prefixes_of_every_length_hold_what_begins_with_them(
        one in (any::<Option<bool>>(), 0..2_u8, -1..1_i8, any::<bool>(), keys()),
        other in (any::<Option<bool>>(), 0..2_u8, -1..1_i8, any::<bool>(), keys()),
    ) {
        let text = |number: u8| ["", "\0"][usize::from(number)];
        let (a, b, c, d, (e, f)) = (one.0.map(u8::from), text(one.1), one.2, one.3, &one.4);
        let key = DEEP.key((a, b, c, d, e, *f));
        let (a, b, c, d, (e, _)) = (other.0.map(u8::from), text(other.1), other.2, other.3, &other.4);
        let mut is_same = one.0 == other.0;
        prop_assert_eq!(DEEP.prefix((a,)).contains(&key), is_same);
        is_same &= one.1 == other.1;
        prop_assert_eq!(DEEP.prefix((a, b)).contains(&key), is_same);
        is_same &= c == one.2;
        prop_assert_eq!(DEEP.prefix((a, b, c)).contains(&key), is_same);
        is_same &= d == one.3;
        prop_assert_eq!(DEEP.prefix((a, b, c, d)).contains(&key), is_same);
        is_same &= *e == one.4.0;
        prop_assert_eq!(DEEP.prefix((a, b, c, d, e.as_slice())).contains(&key), is_same);
    }

    #[test]
    fn any_bytes_are_a_row_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
        let key = Key::new([b"a\0", bytes.as_slice()].concat());
        match A.decode_key(&key) {
            Ok(decoded) => prop_assert_eq!(A.key(lent(&decoded)), key),
            Err(RowError::Key { at, .. }) => prop_assert!(at <= key.as_bytes().len()),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn tables_of_which_one_name_begins_the_other_share_no_key() {
    let apart = |one: KeyRange, other: KeyRange| {
        let end = one.end().expect("a table ends");
        assert!(end <= other.start(), "{one:?} and {other:?}");
    };
    apart(A.all(), AB.all());
    assert!(A.all().contains(&A.key((b"b", 0))) && !AB.all().contains(&A.key((b"b", 0))));
}

#[test]
fn bounds_the_wrong_way_round_hold_nothing() {
    const NUMBERS: Table<u64, ()> = Table::new("numbers");
    let (low, high) = (3, 7);
    for range in [
        NUMBERS.range(high..low),
        NUMBERS.range(7..7),
        NUMBERS.range((Bound::Excluded(7), Bound::Excluded(7))),
        NUMBERS.range((Bound::Excluded(u64::MAX), Bound::Unbounded)),
    ] {
        assert!(
            range.is_empty()
                || [0, 3, 7, u64::MAX]
                    .iter()
                    .all(|key| !range.contains(&NUMBERS.key(*key))),
            "{range:?}"
        );
    }
    assert_eq!(NUMBERS.range(..), NUMBERS.all());
}

#[test]
fn a_key_of_another_table_or_type_is_refused_with_table_key_and_place() {
    let (table, key) = ("a", AB.key((b"x", 1)));
    assert_eq!(A.decode_key(&key), Err(RowError::OtherTable { table, key }));
    let raw = Key::from("a");
    assert!(matches!(A.decode_key(&raw), Err(RowError::OtherTable { .. })));

    let key = Key::new(b"a\0x\0\0");
    let error = A.decode_key(&key).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key \"a\\x00x\\x00\\x00\" of table a is none of its type, from byte 5 on: 1 more bytes were expected, and 0 are left"
    );
    let key = Key::new([A.key((b"x", 1)).as_bytes(), b"yz"].concat());
    let RowError::Key { at, error, .. } = A.decode_key(&key).unwrap_err() else {
        panic!("it is in the table")
    };
    assert_eq!((at, error), (6, KeyError::TrailingBytes { bytes: 2 }));
}

#[test]
fn a_name_is_visible_ascii_within_its_bound() {
    let is_table = |name: &'static str| std::panic::catch_unwind(|| Table::<u64, ()>::new(name)).is_ok();
    let long: &'static str = "x".repeat(TABLE_NAME_BYTES_MAX + 1).leak();
    assert!(is_table("a.b/c-d_e") && is_table(&long[1..]));
    assert!(!is_table("") && !is_table(long) && !is_table("a b") && !is_table("a\0") && !is_table("ä"));
    assert_eq!(format!("{:?}", Table::<u64, ()>::new("users")), "Table(\"users\")");
}
