//! The stores beside their limits: `cargo bench --bench store`.
//!
//! Every figure of ours stands beside the limit's of the same run: the two are measured by turns, and of each the median counts. All ends
//! with one line for each comparison, `ratio NAME VALUE`: ours over the limit's where more is better, and the other way round where less is,
//! so that 1 is as good as the limit and more is better. Figures of a run, and what they decided, stand in `docs/storage.md`.
//!
//! With names of sections behind it, `-- log` or `-- versions`, only those are run. Without `--bench`, as `cargo test --benches` runs it, or with `--test` it does everything once and tiny.

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

mod log;
mod measure;
mod reads;
mod versions;

use std::path::Path;

use measure::{Ratios, Scale};

/// *Given* an empty folder.
type Section = fn(&Path, Scale, &mut Ratios);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let scale = if has("--bench") && !has("--test") {
        Scale::Full
    } else {
        Scale::Tiny
    };
    // Below the target folder, since the one for what is temporary may be in memory.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-store-{}", std::process::id()));
    let mut ratios = Ratios::default();
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let sections: [(&str, Section); 2] = [("versions", versions::run), ("log", log::run)];
    for (_, section) in sections
        .iter()
        .filter(|(name, _)| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name))
    {
        // Of a run that was interrupted under the same number.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the target folder can be written");
        section(&folder, scale, &mut ratios);
        std::fs::remove_dir_all(&folder).expect("what was made here can be removed");
    }
    ratios.print();
}
