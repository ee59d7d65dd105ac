//! The lanes of all chains, and the updates that travel in them.

use crate::chain_call::{ChainOperation, Limits, start};
use crate::core::Core;
use crate::done::Done;
use bytes::Bytes;
use chain::client::{Choice, Lane, NO_FILE, Ordered, Request, Started, bytes_of};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use wire::limits::CHANNELS_MAX;
use wire::message::{self as m, UpdateKind};
use wire::{ChunkId, ClientId, Code, Error, Result};

/// One change of one chunk.
pub(crate) struct Update {
    pub chain: u32,
    pub chunk: ChunkId,
    pub kind: UpdateKind,
    pub offset: u32,
    pub length: u32,
    pub data: Vec<Bytes>,
    pub flush: bool,
    pub chunk_size: u32,
    pub limits: Limits,
    pub done: Done<m::UpdateReply>,
}

impl Ordered for Update {
    fn chunk(&self) -> ChunkId {
        self.chunk
    }

    fn bytes(&self) -> Range<u64> {
        bytes_of(self.kind, self.offset, self.length)
    }
}

type SharedLane = Arc<Mutex<Lane<Update>>>;

#[derive(Default)]
pub(crate) struct Lanes(Mutex<HashMap<(u32, u32), SharedLane>>);

impl Lanes {
    /// Sends it as soon as its order and a free channel allow.
    pub fn submit(&self, core: &Arc<Core>, update: Update) {
        let me = core.identity.current();
        if update.limits.epoch.is_some_and(|epoch| epoch != me.epoch) {
            return update.done.tell(Err(Error::new(Code::Fenced, "the file was opened under another id")));
        }
        let key = (me.epoch, update.chain);
        let new = || Arc::new(Mutex::new(Lane::new(me.client, CHANNELS_MAX)));
        let lane = self.0.lock().entry(key).or_insert_with(new).clone();
        lane.lock().submit(update);
        pump(core, &lane);
    }

    /// Drops the lanes of fenced ids that have nothing in the air.
    pub fn forget_before(&self, epoch: u32) {
        self.0.lock().retain(|(other, _), lane| *other >= epoch || !lane.lock().is_idle());
    }
}

fn pump(core: &Arc<Core>, lane: &SharedLane) {
    loop {
        // The guard must not live while the update starts: it may fail and come back here.
        let next = lane.lock().start();
        let Some(started) = next else { return };
        let crc = started.update.data.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let (lane, sender) = (lane.clone(), core.clone());
        start(core, Sent { started, crc, lane, core: sender });
    }
}

struct Sent {
    started: Started<Update>,
    crc: u32,
    lane: SharedLane,
    core: Arc<Core>,
}

impl ChainOperation for Sent {
    type Request = m::UpdateRequest;

    fn chain(&self) -> u32 {
        self.started.update.chain
    }

    fn choice(&self) -> Choice {
        Choice::Head
    }

    fn limits(&self) -> &Limits {
        &self.started.update.limits
    }

    fn client(&self) -> Option<ClientId> {
        Some(self.started.client())
    }

    fn request(&mut self, chain: &m::Chain) -> m::UpdateRequest {
        let update = &self.started.update;
        let request = m::UpdateRequest {
            chain: update.chain,
            chain_version: chain.version,
            chunk_size: update.chunk_size,
            ..Default::default()
        };
        match self.started.request() {
            Request::Close(tag) => m::UpdateRequest {
                chunk: Some(NO_FILE.into()),
                tag: Some(tag.into()),
                kind: UpdateKind::UpdateRemove as i32,
                ..request
            },
            Request::Update(tag) => m::UpdateRequest {
                chunk: Some(update.chunk.into()),
                tag: Some(tag.into()),
                kind: update.kind as i32,
                offset: update.offset,
                length: update.length,
                crc: self.crc,
                flush: update.flush,
                ..request
            },
        }
    }

    fn payload(&self) -> Vec<Bytes> {
        match self.started.request() {
            Request::Close(_) => Vec::new(),
            Request::Update(_) => self.started.update.data.clone(),
        }
    }

    fn in_doubt(&mut self) {
        self.started.lost();
    }

    fn finish(mut self, result: Result<(m::UpdateReply, Bytes)>) {
        let applied = result.is_ok();
        if applied && !self.started.applied() {
            return start(&self.core.clone(), self);
        }
        let Sent { started, lane, core, .. } = self;
        let update = lane.lock().finish(started, applied);
        // First the completion, whose memory the next update may need, then the next update.
        update.done.tell(result.map(|(reply, _)| reply));
        pump(&core, &lane);
    }
}
