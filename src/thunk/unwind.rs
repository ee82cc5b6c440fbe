//! Panics of users' code, caught where it is called.
//!
//! A panic is an abort of the transaction and no more: the process's panic hook reports it first, as any other (a library does not
//! replace the hook), and a program that is built with `panic = "abort"` ends at it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a user's code. *Errors* with the message of its panic.
///
/// *Given* that whatever the code may have left half done is thrown away, or undone, if it panics.
pub(super) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let panic = match panic.downcast::<String>() {
        Ok(message) => return *message,
        Err(panic) => panic,
    };
    match panic.downcast::<&'static str>() {
        Ok(message) => (*message).to_owned(),
        Err(panic) => {
            // Dropping a value of the user's own may panic in its turn, with nothing left to catch it.
            std::mem::forget(panic);
            "without a message".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_message_whatever_it_carries() {
        struct Fatal;

        impl Drop for Fatal {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }

        assert_eq!(catch(|| 7), Ok(7));
        let fixed = catch(|| panic!("fixed"));
        let formatted = catch(|| panic!("of {}", 2));
        let foreign = catch(|| std::panic::panic_any(Fatal));
        let messages: [Result<(), String>; 3] = [fixed, formatted, foreign];
        assert_eq!(messages.map(Result::unwrap_err), ["fixed", "of 2", "without a message"]);
    }
}
