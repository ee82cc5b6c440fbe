//! Tuples as keys, and their leading components as prefixes.

use super::{KeyError, TableKey};

/// The leading components of a tuple key: what [`Table::prefix`](super::Table::prefix) takes. Of `(A, B, C)` these are `(A,)` and `(A, B)`, as they
/// are handed over ([`TableKey::Borrowed`]).
///
/// What is no prefix of the key does not compile:
///
/// ```compile_fail,E0271
/// # use plimsoll::table::Table;
/// const POSTS: Table<(String, u64), String> = Table::new("posts");
/// POSTS.prefix((7_u64,));
/// ```
pub trait PrefixOf<K> {
    /// Appends the encoding of the components to `out`.
    fn encode_prefix(self, out: &mut Vec<u8>);
}

/// A tuple of these components.
macro_rules! tuple {
    ($($K:ident $key:ident),+) => {
        impl<$($K: TableKey),+> TableKey for ($($K,)+) {
            type Borrowed<'a> = ($($K::Borrowed<'a>,)+);

            fn borrowed(&self) -> Self::Borrowed<'_> {
                let ($($key,)+) = self;
                ($($key.borrowed(),)+)
            }

            fn encode(($($key,)+): Self::Borrowed<'_>, out: &mut Vec<u8>) {
                $($K::encode($key, out);)+
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
                // Operands are evaluated from left to right, as the components lie.
                Ok(($($K::decode(bytes)?,)+))
            }
        }
    };
}

/// The components before the `of` as a prefix of the tuple that goes on with those behind it.
macro_rules! prefix {
    ($($K:ident $key:ident),+ of $($Rest:ident),+) => {
        impl<$($K: TableKey,)+ $($Rest),+> PrefixOf<($($K,)+ $($Rest,)+)> for ($($K::Borrowed<'_>,)+) {
            fn encode_prefix(self, out: &mut Vec<u8>) {
                let ($($key,)+) = self;
                $($K::encode($key, out);)+
            }
        }
    };
}

tuple!(A a);
tuple!(A a, B b);
tuple!(A a, B b, C c);
tuple!(A a, B b, C c, D d);
tuple!(A a, B b, C c, D d, E e);
tuple!(A a, B b, C c, D d, E e, F f);

prefix!(A a of B);
prefix!(A a of B, C);
prefix!(A a of B, C, D);
prefix!(A a of B, C, D, E);
prefix!(A a of B, C, D, E, F);
prefix!(A a, B b of C);
prefix!(A a, B b of C, D);
prefix!(A a, B b of C, D, E);
prefix!(A a, B b of C, D, E, F);
prefix!(A a, B b, C c of D);
prefix!(A a, B b, C c of D, E);
prefix!(A a, B b, C c of D, E, F);
prefix!(A a, B b, C c, D d of E);
prefix!(A a, B b, C c, D d of E, F);
prefix!(A a, B b, C c, D d, E e of F);
