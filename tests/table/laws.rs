//! The three laws of keys, for every type: order kept, no encoding begins another one, one encoding for each value.

use std::fmt::Debug;

use plimsoll::key::Key;
use plimsoll::table::{KeyError, TableKey};
use proptest::prelude::*;
use proptest::strategy::Just;
use uuid::Uuid;

fn encoding<K: TableKey>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    K::encode(key.borrowed(), &mut bytes);
    bytes
}

/// What holds of one value: it comes back and leaves what follows it, and with its end cut off it is refused.
fn check_one<K: TableKey + PartialEq + Debug>(key: &K) {
    let bytes = encoding(key);
    let followed = [bytes.as_slice(), &[0xff, 0]].concat();
    let mut rest = followed.as_slice();
    assert_eq!(K::decode(&mut rest).as_ref(), Ok(key));
    assert_eq!(rest, [0xff, 0], "{key:?}: what follows a key is not its own");
    for cut in 0..bytes.len() {
        let refused = K::decode(&mut &bytes[..cut]);
        assert!(refused.is_err(), "{key:?} cut to {cut} bytes is {refused:?}");
    }
}

/// What holds of two values: their bytes are in their order, and neither begins the other.
fn check_two<K: TableKey + Ord + Debug>(one: &K, other: &K) {
    let (bytes, other_bytes) = (encoding(one), encoding(other));
    assert_eq!(bytes.cmp(&other_bytes), one.cmp(other), "{one:?} and {other:?}");
    assert_eq!(
        other_bytes.starts_with(&bytes),
        one == other,
        "{one:?} begins {other:?}"
    );
}

/// Any bytes are refused, or are what their value is encoded to.
fn check_bytes<K: TableKey + Debug>(bytes: &[u8]) {
    let mut rest = bytes;
    if let Ok(key) = K::decode(&mut rest) {
        let read = &bytes[..bytes.len() - rest.len()];
        assert_eq!(encoding(&key), read, "{key:?} has two encodings");
    }
}

/// Values that are often equal or nearly so, extremes among them.
fn number<N: Copy + Debug + Arbitrary + 'static>(extremes: [N; 5]) -> impl Strategy<Value = N> {
    prop_oneof![2 => proptest::sample::select(extremes.to_vec()), 1 => any::<N>()]
}

/// Byte strings of what is dangerous in them, mostly.
fn string() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => proptest::sample::select(vec![0, 1, 0x61, 0xfe, 0xff]), 1 => any::<u8>()];
    proptest::collection::vec(byte, 0..5)
}

fn text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![4 => proptest::sample::select(vec!['\0', '\u{1}', 'a', '\u{ff}', '\u{10ffff}']), 1 => any::<char>()];
    proptest::collection::vec(letter, 0..5).prop_map(String::from_iter)
}

fn uuid() -> impl Strategy<Value = Uuid> {
    number([0, 1, 1 << 64, u128::MAX - 1, u128::MAX]).prop_map(Uuid::from_u128)
}

/// The laws for pairs of a strategy's values, and for any bytes.
macro_rules! keeps_the_laws {
    ($($name:ident: $K:ty = $strategy:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(512))]
            $(
                #[test]
                fn $name(one in $strategy, other in $strategy, bytes in string(), long in proptest::collection::vec(any::<u8>(), 0..40)) {
                    check_one::<$K>(&one);
                    check_two::<$K>(&one, &other);
                    check_bytes::<$K>(&bytes);
                    check_bytes::<$K>(&long);
                    check_bytes::<$K>(&[encoding::<$K>(&one), bytes].concat());
                }
            )*
        }
    };
}

keeps_the_laws! {
    unit: () = Just(());
    truth: bool = any::<bool>();
    u16s: u16 = number([0, 1, 255, 256, u16::MAX]);
    u32s: u32 = number([0, 1, 255, 1 << 24, u32::MAX]);
    u64s: u64 = number([0, 1, 255, 1 << 56, u64::MAX]);
    u128s: u128 = number([0, 1, 255, 1 << 64, u128::MAX]);
    i16s: i16 = number([i16::MIN, -1, 0, 1, i16::MAX]);
    i32s: i32 = number([i32::MIN, -1, 0, 1, i32::MAX]);
    i64s: i64 = number([i64::MIN, -1, 0, 1, i64::MAX]);
    i128s: i128 = number([i128::MIN, -1, 0, 1, i128::MAX]);
    texts: String = text();
    byte_strings: Vec<u8> = string();
    raw_keys: Key = string().prop_map(Key::new);
    arrays: [u8; 3] = any::<[u8; 3]>();
    no_bytes: [u8; 0] = Just([]);
    uuids: Uuid = uuid();
    options: Option<i16> = proptest::option::of(number([i16::MIN, -1, 0, 1, i16::MAX]));
    options_of_strings: Option<Vec<u8>> = proptest::option::of(string());
    options_within: Option<Option<bool>> = proptest::option::of(proptest::option::of(any::<bool>()));
    options_of_nothing: Option<()> = proptest::option::of(Just(()));
    ones: (String,) = text().prop_map(|text| (text,));
    strings_before_numbers: (Vec<u8>, u8) = (string(), any::<u8>());
    strings_before_strings: (Vec<u8>, Vec<u8>) = (string(), string());
    threes: (String, Option<u8>, String) = (text(), any::<Option<u8>>(), text());
    fours: (bool, Vec<u8>, (), i8) = (any::<bool>(), string(), Just(()), any::<i8>());
    fives: (u8, i8, bool, Option<Vec<u8>>, [u8; 1]) = (0..2_u8, -1..1_i8, any::<bool>(), proptest::option::of(string()), any::<[u8; 1]>());
    sixes: (Vec<u8>, Vec<u8>, bool, bool, u8, String) = (string(), string(), any::<bool>(), any::<bool>(), 0..2_u8, text());
    tuples_within: ((String, u8), (Vec<u8>, String)) = ((text(), 0..2_u8), (string(), text()));
}

#[test]
fn every_pair_of_small_values_is_in_order() {
    let (bytes, signed): (Vec<u8>, Vec<i8>) = ((0..=u8::MAX).collect(), (i8::MIN..=i8::MAX).collect());
    for one in &bytes {
        check_one(one);
        bytes.iter().for_each(|other| check_two(one, other));
    }
    for one in &signed {
        check_one(one);
        signed.iter().for_each(|other| check_two(one, other));
    }
}

#[test]
fn every_pair_of_short_strings_of_dangerous_bytes_is_in_order_with_whatever_follows() {
    let mut strings = vec![Vec::new()];
    for length in 0..3 {
        let longer: Vec<_> = strings
            .iter()
            .filter(|string| string.len() == length)
            .cloned()
            .collect();
        for byte in [0, 1, 0xfe, 0xff] {
            strings.extend(longer.iter().map(|string| [string.as_slice(), &[byte]].concat()));
        }
    }
    assert_eq!(strings.len(), 85, "all of up to three bytes");
    let keys = strings
        .iter()
        .flat_map(|string| [0_u8, 0xff].map(|after| (string.clone(), after)));
    let keys: Vec<_> = keys.collect();
    for one in &keys {
        check_one(one);
        keys.iter().for_each(|other| check_two(one, other));
    }
}

#[test]
fn bytes_that_are_no_key_are_refused_with_what_is_wrong() {
    fn refusal<K: TableKey + Debug>(mut bytes: &[u8]) -> (KeyError, String) {
        let error = K::decode(&mut bytes).unwrap_err();
        let text = error.to_string();
        (error, text)
    }
    let (error, text) = refusal::<u32>(&[1, 2]);
    assert_eq!(error, KeyError::TooShort { needed: 4, found: 2 });
    assert_eq!(text, "4 more bytes were expected, and 2 are left");
    let (error, text) = refusal::<Vec<u8>>(b"ab\0\xffc");
    assert_eq!(error, KeyError::NoEnd { bytes: 5 });
    assert_eq!(text, "a string of 5 bytes does not end: 00 00 was expected");
    let (error, _) = refusal::<Vec<u8>>(b"ab\0");
    assert_eq!(error, KeyError::NoEnd { bytes: 3 });
    let (error, text) = refusal::<String>(b"ab\0\x07");
    assert_eq!(error, KeyError::Escape { found: 7 });
    assert_eq!(text, "the byte 00 of a string is followed by 07: ff or 00 was expected");
    let (error, text) = refusal::<String>(b"ab\xff\0\0");
    assert_eq!(error, KeyError::NotText { bytes: 3, valid: 2 });
    assert_eq!(text, "a string of 3 bytes is no UTF-8 from byte 2 on");
    let (error, text) = refusal::<bool>(&[2]);
    assert_eq!(error, KeyError::Mark { found: 2 });
    assert_eq!(text, "the byte 02 marks nothing: 00 or 01 was expected");
    let (error, _) = refusal::<Option<u8>>(&[9, 9]);
    assert_eq!(error, KeyError::Mark { found: 9 });
    let (error, _) = refusal::<(u8, Option<u16>)>(&[9, 1, 1]);
    assert_eq!(error, KeyError::TooShort { needed: 2, found: 1 });
}

/// Keys that break the laws, each in its way, as the checks must find.
mod broken {
    use super::*;

    macro_rules! broken {
        ($name:ident($inner:ty): $encode:expr, $decode:expr) => {
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub(super) struct $name(pub(super) $inner);

            impl TableKey for $name {
                type Borrowed<'a> = Self;

                fn borrowed(&self) -> Self {
                    *self
                }

                fn encode(key: Self, out: &mut Vec<u8>) {
                    let encode: fn($inner) -> Vec<u8> = $encode;
                    out.extend(encode(key.0));
                }

                fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
                    let decode: fn(&mut &[u8]) -> Result<$inner, KeyError> = $decode;
                    decode(bytes).map(Self)
                }
            }
        };
    }

    broken!(LowestFirst(u16): |key| key.to_le_bytes().to_vec(), |bytes| {
        <[u8; 2]>::decode(bytes).map(u16::from_le_bytes)
    });
    // A string without an end takes all there is.
    broken!(Endless(&'static str): |key| key.as_bytes().to_vec(), |bytes| {
        std::str::from_utf8(std::mem::take(bytes)).map(|text| &*text.to_owned().leak()).map_err(|error| KeyError::Refused(error.to_string()))
    });
    broken!(AnyMark(bool): |key| vec![u8::from(key)], |bytes| u8::decode(bytes).map(|mark| mark != 0));
}

#[test]
fn the_checks_find_keys_that_break_each_law() {
    use broken::{AnyMark, Endless, LowestFirst};
    let is_found = |check: fn()| std::panic::catch_unwind(check).is_err();
    assert!(
        is_found(|| check_two(&LowestFirst(1), &LowestFirst(256))),
        "out of order"
    );
    assert!(
        is_found(|| check_two(&Endless("a"), &Endless("ab"))),
        "one begins the other"
    );
    assert!(is_found(|| check_one(&Endless("a"))), "takes what follows it");
    assert!(is_found(|| check_bytes::<AnyMark>(&[7])), "two encodings");
    check_one(&LowestFirst(256));
    check_two(&AnyMark(false), &AnyMark(true));
}
