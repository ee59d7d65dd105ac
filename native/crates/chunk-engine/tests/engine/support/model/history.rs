//! What a target went through, as the model keeps it: each state of each chunk, and what happened to the exactly-once
//! table.

use super::super::id;
use chunk_engine::Engine;
use std::rc::Rc;
use wire::{ChunkId, Error, Tag, Version};

#[derive(Clone, Debug, PartialEq)]
pub struct ModelVersion {
    pub version: Version,
    /// `None`: removed.
    pub bytes: Option<Rc<Vec<u8>>>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct ChunkState {
    pub committed: Option<ModelVersion>,
    pub pending: Vec<ModelVersion>,
}

#[derive(Default)]
pub(super) struct ChunkHistory {
    pub states: Vec<ChunkState>,
    /// When each of them began, counted over all chunks.
    pub since: Vec<u64>,
    /// States before this one may no longer appear after the loss of power, or after the death of the
    /// process.
    pub flushed: usize,
    pub acknowledged: usize,
}

/// What happened to the exactly-once table: with an update, which belongs to a state of its chunk, or by itself.
pub(super) enum Event {
    Update { chunk: u64, state: usize, change: Change },
    Forgotten,
}

pub(super) enum Change {
    Staged(Tag, Version),
    Discarded(Vec<Version>),
}

/// How often the client was forgotten: before the last flush, acknowledged, and asked for.
#[derive(Clone, Copy, Default)]
pub(super) struct Forgotten {
    pub flushed: usize,
    pub acknowledged: usize,
    pub asked: usize,
}

pub(super) fn tip(state: &ChunkState) -> (Version, Vec<u8>) {
    match state.pending.last().or(state.committed.as_ref()) {
        None => (Version::NONE, Vec::new()),
        Some(newest) => (newest.version, newest.bytes.as_deref().cloned().unwrap_or_default()),
    }
}

/// In its newest version.
pub(super) fn exists(state: &ChunkState) -> bool {
    state.pending.last().or(state.committed.as_ref()).is_some_and(|newest| newest.bytes.is_some())
}

impl ChunkHistory {
    pub fn now(&self) -> ChunkState {
        self.states.last().cloned().unwrap_or_default()
    }
}

pub(super) fn brief(state: &ChunkState) -> (Option<(Version, Option<usize>)>, Vec<Version>) {
    let committed = state.committed.as_ref();
    (
        committed.map(|one| (one.version, one.bytes.as_ref().map(|bytes| bytes.len()))),
        state.pending.iter().map(|one| one.version).collect(),
    )
}

/// What the engine shows of a chunk, read in every way there is.
pub fn observe(engine: &Engine, chunk: u64) -> ChunkState {
    try_observe(engine, chunk).unwrap()
}

/// While an operation of the disk may still fail.
pub fn try_observe(engine: &Engine, chunk: u64) -> Result<ChunkState, Error> {
    let chunk: ChunkId = id(chunk, 0);
    let Some(meta) = engine.meta(chunk) else { return Ok(ChunkState::default()) };
    let read = |version: Version, length: u32, removed: bool| {
        if removed {
            return Ok(ModelVersion { version, bytes: None });
        }
        let mut bytes = vec![0; length as usize];
        let info = engine.read_version(chunk, version, 0, &mut bytes)?;
        assert_eq!((info.length, info.crc), (length, chunk_engine::checksum(&bytes)));
        Ok(ModelVersion { version, bytes: Some(Rc::new(bytes)) })
    };
    let committed = match meta.committed {
        Version::NONE => None,
        version => Some(read(version, meta.length, meta.removed)?),
    };
    let pending = meta.pending.iter().map(|pending| read(pending.version, pending.length, pending.removed));
    Ok(ChunkState { committed, pending: pending.collect::<Result<_, Error>>()? })
}
