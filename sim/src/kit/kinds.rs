//! The thunks of a kit, with their types taken off: how each is registered, and how its arguments and outputs are told.

use std::any::TypeId;
use std::collections::BTreeMap;

use plimsoll::codec;
use plimsoll::key::Value;
use plimsoll::thunk::{Registry, Thunk};
use plimsoll::transaction::ThunkId;
use serde::Serialize;

use super::seen::behind_guards;

/// Every kind of thunk that a kit knows.
#[derive(Clone, Default)]
pub(super) struct Kinds(BTreeMap<ThunkId, Kind>);

#[derive(Clone, Copy)]
struct Kind {
    of: TypeId,
    register: fn(&mut Registry),
    arguments: fn(&Value) -> Result<String, String>,
    output: fn(&Value) -> Result<String, String>,
}

impl Kinds {
    /// Adds a kind, unless it is known already.
    ///
    /// *Panics* where another type has this name and version.
    pub(super) fn add<T: Thunk>(&mut self) {
        let (id, of) = (ThunkId::of::<T>(), TypeId::of::<T>());
        let kind = Kind {
            of,
            register: register::<T>,
            arguments: told::<T>,
            output: told_output::<T>,
        };
        let known = self.0.entry(id).or_insert(kind);
        assert!(
            known.of == of,
            "two thunks are called {} v{}: give one of them another name",
            T::NAME,
            T::VERSION
        );
    }

    /// What every replica of the cluster, and the replay, evaluates with: the thunks of the kit beside the built-in ones. Each is evaluated
    /// twice, so that most of those that are not deterministic are named at once.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::with_builtins();
        for (id, kind) in &self.0 {
            if !registry.contains(id) {
                (kind.register)(&mut registry);
            }
        }
        registry.evaluate_twice();
        registry
    }

    /// A call in words.
    pub(super) fn call(&self, thunk: &ThunkId, arguments: &Value) -> String {
        let (inner, inner_arguments) = behind_guards(thunk, arguments);
        let how = if inner == *thunk { "" } else { "staged " };
        let told = self.0.get(&inner).map(|kind| (kind.arguments)(&inner_arguments));
        match told {
            Some(Ok(told)) => format!("{how}{} {told}", inner.name),
            _ => format!("{how}{} {inner_arguments:?}", inner.name),
        }
    }

    /// An output in words. *Errors* where it is none of this thunk.
    pub(super) fn output(&self, thunk: &ThunkId, output: &Value) -> Result<String, String> {
        match self.0.get(thunk) {
            Some(kind) => (kind.output)(output),
            None => Ok(format!("{output:?}")),
        }
    }
}

fn register<T: Thunk>(registry: &mut Registry) {
    if let Err(error) = registry.register::<T>() {
        panic!("{error}");
    }
}

fn told<T: Thunk>(arguments: &Value) -> Result<String, String> {
    let thunk: T = codec::decode_value(arguments).map_err(|error| error.to_string())?;
    Ok(in_words(&thunk, arguments))
}

fn told_output<T: Thunk>(output: &Value) -> Result<String, String> {
    let decoded: T::Output = codec::decode_value(output).map_err(|error| {
        format!(
            "the output of thunk {} could not be decoded: {error}",
            ThunkId::of::<T>()
        )
    })?;
    Ok(in_words(&decoded, output))
}

/// As JSON, which most types have; else as the bytes.
fn in_words(value: &impl Serialize, bytes: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| format!("{bytes:?}"))
}
