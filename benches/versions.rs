//! Versions on disk beside their limits: `cargo bench --bench versions`.

#[path = "store/versions.rs"]
mod versions;

fn main() {
    versions::run();
}
