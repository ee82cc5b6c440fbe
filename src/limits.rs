//! Every bound of the system in one place, each with what exceeding it gives, related to each other at compile time.

use std::time::Duration;

/// Bytes of one key. Beyond: the transaction is refused as invalid before it is submitted.
pub const KEY_BYTES_MAX: usize = 4 << 10;

/// Bytes of one stored value. Beyond: a deterministic abort that names the size.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a thunk's encoded output. Beyond: a deterministic abort that names the size.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Bytes of one encoded record: arguments and footprint. Beyond: the transaction is refused as invalid before it is submitted.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Keys and ranges in one footprint. Beyond: the transaction is refused as invalid before it is submitted.
pub const FOOTPRINT_KEYS_MAX: usize = 10_000;

/// Thunks that may be evaluated within each other. Beyond: a deterministic abort that names the thunk, before the stack of any
/// replica overflows.
pub const CALLS_NESTED_MAX: usize = 64;

/// Bytes of an abort's wording, and of a key or a name in it. Beyond: it is cut, as every outcome is kept for [`OUTCOME_WINDOW`].
pub const ABORT_TEXT_BYTES_MAX: usize = 4 << 10;

/// Keys that an abort names at most of those that have made it stale.
pub const STALE_KEYS_NAMED_MAX: usize = 4;

/// Staged transactions that have reserved keys at a time. Beyond: a deterministic abort.
pub const RESERVATIONS_MAX: usize = 128;

/// Bytes of the keys and ranges of one reservation. Beyond: a deterministic abort.
pub const RESERVATION_BYTES_MAX: usize = 7 << 10;

/// Timestamp time for which a reservation holds at most.
pub const RESERVATION_MAX: Duration = Duration::from_secs(10);

/// Bytes of a thunk's name. Beyond: registering it is refused.
pub const THUNK_NAME_BYTES_MAX: usize = 64;

/// Bytes of a table's name. Beyond: the table does not compile.
pub const TABLE_NAME_BYTES_MAX: usize = 64;

/// Thunks of one registry. Beyond: registering one more is refused.
pub const THUNKS_MAX: usize = 4_096;

/// Bytes of declarations in one message, if there is more than one. What is left over travels in the next one.
pub const DECLARED_BYTES_MAX: usize = 512 << 10;

/// Bytes of records in one `Append`. What is left over travels in the next one.
pub const APPEND_BYTES_MAX: usize = 2 << 20;

/// Bytes of one encoded frame, its header included. Beyond: it is refused before anything is allocated.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// Bytes that the values decoded from one frame may claim in memory. Beyond: the frame is refused while decoding.
///
/// An integer claims at most eight bytes for each byte of its encoding; the rest is room for one footprint's keys.
pub const FRAME_CLAIM_BYTES_MAX: usize = 10 * FRAME_BYTES_MAX;

/// Bytes of one encoded entry of the log, its header included. Beyond: it is not written, and refused when read.
pub const LOG_ENTRY_BYTES_MAX: usize = 8 << 20;

/// Bytes of one encoded piece of a snapshot, its header included. Beyond: it is refused before anything is allocated.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 4 << 20;

/// Bytes of an encoded place in a snapshot. Beyond: the request is refused.
pub const SNAPSHOT_CURSOR_BYTES_MAX: usize = KEY_BYTES_MAX + 64;

/// Bytes of own records that a majority does not hold yet. Beyond: a submit is refused as overloaded.
pub const UNSTABLE_BYTES_MAX: usize = 64 << 20;

/// Reads that wait for the evaluated bound. Beyond: a read is refused as overloaded.
pub const READS_WAITING_MAX: usize = 100_000;

/// Bytes of its own records that a coordinator keeps because its versions are not flushed past them. Beyond: a submit is refused as overloaded.
pub const STREAM_BYTES_KEPT_MAX: usize = 256 << 20;

/// Bytes of records of all streams that a node keeps for members which are behind, unless its profile says otherwise. Beyond: the oldest are
/// dropped once they are flushed here, and who needs them is sent a snapshot.
pub const RECORDS_KEPT_BYTES: usize = 256 << 20;

/// Records in one batch for the executor, but for further ones at the same [`Hlc`](crate::time::Hlc). What is left over makes the next batch.
pub const BATCH_RECORDS_MAX: usize = 4_096;

/// Timestamp time for which the outcome of a transaction id is kept. An id older than that is refused at evaluation, as it may
/// have taken effect before.
pub const OUTCOME_WINDOW: Duration = Duration::from_secs(600);

/// How far the time in a transaction id may lie ahead of its timestamp. Beyond: it is refused at evaluation, as its outcome
/// would have to be kept for too long.
pub const ID_AHEAD_MAX: Duration = Duration::from_secs(60);

/// Timestamp time for which old versions are kept at least. A read of an older snapshot is refused, and a
/// watch that is to begin before it.
pub const VERSION_RETENTION: Duration = Duration::from_secs(30);

/// Changes in one answer to a watch. What is left over comes with the next one.
pub const CHANGES_MAX: usize = 10_000;

/// Bytes of the keys and values in one answer to a watch, if its first change alone has not more. What is left over comes with the next one.
pub const CHANGES_BYTES_MAX: usize = 4 << 20;

/// Changes that a replica has at hand while it is watched, and those that one walk over its versions keeps. Beyond: the versions are walked for
/// those that are asked for.
pub const CHANGES_RECENT_MAX: usize = 32_768;

/// Bytes of the keys and values of as many.
pub const CHANGES_RECENT_BYTES_MAX: usize = 8 << 20;

/// Versions that a walk for changes passes before something else has its turn.
pub const CHANGES_WALK_VERSIONS: usize = 4_096;

/// Walks for changes that a replica goes on with at a time. Beyond: who asks is told of nothing new, and asks again.
pub const CHANGES_WALKS_MAX: usize = 4;

/// Walks of which a replica keeps what they found beyond their answer. Beyond: the oldest is forgotten, and made again.
pub const CHANGES_BACKLOGS_MAX: usize = 4;

/// Watches that wait at a replica for changes. Beyond: one is told at once that there is nothing new, and asks again.
pub const WATCHES_WAITING_MAX: usize = 1_024;

/// Timestamp time between two digests of a replica's state. Boundaries are its multiples.
pub const DIGEST_INTERVAL: Duration = Duration::from_millis(1_024);

/// Attempts to decide one decree. Beyond: the message is refused; no honest node comes near.
pub const BALLOT_ROUND_MAX: u64 = 1 << 48;

/// Members of one epoch. Beyond: the membership is refused.
pub const MEMBERS_MAX: usize = 31;

/// Coordinators of one epoch. Beyond: the membership is refused.
pub const COORDINATORS_MAX: usize = 31;

const _: () = {
    assert!(
        RESERVATIONS_MAX * (RESERVATION_BYTES_MAX + 64) <= VALUE_BYTES_MAX,
        "all reservations lie in one value"
    );
    assert!(KEY_BYTES_MAX < RECORD_BYTES_MAX);
    assert!(
        KEY_BYTES_MAX <= ABORT_TEXT_BYTES_MAX && THUNK_NAME_BYTES_MAX <= ABORT_TEXT_BYTES_MAX,
        "an abort names every admissible key and thunk in full"
    );
    assert!(
        2 * TABLE_NAME_BYTES_MAX < KEY_BYTES_MAX,
        "a table's name leaves room for the keys of its rows"
    );
    assert!(
        RECORD_BYTES_MAX <= APPEND_BYTES_MAX,
        "one record always fits into one Append"
    );
    assert!(
        2 * APPEND_BYTES_MAX <= FRAME_BYTES_MAX,
        "an Append and the rest of a frame always fit"
    );
    assert!(
        (THUNKS_MAX + 2) * (THUNK_NAME_BYTES_MAX + 16) <= DECLARED_BYTES_MAX
            && DECLARED_BYTES_MAX <= APPEND_BYTES_MAX / 2,
        "one declaration always fits into its message, and that beside two Appends into a frame"
    );
    assert!(
        2 * APPEND_BYTES_MAX <= LOG_ENTRY_BYTES_MAX,
        "the records of an Append always fit into one entry of the log"
    );
    assert!(
        2 * VALUE_BYTES_MAX <= SNAPSHOT_CHUNK_BYTES_MAX,
        "a version always fits into one chunk"
    );
    assert!(
        LOG_ENTRY_BYTES_MAX <= FRAME_BYTES_MAX && SNAPSHOT_CHUNK_BYTES_MAX <= FRAME_BYTES_MAX,
        "the bound on claims of a frame serves every kind"
    );
    assert!(
        UNSTABLE_BYTES_MAX <= STREAM_BYTES_KEPT_MAX,
        "what is not stable is never dropped"
    );
    assert!(
        SNAPSHOT_CHUNK_BYTES_MAX + 1024 <= FRAME_BYTES_MAX && SNAPSHOT_CURSOR_BYTES_MAX < APPEND_BYTES_MAX,
        "a piece of a snapshot fits into a frame of its own, and a request for one beside an Append"
    );
    assert!(
        KEY_BYTES_MAX + VALUE_BYTES_MAX <= CHANGES_BYTES_MAX,
        "every change fits into one answer"
    );
    assert!(
        CHANGES_BYTES_MAX + 64 * CHANGES_MAX + KEY_BYTES_MAX + 64 <= FRAME_BYTES_MAX,
        "an answer to a watch fits into a frame, with what stands around each change"
    );
    assert!(
        CHANGES_MAX <= CHANGES_RECENT_MAX && CHANGES_BYTES_MAX <= CHANGES_RECENT_BYTES_MAX,
        "one walk finds at least one answer"
    );
};

/// Nodes of which declarations are known at a time: those of the epoch, and who is talked to outside it. Beyond: the message is refused.
pub const DECLARATIONS_MAX: usize = MEMBERS_MAX + COORDINATORS_MAX + GUESTS_MAX;

/// Nodes outside the epoch that a node talks to at a time: learners and former members.
pub const GUESTS_MAX: usize = 16;
