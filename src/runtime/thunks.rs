//! The thunks that a builder was given, until it opens.

use crate::thunk::{Registry, RegistryError, Thunk};

/// Thunks, or why one of them cannot be registered: that is told when a database is opened with them.
#[derive(Debug)]
pub(super) struct Thunks(Result<Registry, RegistryError>);

impl Thunks {
    pub(super) fn of(registry: Registry) -> Self {
        Self(Ok(registry))
    }

    /// Adds one, unless another could not be added before.
    pub(super) fn register<T: Thunk>(&mut self) {
        if let Ok(registry) = &mut self.0
            && let Err(error) = registry.register::<T>()
        {
            self.0 = Err(error);
        }
    }

    pub(super) fn into_registry(self) -> Result<Registry, RegistryError> {
        self.0
    }
}
