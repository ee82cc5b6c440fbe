//! Any bytes as a user's value: what a client of another release can offer as arguments.

#![no_main]

use std::collections::BTreeMap;

use plimsoll::codec;
use plimsoll::key::Value;

type Arguments = (
    u8,
    BTreeMap<String, Vec<Option<(i128, f64)>>>,
    Result<char, std::time::Duration>,
    Box<[u16]>,
);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let value = Value::new(bytes.to_vec());
    if let Ok(arguments) = codec::decode_value::<Arguments>(&value) {
        let again = codec::encode_value(&arguments).expect("it was not larger before");
        let back = codec::decode_value::<Arguments>(&again).expect("just encoded");
        // As text, because a float that is no number is not equal to itself.
        assert_eq!(format!("{back:?}"), format!("{arguments:?}"));
    }
});
