//! One target, a head or a tail of two, for the unit tests of what members tell each other. What it held is what its
//! outputs say.

use super::roll_forward::NO_CHUNK;
use crate::{
    Acknowledged, Applied, Chunks, Committed, Identity, Input, Listed, LiveClients, Output, Recovered,
    Replica, ReplyTo, Time, Update,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use wire::message::{Chain, Member, PublicState, Routing, UpdateKind};
use wire::{ChunkId, Tag, TargetId, Version};

pub const HEAD: TargetId = TargetId(7);
pub const TAIL: TargetId = TargetId(8);
pub const CHUNK: ChunkId = ChunkId { inode: 1, index: 1 };

pub fn version(chain: u64, number: u64) -> Version {
    Version { chain, number }
}

/// What is committed, and the room that is left.
pub struct Held(pub RefCell<BTreeMap<ChunkId, Committed>>, pub Cell<u64>);

impl Default for Held {
    fn default() -> Held {
        Held(RefCell::default(), Cell::new(1 << 40))
    }
}

impl Chunks for Held {
    fn committed(&self, chunk: ChunkId) -> Committed {
        self.0.borrow().get(&chunk).copied().unwrap_or_default()
    }

    fn list(&self, from: ChunkId, limit: usize) -> Vec<Listed> {
        let held = self.0.borrow();
        let rows = held.range(from..).filter(|(_, committed)| committed.version != Version::NONE);
        rows.take(limit).map(|(chunk, committed)| Listed { chunk: *chunk, committed: *committed }).collect()
    }

    fn allocatable_bytes(&self) -> u64 {
        self.1.get()
    }
}

pub struct Target {
    pub replica: Replica<()>,
    pub held: Held,
}

impl Target {
    pub fn new(target: TargetId, committed: Committed) -> Target {
        let replica = Replica::new(Identity { target, incarnation: 1 }, Recovered::default());
        let held = Held::default();
        held.0.borrow_mut().insert(CHUNK, committed);
        let mut new = Target { replica, held };
        let clients_added = vec![vec![0; 16].into()];
        let mut clients = LiveClients::default();
        clients.apply(&Routing { version: 1, clients_added, ..Routing::default() });
        new.feed(Input::Clients(clients.into()));
        new
    }

    pub fn feed(&mut self, input: Input<()>) -> Vec<Output<()>> {
        self.feed_at(Time::ZERO, input)
    }

    pub fn feed_at(&mut self, now: Time, input: Input<()>) -> Vec<Output<()>> {
        let mut out = Vec::new();
        self.replica.handle(now, input, &self.held, &mut out);
        out
    }

    /// What the head and the tail are in this version.
    pub fn view(&mut self, number: u64, tail: PublicState) -> Vec<Output<()>> {
        let member = |target: TargetId, state: PublicState| Member {
            target: target.0,
            node: target.0 as u32,
            state: state as i32,
            incarnation: 1,
            ..Member::default()
        };
        let members = vec![member(HEAD, PublicState::PublicServing), member(TAIL, tail)];
        let chain = Chain { id: 1, version: number, members, ..Chain::default() };
        let out = self.feed(Input::View { chain, lease_until: Some(Time(u64::MAX)) });
        self.replica.told_room(TAIL, number, 1 << 40);
        out
    }

    pub fn assign(&mut self, chain_version: u64, channel: u32, kind: UpdateKind) {
        let length = u32::from(kind == UpdateKind::UpdateWrite);
        let update = update(channel, kind, length);
        let out = self.feed(Input::Update {
            reply: ReplyTo(u64::from(channel)),
            chain_version,
            update,
            payload: (),
        });
        assert!(matches!(out[..], [Output::Store { .. }]), "{out:?}");
    }

    pub fn stored(&mut self, version: Version) -> Vec<Output<()>> {
        self.feed(Input::Stored { chunk: CHUNK, version, result: Ok(Applied::default()) })
    }

    pub fn acknowledged(&mut self, chain_version: u64, version: Version) {
        let acknowledged = Acknowledged {
            version,
            applied: Applied::default(),
            durability_epoch: 0,
            allocatable_bytes: 1 << 40,
        };
        let (from, result) = (TAIL, Ok(acknowledged));
        self.feed(Input::ForwardAnswer { from, chain_version, chunk: CHUNK, version, result });
    }

    /// The ticket of what is discarded before the resync begins.
    pub fn start_sync(&mut self, chain_version: u64, reply: u64) -> u64 {
        match self.feed(Input::SyncStart { reply: ReplyTo(reply), chain_version })[..] {
            [Output::Discard { ticket }] => ticket,
            ref other => panic!("{other:?}"),
        }
    }

    /// The answer to the successor's question.
    pub fn answer(&mut self, chain_version: u64) -> u64 {
        let question = Input::Committed { reply: ReplyTo(9), chain_version, chunk: NO_CHUNK };
        match self.feed(question)[..] {
            [Output::ReplyCommitted { result: Ok(Version { chain, number: 0 }), .. }] => chain,
            ref other => panic!("{other:?}"),
        }
    }
}

pub fn update(channel: u32, kind: UpdateKind, length: u32) -> Update {
    let tag = Tag { channel, sequence: 1, ..Tag::default() };
    Update { chunk: CHUNK, tag, kind, offset: 0, length, crc: 0, chunk_size: 8, flush: false }
}

pub fn present(version: Version) -> Committed {
    Committed { version, length: 1, removed: false, chunk_size: 8 }
}

pub fn asks(out: &[Output<()>]) -> bool {
    let question = |output: &Output<()>| matches!(output, Output::AskCommitted { to, chunk: NO_CHUNK, .. } if *to == HEAD);
    out.iter().any(question)
}
