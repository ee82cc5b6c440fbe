//! Storage: what a node keeps, behind small traits.
