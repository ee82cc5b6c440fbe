//! A folder of the file system as a [`Disk`].
//!
//! Positional reads and writes, `fdatasync` for the bytes of a file and `fsync` of the folder for its names. What is assumed of the file
//! system below stands in `docs/storage.md`. Tests: `tests/store/disk.rs`, the suite every disk is put through, and `tests/store/folder.rs`.

use std::fs::{self, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, File, LOCK, check_name};
use crate::store::StoreError;

/// A folder that this process alone has open, for as long as this or a file of it is held.
#[derive(Clone, Debug)]
pub struct FolderDisk {
    path: PathBuf,
    /// Locked; the lock goes with the last handle of it, or with the process.
    lock: Arc<fs::File>,
}

impl FolderDisk {
    /// The folder at `path`, created if there is none, and locked.
    ///
    /// *Errors*: [`StoreError::InUse`] when another process, or this one, has it open; [`StoreError::Medium`] when it cannot be
    /// created or read. Nothing was changed but that the folder may be there now, with its lock.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let failed = |action| {
            let file = path.display().to_string();
            move |source: io::Error| StoreError::Medium {
                file,
                action,
                source: Arc::new(source),
            }
        };
        create(&path).map_err(failed("create the folder"))?;
        let mut options = fs::File::options();
        let lock = options.read(true).write(true).create(true).truncate(false);
        let lock = lock.open(path.join(LOCK)).map_err(failed("create the lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path,
                lock: Arc::new(lock),
            }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
                folder: path.display().to_string(),
            }),
            Err(TryLockError::Error(source)) => Err(failed("lock the folder")(source)),
        }
    }

    fn file(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }
}

/// Lets go of what the system has cached of a file whose sync has failed: it may hold it for clean, so that reads would give what is on
/// no medium, and no later sync would write it.
fn forget(file: &fs::File) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::error!(%error, "after a failed sync the cache of a file cannot be dropped: restart the machine before the store is opened");
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        tracing::error!("a sync has failed: restart the machine before the store is opened");
    }
}

/// Creates a folder and those above it, and makes their names durable.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    // A relative path of one name has the empty path above it, which is where we are.
    let above = match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    create(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    sync_folder(above)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

impl Disk for FolderDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.file(name)?;
        let mut options = fs::File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Arc::new(FolderFile {
            file,
            _lock: Arc::clone(&self.lock),
        }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // What has another name, or is a folder, was not put there by a store.
            if let Ok(name) = entry.file_name().into_string()
                && check_name(&name).is_ok()
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from)?, self.file(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name)?)
    }

    fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug)]
struct FolderFile {
    file: fs::File,
    /// Nobody else opens the folder while a file of it is held.
    _lock: Arc<fs::File>,
}

impl File for FolderFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // The length goes with the bytes: fdatasync leaves out only what is not needed to read them back, such as times.
        self.file.sync_data().inspect_err(|_| forget(&self.file))
    }
}
