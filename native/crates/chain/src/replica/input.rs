//! What happens to a replica, and what it wants done. Data only; the contract between the two is in the
//! crate's documentation.

use crate::Time;
use crate::live_clients::LiveClients;
use crate::update::{Acknowledged, Applied, Channel, ChunkRange, Listed, Replacement, Update};
use std::sync::Arc;
use wire::message::Chain;
use wire::{ChunkId, ClientId, Error, Result, TargetId, Version};

/// The executor's name for a request that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// Whose replica this is. `incarnation` rises with each start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub target: TargetId,
    pub incarnation: u64,
}

/// An update that was staged by an earlier process and never committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredUpdate {
    pub chunk: ChunkId,
    pub version: Version,
    /// Its exactly-once record, from the journal; none if it had none.
    pub channel: Option<Channel>,
}

/// What the engine found at its start. `pending` is in the order of versions per chunk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub pending: Vec<RecoveredUpdate>,
    pub channels: Vec<Channel>,
}

#[derive(Clone, Debug)]
pub enum Input<P> {
    /// A heartbeat's reply (with `lease_until`) or a push (without). Older chain versions are ignored.
    View {
        chain: Chain,
        lease_until: Option<Time>,
    },
    /// Every `limits::TICK_MS`.
    Tick,

    /// A client's update; answered by `ReplyUpdate`.
    Update {
        reply: ReplyTo,
        chain_version: u64,
        update: Update,
        payload: P,
    },
    /// The predecessor's update; answered by `ReplyUpdate`.
    Forwarded {
        reply: ReplyTo,
        chain_version: u64,
        version: Version,
        base: Version,
        update: Update,
        payload: P,
    },
    /// The engine finished `Store`.
    Stored {
        chunk: ChunkId,
        version: Version,
        result: Result<Applied>,
    },
    /// The answer to `Forward`. `chain_version`, `chunk` and `version` are those of the `Forward`.
    ForwardAnswer {
        from: TargetId,
        chain_version: u64,
        chunk: ChunkId,
        version: Version,
        result: Result<Acknowledged>,
    },

    /// A client's read; answered by `ReadCommitted` or `ReplyRead`.
    Read {
        reply: ReplyTo,
        chain_version: u64,
        chunk: ChunkId,
    },
    /// Another member's question; answered by `ReplyCommitted`.
    Committed {
        reply: ReplyTo,
        chain_version: u64,
        chunk: ChunkId,
    },
    /// The answer to `AskCommitted`.
    CommittedAnswer {
        chain_version: u64,
        chunk: ChunkId,
        result: Result<Version>,
    },

    /// fsync, of a client (to the head) or of the predecessor; answered by `ReplyFlush`.
    Flush {
        reply: ReplyTo,
        chain_version: u64,
        from_client: bool,
    },
    /// The engine finished `Flush`.
    Flushed {
        ticket: u64,
        result: Result<()>,
    },
    /// The answer to `ForwardFlush`.
    FlushAnswer {
        ticket: u64,
        result: Result<()>,
    },

    /// To a syncing member, from its predecessor; each answered by `ReplySync`.
    SyncStart {
        reply: ReplyTo,
        chain_version: u64,
    },
    /// The engine finished `Discard`.
    Discarded {
        ticket: u64,
        result: Result<()>,
    },
    SyncReplace {
        reply: ReplyTo,
        chain_version: u64,
        replacement: Replacement,
        payload: P,
    },
    /// The engine finished `Replace`. `NoSpace`: it has no room for it now, and the chunk is what it was.
    Replaced {
        chunk: ChunkId,
        version: Version,
        result: Result<()>,
    },
    SyncChannels {
        reply: ReplyTo,
        chain_version: u64,
        channels: Vec<Channel>,
    },
    /// The engine finished `StoreChannels`.
    ChannelsStored {
        ticket: u64,
        result: Result<()>,
    },
    SyncDone {
        reply: ReplyTo,
        chain_version: u64,
    },

    /// The answers to `StartSync`, `DigestSuccessor`, `ListSuccessor`, `SendReplace`, `SendChannels`, `FinishSync`.
    SyncStarted {
        chain_version: u64,
        result: Result<()>,
    },
    /// Ranges from `from` on, each beginning behind the one before; the last one may end at the highest id.
    DigestAnswer {
        chain_version: u64,
        from: ChunkId,
        result: Result<Vec<ChunkRange>>,
    },
    ListAnswer {
        chain_version: u64,
        from: ChunkId,
        result: Result<(Vec<Listed>, bool)>,
    },
    ReplaceAnswer {
        chain_version: u64,
        chunk: ChunkId,
        result: Result<()>,
    },
    ChannelsAnswer {
        chain_version: u64,
        page: usize,
        result: Result<()>,
    },
    SyncFinished {
        chain_version: u64,
        result: Result<()>,
    },

    /// Who may write from now on (P4): of every routing that changes it, before the views of that routing.
    /// An older list is ignored. See `Replica::fences_held`.
    Clients(Arc<LiveClients>),
    /// The engine was verified after `TakeOffline` and is open again. Ignored while the manager still calls
    /// the target serving or syncing: it missed updates or lost its session, so it comes back only through a
    /// resync of a later version. Try again after the next `View`.
    Reopen {
        recovered: Recovered,
    },
}

#[derive(Clone, Debug)]
pub enum Output<P> {
    /// Stage this update; answer with `Stored`. `channel.applied` is the engine's to fill in. `base` is the
    /// newest version of the chunk here, or `Version::NONE` if it is absent (never written, or removed and
    /// the removal committed). `if_room`: of a member that is synced, which takes nothing of the reserve; `NoSpace` is
    /// an answer then, and nothing has happened.
    Store {
        chunk: ChunkId,
        version: Version,
        base: Version,
        update: Update,
        channel: Channel,
        payload: P,
        if_room: bool,
    },
    /// Makes the staged version the committed one, and its exactly-once record the channel's. Every earlier
    /// one is committed already.
    Commit {
        chunk: ChunkId,
        version: Version,
    },
    /// KIND_UPDATE with `version` and `base` set.
    Forward {
        to: TargetId,
        chain_version: u64,
        version: Version,
        base: Version,
        update: Update,
        payload: P,
    },
    ReplyUpdate {
        reply: ReplyTo,
        result: Result<Acknowledged>,
    },

    /// Read the committed bytes, then ask `Replica::read_still_valid` with a new time, then answer.
    ReadCommitted {
        reply: ReplyTo,
        chain_version: u64,
        chunk: ChunkId,
    },
    ReplyRead {
        reply: ReplyTo,
        error: Error,
    },
    AskCommitted {
        to: TargetId,
        chain_version: u64,
        chunk: ChunkId,
    },
    ReplyCommitted {
        reply: ReplyTo,
        result: Result<Version>,
    },

    /// Everything that was stored, replaced or committed before is to be on the medium; answer with
    /// `Flushed`.
    Flush {
        ticket: u64,
    },
    /// KIND_FLUSH; answer with `FlushAnswer`.
    ForwardFlush {
        to: TargetId,
        chain_version: u64,
        ticket: u64,
    },
    /// The durability epoch that the flush covers (P11).
    ReplyFlush {
        reply: ReplyTo,
        result: Result<u64>,
    },

    /// The engine failed, or has no room for what it must store (`NoSpace`): nothing is answered any more until
    /// `Reopen` (P8, P11).
    TakeOffline {
        reason: Error,
    },

    /// Source of a resync. `SendReplace`: read the committed chunk (its version is `committed.version`) and
    /// send it.
    StartSync {
        to: TargetId,
        chain_version: u64,
    },
    DigestSuccessor {
        to: TargetId,
        chain_version: u64,
        from: ChunkId,
        chunks_per_range: usize,
    },
    ListSuccessor {
        to: TargetId,
        chain_version: u64,
        from: ChunkId,
        limit: usize,
    },
    SendReplace {
        to: TargetId,
        chain_version: u64,
        chunk: ChunkId,
        committed: crate::Committed,
        /// An update of a client waits for it.
        waited_for: bool,
    },
    SendChannels {
        to: TargetId,
        chain_version: u64,
        page: usize,
        channels: Vec<Channel>,
    },
    FinishSync {
        to: TargetId,
        chain_version: u64,
    },

    /// Syncing member: drop everything that is staged and not committed, and the whole exactly-once table; answer
    /// with `Discarded`. No `Store` from before it may take effect from now on, and none is answered.
    Discard {
        ticket: u64,
    },
    /// Syncing member: the chunk becomes these bytes, committed; answer with `Replaced`.
    Replace {
        replacement: Replacement,
        payload: P,
    },
    /// Journal these records; a lower sequence never replaces a higher one. Answer with `ChannelsStored`.
    StoreChannels {
        ticket: u64,
        channels: Vec<Channel>,
    },
    ReplySync {
        reply: ReplyTo,
        result: Result<()>,
    },

    /// The client is fenced and nothing of it is in the air: its exactly-once records go, some time. Nobody looks at
    /// them any more.
    DropChannels {
        client: ClientId,
    },
}
