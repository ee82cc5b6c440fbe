//! Typed tables through the public door: the laws and the bytes of keys, ranges, rows in thunks and stages, and reads from outside.

mod golden;
mod laws;
mod outside;
mod ranges;
mod rows;
mod staged;
