//! Limits of a replica and a client, each with its reason.

/// How often the executor must call `Input::Tick`: the pause before a refused or lost request is sent again.
pub const TICK_MS: u64 = 50;

/// Updates of one chunk in the air: more would only queue, since they apply one after another.
pub const PENDING_PER_CHUNK_MAX: usize = 64;

/// Updates of one target in the air at the head: bounds the payloads that it holds.
pub const PENDING_PER_TARGET_MAX: usize = 1024;

/// Updates of one chunk that arrived before their base: an ordered connection makes none, so a few bridge a
/// reconnect.
pub const HELD_PER_CHUNK_MAX: usize = 16;

/// Senders that wait for one update: its first, and those that sent it again.
pub const WAITERS_MAX: usize = 8;

/// Dirty reads that wait for the last serving member.
pub const DIRTY_READS_MAX: usize = 1024;

/// Flushes in the air: an fsync per client in flight, grouped by the engine.
pub const FLUSHES_MAX: usize = 4096;

/// Questions for a member's room whose answers count: more are asked only while one answer takes longer than so many
/// ticks, and then the latest ones count.
pub const SPACE_QUESTIONS_MAX: usize = 64;

/// Chunks compared in one step of a resync: one page of a list fits easily into a control message.
pub const SYNC_PAGE: usize = 256;

/// Chunks whose digest is compared before any list: 40 bytes of an answer stand for them, and a chunk that
/// differs costs a list of so many rows.
pub const SYNC_RANGE: usize = 1024;

/// Chunks that a resync copies at once, beyond those that updates wait for: bounds its memory (P24).
pub const SYNC_COPIES_MAX: usize = 4;

/// A syncing member that has had no room for one and the same copy or update for so long leaves its chain: by then what
/// was removed and replaced has been given back more than once, and an update that waits for it waits no longer.
pub const SYNC_ROOM_PATIENCE_MS: u64 = 3000;

/// The same whatever the member is told to be gone meanwhile, which makes room: others of its disk may take that, and
/// clients wait.
pub const SYNC_ROOM_PATIENCE_MAX_MS: u64 = 3 * SYNC_ROOM_PATIENCE_MS;

/// Channels of the exactly-once table in one message of a resync.
pub const SYNC_CHANNELS_PAGE: usize = 256;

/// Of the engine: what a disk gives out and takes back.
pub const BLOCK_BYTES: u64 = 4096;

/// Bytes that an allocating update may cost beyond its length: one block at each end of the range.
pub const ALLOCATION_SLACK_BYTES: u64 = 2 * BLOCK_BYTES;

/// What a member says of the room behind it while it does not know all who are there: more than any disk has.
pub const ROOM_UNKNOWN: u64 = u64::MAX;

/// While the members after this one have less room than this, they are asked for it again: more than all
/// updates in the air of one target take, so that a head that still assigns never needs to ask.
pub const SPACE_ASKED_BELOW_BYTES: u64 = 2 << 30;
