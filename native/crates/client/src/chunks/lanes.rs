//! The lanes of all chains, and the updates that travel in them.

use super::lane::{Lane, NO_FILE, Ordered, Outcome, Started, WHOLE};
use crate::chain_call::{ChainOperation, Choice, Limits, start};
use crate::core::Core;
use crate::done::Done;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use wire::message::{self as m, UpdateKind};
use wire::{ChunkId, ClientId, Code, Error, Result, Tag};

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
        match self.kind {
            UpdateKind::UpdateWrite | UpdateKind::UpdatePunch => {
                self.offset.into()..u64::from(self.offset) + u64::from(self.length)
            }
            UpdateKind::UpdateTruncate | UpdateKind::UpdateRemove => WHOLE,
        }
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
        let lane =
            self.0.lock().entry(key).or_insert_with(|| Arc::new(Mutex::new(Lane::new(me.client)))).clone();
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
        start(core, Sent { started, closed: 0, crc, in_doubt: false, lane, core: sender });
    }
}

struct Sent {
    started: Started<Update>,
    /// Of the channels that must be closed before it.
    closed: usize,
    crc: u32,
    in_doubt: bool,
    lane: SharedLane,
    core: Arc<Core>,
}

impl Sent {
    /// The tag of what is sent before it and changes nothing, if that is not over yet.
    fn closing(&self) -> Option<Tag> {
        self.started.close.get(self.closed).copied()
    }
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
        Some(self.started.tag.client)
    }

    fn request(&mut self, chain: &m::Chain) -> m::UpdateRequest {
        let update = &self.started.update;
        let request = m::UpdateRequest {
            chain: update.chain,
            chain_version: chain.version,
            chunk_size: update.chunk_size,
            ..Default::default()
        };
        match self.closing() {
            Some(tag) => m::UpdateRequest {
                chunk: Some(NO_FILE.into()),
                tag: Some(tag.into()),
                kind: UpdateKind::UpdateRemove as i32,
                ..request
            },
            None => m::UpdateRequest {
                chunk: Some(update.chunk.into()),
                tag: Some(self.started.tag.into()),
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
        if self.closing().is_some() { Vec::new() } else { self.started.update.data.clone() }
    }

    fn in_doubt(&mut self) {
        // Of what changes nothing there is no doubt.
        self.in_doubt = self.closing().is_none();
    }

    fn finish(mut self, result: Result<(m::UpdateReply, Bytes)>) {
        if self.closing().is_some() && result.is_ok() {
            self.closed += 1;
            return start(&self.core.clone(), self);
        }
        let outcome = match (&result, self.in_doubt) {
            (Ok(_), _) => Outcome::Applied,
            (Err(_), true) => Outcome::Doubtful,
            (Err(_), false) => Outcome::Refused,
        };
        self.lane.lock().finish(self.started.ticket, self.closed, outcome);
        // First the completion, whose memory the next update may need, then the next update.
        self.started.update.done.tell(result.map(|(reply, _)| reply));
        pump(&self.core, &self.lane);
    }
}
