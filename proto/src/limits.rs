//! What may be sent at most. The first three are defaults of flags; the others follow from them.

/// The longest key. The shortest has one byte.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// The longest value.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The most that the operations of one batch may hold together, keys and values.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a message may hold beside its keys and values: ids, lengths, stamps, error texts.
pub const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;

/// The longest message on a client address, to be set on both sides: tonic's own default (4 MiB when decoding, no limit
/// when encoding) would refuse a full batch only after it was sent.
pub const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// The longest frame between nodes. An entry holds at most one batch, and a frame at least one entry.
pub const FRAME_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX + ENVELOPE_BYTES_MAX;

/// The most compares and operations of one transaction, both of its lists counted.
pub const TXN_OPERATIONS_MAX: usize = 128;

/// The most operations of one message of a pipeline.
pub const PIPELINE_OPERATIONS_MAX: usize = 4096;

/// The longest time that a client may ask a result to be remembered.
pub const DEADLINE_MS_MAX: u64 = 60_000;

const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= FRAME_BYTES_MAX);
