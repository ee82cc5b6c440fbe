//! The database file: opened, read at its last commit, and opened again after the medium was full.

use std::fmt::{self, Debug};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redb::{
    Builder, Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, StorageBackend, WriteTransaction,
};

use super::super::StoreError;
use super::super::disk::{Disk, VerifiedBackend};
use super::fault::Place;
use super::table::{FORMAT, META, META_FORMAT, META_STATE, META_WALK, OUTCOMES, State, VERSIONS, VersionKey};
use crate::codec;
use crate::key::Key;

/// A file that can be opened as the backend of a database, again and again: after an error the database must be opened anew.
pub trait Medium: Send + Sync + Debug {
    /// What to call the file in an error.
    fn file(&self) -> String;

    /// The file. It is empty if there is none yet.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;
}

/// A file of a disk, of which every block is verified.
#[derive(Debug)]
pub(super) struct VerifiedFile {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) name: String,
}

impl Medium for VerifiedFile {
    fn file(&self) -> String {
        format!("{}/{}", self.disk.path(), self.name)
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let backend = VerifiedBackend::open(&*self.disk, &self.name).map_err(io::Error::other)?;
        Ok(Box::new(backend))
    }
}

/// The database of one medium, and the first thing that went wrong with it.
pub(super) struct Store {
    medium: Box<dyn Medium>,
    file: String,
    cache_bytes: usize,
    /// None if it could not be opened again.
    database: Mutex<Option<Database>>,
    failure: OnceLock<StoreError>,
}

/// The tables at one commit.
pub(super) struct Reader {
    pub(super) versions: ReadOnlyTable<VersionKey, &'static [u8]>,
    pub(super) outcomes: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    pub(super) state: State,
    /// Where the search for what nobody remembers goes on; none at the first key.
    pub(super) walk: Option<Key>,
}

impl Store {
    /// The store on `medium`, with its tables at the last commit.
    ///
    /// *Errors*: see [`DiskVersions::open`](super::DiskVersions::open).
    pub(super) fn open(medium: Box<dyn Medium>, cache_bytes: usize) -> Result<(Arc<Self>, Reader), StoreError> {
        let store = Self {
            file: medium.file(),
            medium,
            cache_bytes,
            database: Mutex::new(None),
            failure: OnceLock::new(),
        };
        let database = store.open_database()?;
        let reader = match store.read(&database)? {
            Some(reader) => reader,
            None => {
                store.create_tables(&database)?;
                let reader = store.read(&database)?;
                reader.ok_or_else(|| {
                    store
                        .place("meta", "read")
                        .damaged(&META_FORMAT, "it was written and is not there")
                })?
            }
        };
        *store.database() = Some(database);
        Ok((Arc::new(store), reader))
    }

    pub(super) fn place(&self, table: &'static str, action: &'static str) -> Place<'_> {
        Place {
            file: &self.file,
            table,
            action,
        }
    }

    pub(super) fn failure(&self) -> Option<&StoreError> {
        self.failure.get()
    }

    /// Nothing is read or written any more. The first reason stays.
    pub(super) fn fail(&self, error: StoreError) {
        let _ = self.failure.set(error);
    }

    /// The tables at the last commit. Waits for a flush that is being written.
    pub(super) fn reader(&self) -> Result<Reader, StoreError> {
        let database = self.database();
        let database = database.as_ref().ok_or_else(|| self.closed())?;
        self.read_existing(database)
    }

    /// Writes one commit; when it fails for want of room the database is opened again, as it was before.
    ///
    /// *Gives* what `write` gives. *Errors*: [`StoreError::Full`]: nothing was written, and it may be tried again; all others:
    /// the store has failed.
    pub(super) fn commit<T>(
        &self,
        flush: u64,
        write: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(failure) = self.failure() {
            return Err(failure.clone());
        }
        let mut slot = self.database();
        let database = slot.as_ref().ok_or_else(|| self.closed())?;
        let mut written = None;
        let result = self.transact(database, |transaction| {
            written = Some(write(transaction)?);
            Ok(())
        });
        let result = match result {
            // After an error the database answers nothing any more.
            Err(StoreError::Full { file }) => {
                *slot = None;
                self.open_again(&mut slot).and_then(|flushes| {
                    // The error may have come behind the moment that counts.
                    if flushes >= flush {
                        Ok(())
                    } else {
                        Err(StoreError::Full { file })
                    }
                })
            }
            result => result,
        };
        if let Err(error) = &result
            && !matches!(error, StoreError::Full { .. })
        {
            self.fail(error.clone());
        }
        result.map(|()| written.expect("a commit that is durable was written to its end"))
    }

    /// *Gives* how many flushes the database holds.
    fn open_again(&self, slot: &mut Option<Database>) -> Result<u64, StoreError> {
        let database = self.open_database()?;
        let flushes = self.read_existing(&database)?.state.flushes;
        *slot = Some(database);
        Ok(flushes)
    }

    /// Bytes that the database takes, and those of it that rows take.
    pub(super) fn extent(&self) -> Result<Extent, StoreError> {
        let reader = self.reader()?;
        let place = self.place("versions", "count rows");
        let rows = reader.versions.len().map_err(|error| place.storage(&"any", error))?;
        let outcomes = reader.outcomes.len().map_err(|error| place.storage(&"any", error))?;
        Ok(Extent { rows, outcomes })
    }

    fn closed(&self) -> StoreError {
        self.failure().cloned().unwrap_or_else(|| StoreError::Medium {
            file: self.file.clone(),
            action: "use the database",
            source: Arc::new(io::Error::other("it was closed after an earlier error")),
        })
    }

    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        // Whoever panicked with it left the database as a crash would, and a commit is whole or not there.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_database(&self) -> Result<Database, StoreError> {
        let place = self.place("all", "open the database");
        let backend = self
            .medium
            .open()
            .map_err(|error| place.storage(&"any", error.into()))?;
        Builder::new()
            .set_cache_size(self.cache_bytes)
            .create_with_backend(Boxed(backend))
            .map_err(|error| place.database(error))
    }

    fn create_tables(&self, database: &Database) -> Result<(), StoreError> {
        self.transact(database, |transaction| {
            let place = self.place("meta", "create the tables");
            transaction.open_table(VERSIONS).map_err(|error| place.table(error))?;
            transaction.open_table(OUTCOMES).map_err(|error| place.table(error))?;
            let mut meta = transaction.open_table(META).map_err(|error| place.table(error))?;
            meta.insert(META_FORMAT, &FORMAT.to_be_bytes()[..])
                .map_err(|error| place.storage(&META_FORMAT, error))?;
            let mut state = Vec::new();
            codec::encode_plain(&State::default(), &mut state);
            meta.insert(META_STATE, state.as_slice())
                .map_err(|error| place.storage(&META_STATE, error))?;
            Ok(())
        })
    }

    fn transact(
        &self,
        database: &Database,
        write: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let place = self.place("all", "write a commit");
        let mut transaction = database.begin_write().map_err(|error| place.transaction(error))?;
        // Two phases, so that a commit which a crash cut short is never taken for a whole one, and the allocator's state in it, so
        // that opening does not read the whole file.
        transaction.set_quick_repair(true);
        write(&transaction)?;
        transaction.commit().map_err(|error| place.commit(error))
    }

    fn read_existing(&self, database: &Database) -> Result<Reader, StoreError> {
        let missing = || self.place("meta", "read").damaged(&META_FORMAT, "it is missing");
        self.read(database)?.ok_or_else(missing)
    }

    /// The tables at the last commit; none if nothing was ever written.
    fn read(&self, database: &Database) -> Result<Option<Reader>, StoreError> {
        let place = self.place("meta", "read");
        let transaction = database.begin_read().map_err(|error| place.transaction(error))?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            Err(redb::TableError::TableDoesNotExist(_)) => {
                let mut tables = transaction
                    .list_tables()
                    .map_err(|error| place.storage(&"any", error))?;
                return match tables.next() {
                    None => Ok(None),
                    Some(_) => Err(place.damaged(&META_FORMAT, "there are tables, but this one is missing")),
                };
            }
            Err(error) => return Err(place.table(error)),
        };
        let row = |name: &str| {
            let row = meta.get(name).map_err(|error| place.storage(&name, error))?;
            Ok(row.map(|row| row.value().to_vec()))
        };
        let format = row(META_FORMAT)?.ok_or_else(|| place.damaged(&META_FORMAT, "it is missing"))?;
        let format =
            <[u8; 4]>::try_from(format.as_slice()).map_err(|_| place.damaged(&META_FORMAT, "it has not four bytes"))?;
        match u32::from_be_bytes(format) {
            FORMAT => {}
            found if found > FORMAT => {
                return Err(StoreError::Future {
                    file: self.file.clone(),
                    found,
                    known: FORMAT,
                });
            }
            found => return Err(place.damaged(&META_FORMAT, format!("there never was a format {found}"))),
        }
        let state = row(META_STATE)?.ok_or_else(|| place.damaged(&META_STATE, "it is missing"))?;
        let state =
            codec::decode_plain::<State>(&state).map_err(|error| place.damaged(&META_STATE, error.to_string()))?;
        let walk = row(META_WALK)?.map(Key::new);
        let versions = transaction.open_table(VERSIONS);
        let outcomes = transaction.open_table(OUTCOMES);
        Ok(Some(Reader {
            versions: versions.map_err(|error| self.place("versions", "open").table(error))?,
            outcomes: outcomes.map_err(|error| self.place("outcomes", "open").table(error))?,
            state,
            walk,
        }))
    }
}

impl Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("file", &self.file)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// How much there is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of versions.
    pub rows: u64,
    /// Rows of outcomes.
    pub outcomes: u64,
}

/// A backend of which only the interface is known.
#[derive(Debug)]
struct Boxed(Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}
