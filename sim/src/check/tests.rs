//! Planted faults, and good histories, for every checker.
