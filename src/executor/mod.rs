//! Executors: evaluate ordered records against the versions.
