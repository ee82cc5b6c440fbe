//! One node of the protocol: dispatches inputs to the machines and routes between them.
