//! The wire and disk format.
