//! Lists the scenarios of `scenarios/` and of its folder `classic/` for `src/bundled.rs`, so that a new file is bundled without being named anywhere.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=scenarios");
    println!("cargo::rerun-if-changed=build.rs");
    let home = |variable| env::var_os(variable).map(PathBuf::from).ok_or(io::ErrorKind::NotFound);
    let folder = home("CARGO_MANIFEST_DIR")?.join("scenarios");
    let mut list = String::from("[\n");
    for path in scenarios(&folder)?
        .into_iter()
        .chain(scenarios(&folder.join("classic"))?)
    {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let _ = writeln!(list, "    ({:?}, include_str!({path:?})),", name.unwrap_or_default());
    }
    list.push(']');
    fs::write(home("OUT_DIR")?.join("scenarios.rs"), list)
}

/// The scenario files of a folder, by name; none where there is no such folder.
fn scenarios(folder: &Path) -> io::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
