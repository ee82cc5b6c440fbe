//! The stores beside their limits: `cargo bench --bench store`.

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod versions;

fn main() {
    versions::run();
}
