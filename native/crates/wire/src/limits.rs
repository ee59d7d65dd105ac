//! Limits of the wire, each with its reason.

/// Longest protobuf message beside which a payload may travel: control messages with whole routing tables
/// fit.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Largest chunk; a payload is at most one chunk.
pub const CHUNK_BYTES_MAX: usize = 64 << 20;

/// Smallest chunk: below it the record of a chunk costs more than its bytes are worth.
pub const CHUNK_BYTES_MIN: usize = 64 << 10;

/// Longest payload: one whole chunk.
pub const PAYLOAD_BYTES_MAX: usize = CHUNK_BYTES_MAX;

/// Channels per client and chain (P7): bounds the exactly-once table to 64 entries per client and chain.
pub const CHANNELS_MAX: u32 = 64;

/// Longest name of a directory entry, as in every POSIX file system.
pub const NAME_BYTES_MAX: usize = 255;
