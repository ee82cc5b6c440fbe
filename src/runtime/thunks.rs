//! The thunks that a builder was given, until it opens.

use crate::thunk::{Registry, RegistryError, Thunk};

/// Thunks, or why one of them cannot be registered: that is told when a database is opened with them.
#[derive(Debug)]
pub(super) struct Thunks {
    registry: Result<Registry, RegistryError>,
    evaluates_twice: bool,
}

impl Thunks {
    pub(super) fn of(registry: Registry) -> Self {
        Self {
            registry: Ok(registry),
            evaluates_twice: false,
        }
    }

    /// Takes these in place of all others.
    pub(super) fn replace(&mut self, registry: Registry) {
        self.registry = Ok(registry);
    }

    /// Adds one, unless another could not be added before.
    pub(super) fn register<T: Thunk>(&mut self) {
        if let Ok(registry) = &mut self.registry
            && let Err(error) = registry.register::<T>()
        {
            self.registry = Err(error);
        }
    }

    /// Has all of them [evaluated twice](Registry::evaluate_twice), also those that are registered later.
    pub(super) fn evaluate_twice(&mut self) {
        self.evaluates_twice = true;
    }

    /// Leaves it to the registry how often they are evaluated.
    pub(super) fn evaluate_once(&mut self) {
        self.evaluates_twice = false;
    }

    pub(super) fn into_registry(self) -> Result<Registry, RegistryError> {
        let mut registry = self.registry?;
        if self.evaluates_twice {
            registry.evaluate_twice();
        }
        Ok(registry)
    }
}
