//! The bytes of every encoding, kept: they lie on disks.
//!
//! A test here that fails has found a change of the disk format. There is no version by which old keys could be told from new ones: a type
//! whose encoding is wrong stays as it is, and another type takes its place.

use std::fmt::Debug;

use plimsoll::key::{Key, Value};
use plimsoll::table::{Number, Table, TableKey};
use uuid::Uuid;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Written as these bytes, and read from them.
fn is_kept<K: TableKey + PartialEq + Debug>(key: K, kept: &str) {
    let mut bytes = Vec::new();
    K::encode(key.borrowed(), &mut bytes);
    assert_eq!(hex(&bytes), kept, "{key:?}");
    assert_eq!(K::decode(&mut bytes.as_slice()), Ok(key), "{kept}");
}

#[test]
fn unsigned_numbers_lie_with_the_highest_byte_first() {
    is_kept(7_u8, "07");
    is_kept(0x0102_u16, "01 02");
    is_kept(0x0102_0304_u32, "01 02 03 04");
    is_kept(u64::MAX - 1, "ff ff ff ff ff ff ff fe");
    is_kept(1_u128 << 64, "00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 00");
}

#[test]
fn signed_numbers_lie_with_the_highest_bit_flipped() {
    is_kept(-1_i8, "7f");
    is_kept(i16::MIN, "00 00");
    is_kept(1_i32, "80 00 00 01");
    is_kept(-2_i64, "7f ff ff ff ff ff ff fe");
    is_kept(i128::MAX, "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff");
}

#[test]
fn truth_nothing_and_options_lie_as_marks() {
    is_kept((), "");
    is_kept(false, "00");
    is_kept(true, "01");
    is_kept(None::<u16>, "00");
    is_kept(Some(3_u16), "01 00 03");
    is_kept(Some(None::<u8>), "01 00");
}

#[test]
fn strings_lie_escaped_and_ended() {
    is_kept(String::new(), "00 00");
    is_kept("hé".to_owned(), "68 c3 a9 00 00");
    is_kept("a\0b".to_owned(), "61 00 ff 62 00 00");
    is_kept(vec![0_u8, 0xff, 0], "00 ff ff 00 ff 00 00");
    is_kept(Key::from("a\0"), "61 00 ff 00 00");
}

#[test]
fn what_has_a_fixed_length_lies_as_it_is() {
    is_kept([0_u8, 0xff, 0], "00 ff 00");
    let uuid = Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    is_kept(uuid, "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f");
}

#[test]
fn tuples_lie_as_one_component_after_the_other() {
    is_kept((1_u8,), "01");
    is_kept((String::from("a"), 1_u8), "61 00 00 01");
    is_kept((1_u8, -1_i8, true), "01 7f 01");
    is_kept((1_u8, (2_u8, 3_u8), (), None::<u8>), "01 02 03 00");
    is_kept((1_u8, 2_u8, 3_u8, 4_u8, 5_u8), "01 02 03 04 05");
    is_kept((1_u8, 2_u8, 3_u8, 4_u8, 5_u8, vec![6_u8]), "01 02 03 04 05 06 00 00");
}

#[test]
fn a_row_lies_under_the_name_of_its_table_a_zero_byte_and_its_key() {
    const POSTS: Table<(String, u16), String> = Table::new("posts");
    let key = POSTS.key(("ann", 7));
    assert_eq!(hex(key.as_bytes()), "70 6f 73 74 73 00 61 6e 6e 00 00 00 07");
    assert_eq!(POSTS.decode_key(&key), Ok(("ann".to_owned(), 7)));
    let all = POSTS.all();
    assert_eq!(hex(all.start().as_bytes()), "70 6f 73 74 73 00");
    assert_eq!(all.end().map(|end| hex(end.as_bytes())).unwrap(), "70 6f 73 74 73 01");
}

#[test]
fn a_number_is_stored_as_the_operators_have_it() {
    const NUMBERS: Table<(), Number> = Table::new("numbers");
    let stored = NUMBERS.encode_value(&Number(-2)).unwrap();
    assert_eq!(stored, Value::new(vec![254, 255, 255, 255, 255, 255, 255, 255]));
    assert_eq!(NUMBERS.decode_value(&NUMBERS.key(()), &stored), Ok(Number(-2)));
}
