//! Clients: from a user's thunk to a transaction, and what a submit or a read can answer.
