//! What travels and what happens. Data only.

use crate::content::Seen;
use crate::engine::Body;
use chain::manager::Published;
use chain::{Acknowledged, Channel, ChunkRange, Listed, Replacement, Update};
use std::rc::Rc;
use wire::message::{Chain, TargetReport};
use wire::{ChunkId, ClientId, Code, Result, Version};

/// Who sends and receives: the manager, the process of a storage node, one of its targets, a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Manager,
    Node(usize),
    Target(usize),
    Client(usize),
}

/// Kinds of messages that a world can make slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Update,
    Forward,
    Acknowledgement,
    Read,
    Committed,
    Flush,
    SyncReplace,
    SyncDone,
    SyncAnswer,
    Heartbeat,
    Grant,
    Push,
    Other,
}

impl Kind {
    pub const ALL: &'static [Kind] = &[
        Kind::Update,
        Kind::Forward,
        Kind::Acknowledgement,
        Kind::Read,
        Kind::Committed,
        Kind::Flush,
        Kind::SyncReplace,
        Kind::SyncDone,
        Kind::SyncAnswer,
        Kind::Heartbeat,
        Kind::Grant,
        Kind::Push,
    ];
}

#[derive(Clone, Debug)]
pub enum Request {
    Update {
        chain_version: u64,
        update: Update,
        body: Body,
    },
    Forwarded {
        chain_version: u64,
        version: Version,
        base: Version,
        update: Update,
        body: Body,
    },
    Read {
        chain_version: u64,
        chunk: ChunkId,
    },
    /// The chunk's row in the list of those that are committed.
    Listed {
        chain_version: u64,
        chunk: ChunkId,
    },
    Committed {
        chain_version: u64,
        chunk: ChunkId,
    },
    Flush {
        chain_version: u64,
        from_client: bool,
    },
    SyncStart {
        chain_version: u64,
    },
    SyncReplace {
        chain_version: u64,
        replacement: Replacement,
        body: Body,
    },
    SyncChannels {
        chain_version: u64,
        channels: Vec<Channel>,
    },
    SyncDone {
        chain_version: u64,
    },
    Digest {
        chain_version: u64,
        from: ChunkId,
        chunks_per_range: usize,
    },
    List {
        chain_version: u64,
        from: ChunkId,
        limit: usize,
    },
    Heartbeat {
        node: usize,
        incarnation: u64,
        sequence: u64,
        /// Of the manager at the other end of the connection.
        life: u64,
        /// Of all its targets.
        reports: Vec<TargetReport>,
        /// The chains as its targets know them: said when it registers.
        known: Vec<Rc<Chain>>,
    },
    /// Only in traced worlds.
    ClientHeartbeat {
        identity: u32,
        sequence: u64,
    },
    Routing,
    Space,
}

/// A lease with what is published in the same message (R4); planted, it comes alone.
#[derive(Clone, Debug)]
pub struct Grant {
    pub life: u64,
    pub lease_ms: u64,
    /// Chains for which the lease is none.
    pub held: Vec<u32>,
    pub published: Option<Rc<Published>>,
}

#[derive(Clone, Debug)]
pub enum Answer {
    Update(Result<Acknowledged>),
    Read(Result<Seen>),
    /// The chunk's length; none: it is not in the list.
    Listed(Result<Option<u32>>),
    Committed(Result<Version>),
    Flush(Result<u64>),
    Sync(Result<()>),
    Digest(Result<Vec<ChunkRange>>),
    List(Result<(Vec<Listed>, bool)>),
    Grant(Grant),
    Routing(Rc<Published>),
    /// With the version of the chain in which it holds.
    Space {
        chain_version: u64,
        bytes: u64,
    },
}

#[derive(Clone, Debug)]
pub enum Message {
    Request {
        call: u64,
        request: Request,
    },
    Answer {
        call: u64,
        answer: Answer,
    },
    /// On a connection, which ends with the process: one that starts later does not hear of it.
    Push {
        sent: u64,
        /// Of the manager.
        life: u64,
        published: Rc<Published>,
    },
}

impl Message {
    pub fn kind(&self) -> Kind {
        match self {
            Message::Push { .. } => Kind::Push,
            Message::Request { request, .. } => match request {
                Request::Update { .. } => Kind::Update,
                Request::Forwarded { .. } => Kind::Forward,
                Request::Read { .. } | Request::Listed { .. } => Kind::Read,
                Request::Committed { .. } => Kind::Committed,
                Request::Flush { .. } => Kind::Flush,
                Request::SyncReplace { .. } => Kind::SyncReplace,
                Request::SyncDone { .. } => Kind::SyncDone,
                Request::Heartbeat { .. } => Kind::Heartbeat,
                _ => Kind::Other,
            },
            Message::Answer { answer, .. } => match answer {
                Answer::Update(_) => Kind::Acknowledgement,
                Answer::Read(_) | Answer::Listed(_) => Kind::Read,
                Answer::Committed(_) => Kind::Committed,
                Answer::Flush(_) => Kind::Flush,
                Answer::Sync(_) | Answer::Digest(_) | Answer::List(_) => Kind::SyncAnswer,
                Answer::Grant(_) => Kind::Grant,
                Answer::Routing(_) | Answer::Space { .. } => Kind::Other,
            },
        }
    }
}

/// Work of a disk that ends later.
#[derive(Clone, Debug)]
pub enum DiskWork {
    Store {
        update: Update,
        version: Version,
        base: Version,
        channel: Channel,
        body: Body,
        if_room: bool,
    },
    Replace {
        replacement: Replacement,
        body: Body,
    },
    StoreChannels {
        ticket: u64,
        channels: Vec<Channel>,
    },
    Discard {
        ticket: u64,
    },
    DropChannels {
        client: ClientId,
    },
    Flush {
        ticket: u64,
        snapshot: Box<crate::engine::State>,
    },
    /// Only planted: a commit is visible at once.
    Commit {
        chunk: ChunkId,
        version: Version,
    },
}

#[derive(Clone, Debug)]
pub enum Fault {
    Next,
    Crash {
        node: usize,
        power: bool,
    },
    Stop {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Pause {
        node: usize,
        ms: u64,
    },
    DiskError {
        target: usize,
    },
    Order {
        chain: usize,
    },
    /// The power goes everywhere, and this one is back long before the others.
    Blackout {
        first: usize,
    },
    /// Another order of the members is preferred from now on; none: any.
    Rotate {
        chain: usize,
        preferred: Option<Vec<u64>>,
    },
    /// The rack goes; this one is back long before the others, with another disk.
    WipeOut {
        first: usize,
    },
    /// It comes back with an empty disk, if others hold everything.
    Wipe {
        node: usize,
    },
    FlushError {
        target: usize,
    },
    DiskFull {
        target: usize,
        ms: u64,
    },
    DiskRoomy {
        target: usize,
    },
    BitFlip {
        target: usize,
    },
    /// What is on this way waits, and then comes at once.
    Clog {
        from: Address,
        to: Address,
        ms: u64,
    },
    Cut {
        from: Address,
        to: Address,
        ms: u64,
    },
    Mend {
        from: Address,
        to: Address,
    },
    ManagerStop {
        ms: u64,
    },
    /// The manager's state is an older one when it is back.
    SetBack,
    /// It goes on later, and its messages wait.
    ManagerPause {
        ms: u64,
    },
    /// The manager takes a client for dead.
    Fence {
        client: usize,
    },
    ManagerStart,
    ExitReport {
        node: usize,
        incarnation: u64,
    },
    /// Of a lease, with its last words.
    GiveBack {
        node: usize,
        incarnation: u64,
        reports: Vec<TargetReport>,
    },
    /// From now on nothing fails.
    Heal,
}

impl Fault {
    /// A manager that is paused hears of it later.
    pub fn tells_manager(&self) -> bool {
        matches!(
            self,
            Fault::ExitReport { .. }
                | Fault::GiveBack { .. }
                | Fault::Fence { .. }
                | Fault::Order { .. }
                | Fault::Rotate { .. }
        )
    }
}

#[derive(Clone, Debug)]
pub enum Event {
    Deliver {
        from: Address,
        to: Address,
        message: Message,
    },
    Heartbeat {
        node: usize,
        incarnation: u64,
    },
    /// There is no grant, if there was none before.
    HeartbeatLost {
        node: usize,
        incarnation: u64,
        call: u64,
    },
    Tick {
        target: usize,
        incarnation: u64,
    },
    /// The storage flushes by itself (P11).
    WriteBack {
        target: usize,
        incarnation: u64,
    },
    Disk {
        target: usize,
        incarnation: u64,
        generation: u64,
        work: DiskWork,
    },
    /// `seen`: read when the version was chosen; none: read when this happens.
    Read {
        target: usize,
        incarnation: u64,
        reply: u64,
        chain_version: u64,
        chunk: ChunkId,
        seen: Option<Seen>,
    },
    CallTimeout {
        target: usize,
        incarnation: u64,
        call: u64,
    },
    Reopen {
        target: usize,
        incarnation: u64,
    },
    ManagerTick {
        life: u64,
    },
    ClientStep {
        client: usize,
        slot: usize,
        step: u64,
    },
    /// The client learns of the fence of this identity, if it has not yet.
    ClientRenewal {
        client: usize,
        identity: u32,
    },
    ClientRegistration {
        identity: u32,
    },
    ClientHeartbeat {
        client: usize,
    },
    /// There is no answer, if there was none before.
    ClientCallLost {
        client: usize,
        slot: usize,
        call: u64,
        code: Code,
    },
    Fault(Fault),
    Look,
}
