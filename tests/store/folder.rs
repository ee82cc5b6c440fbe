//! What a folder of the file system does beyond what any disk does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use plimsoll::store::StoreError;
use plimsoll::store::disk::{Disk, FolderDisk};

/// A folder that goes with its owner.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("folder-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that failed before it made anything has nothing to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A disk in a folder of its own.
#[derive(Debug)]
pub(crate) struct ScratchDisk {
    disk: FolderDisk,
    folder: Scratch,
}

impl ScratchDisk {
    pub(crate) fn new() -> Self {
        let folder = Scratch::new();
        Self {
            disk: FolderDisk::open(&folder.0).expect("the folder is new"),
            folder,
        }
    }

    pub(crate) fn restart(self) -> Self {
        drop(self.disk);
        Self {
            disk: FolderDisk::open(&self.folder.0).expect("nobody has it open any more"),
            folder: self.folder,
        }
    }
}

impl Disk for ScratchDisk {
    fn open(&self, name: &str) -> std::io::Result<std::sync::Arc<dyn plimsoll::store::disk::File>> {
        self.disk.open(name)
    }

    fn names(&self) -> std::io::Result<Vec<String>> {
        self.disk.names()
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.disk.remove(name)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.disk.sync()
    }

    fn path(&self) -> String {
        self.disk.path()
    }
}

#[test]
fn a_folder_is_open_once_and_as_long_as_a_file_of_it_is_held() {
    let folder = Scratch::new();
    let disk = FolderDisk::open(&folder.0).expect("the folder is new");
    let refused = FolderDisk::open(&folder.0).expect_err("it is open");
    let name = folder.0.display().to_string();
    assert!(
        matches!(&refused, StoreError::InUse { folder } if *folder == name),
        "{refused}"
    );
    let file = disk.open("a").expect("the medium is sound");
    drop(disk);
    FolderDisk::open(&folder.0).expect_err("a file of it is held");
    drop(file);
    FolderDisk::open(&folder.0).expect("nobody has it open any more");
}

#[test]
fn folders_above_are_created_and_what_a_store_did_not_put_there_is_not_seen() {
    let folder = Scratch::new();
    let deep = folder.0.join("of/a/node");
    let disk = FolderDisk::open(&deep).expect("the folder is new");
    assert_eq!(disk.path(), deep.display().to_string());
    disk.open("a").expect("the medium is sound");
    fs::create_dir(deep.join("b")).expect("the medium is sound");
    fs::write(deep.join("left over~"), "").expect("the medium is sound");
    assert_eq!(disk.names().expect("the medium is sound"), ["a"]);
}

#[test]
fn a_file_in_the_place_of_the_folder_is_an_error_that_names_it() {
    let folder = Scratch::new();
    fs::create_dir(&folder.0).expect("the folder is new");
    let file = folder.0.join("file");
    fs::write(&file, "").expect("the medium is sound");
    let refused = FolderDisk::open(&file).expect_err("a file is no folder");
    assert!(matches!(&refused, StoreError::Medium { .. }), "{refused}");
    assert!(
        refused.to_string().starts_with(&file.display().to_string()),
        "{refused}"
    );
}
