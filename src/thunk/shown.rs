//! Values in messages.

use crate::key::Value;

/// A value for a message: its first bytes, and how many there are if that is not all.
pub(super) fn shown(value: Option<&Value>) -> String {
    const SHOWN_BYTES: usize = 32;
    match value {
        None => "nothing".to_owned(),
        Some(value) if value.as_bytes().len() <= SHOWN_BYTES => format!("{value:?}"),
        Some(value) => {
            let begin = value.as_bytes()[..SHOWN_BYTES].escape_ascii();
            format!("\"{begin}...\" ({} bytes)", value.as_bytes().len())
        }
    }
}
