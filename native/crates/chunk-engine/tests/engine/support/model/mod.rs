//! A plain model of one target, run beside the engine: after each step it knows every state a chunk went
//! through, so that after a crash it can say which of them may be there (`check.rs`).

#![allow(dead_code)] // Each test binary uses a part of it.

mod check;
mod history;

use super::{id, tag};
use chunk_engine::{ChannelUpdate, Engine, MemoryDisk, Options, StageRequest, Update};
use history::{Change, ChunkHistory, Event, Forgotten, exists, tip};
pub use history::{ChunkState, ModelVersion, try_observe};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use wire::{Code, Error, Version};

pub const CHUNK: u32 = 256 << 10;

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Write {
        chunk: u64,
        offset: u32,
        length: usize,
        commit: bool,
    },
    Truncate {
        chunk: u64,
        length: u32,
        commit: bool,
    },
    Punch {
        chunk: u64,
        offset: u32,
        length: u32,
        commit: bool,
    },
    Remove {
        chunk: u64,
        commit: bool,
    },
    /// As in resync: what pends is discarded, then the chunk replaced, perhaps by an older version.
    Replace {
        chunk: u64,
        length: usize,
        older: bool,
    },
    Commit {
        chunk: u64,
        all: bool,
    },
    /// Shown at once, recorded with the next record: the death of the process may leave it pending, as the last
    /// thing that happened.
    CommitSoon {
        chunk: u64,
    },
    Flush,
    Checkpoint,
    /// The process dies and comes back.
    Restart,
    CloseAndOpen,
    ForgetClient,
    /// Entries of another client come from another member.
    InstallChannels,
    SetReserve(u64),
}

pub struct World {
    pub disk: MemoryDisk,
    pub engine: Option<Engine>,
    pub options: Options,
    chunks: BTreeMap<u64, ChunkHistory>,
    events: Vec<Event>,
    forgotten: Forgotten,
    /// Changes of any chunk so far.
    changes: u64,
    /// Chunks whose newest state is a commit that waits for the next record.
    soon: Vec<u64>,
    number: u64,
    sequence: u64,
    /// Opening or closing failed in the middle: a failed flush may have cost what was not on the medium.
    unsure: bool,
    /// Operations of the disk fail: opening may have to set chunks back, and the run ends there.
    pub faulty: bool,
    /// An opening was cut off, which may have set chunks back: nobody was told.
    pub cut_off: bool,
    pub trace: Vec<Step>,
}

/// Small files and a short journal: checkpoints come often, and no chunk stays in memory longer than it must.
pub fn small() -> Options {
    Options {
        segment_bytes: 4 << 20,
        journal_bytes_max: 200 << 10,
        layout_cache_bytes: 0,
        tombstones_max: 1000,
        ..super::options()
    }
}

impl World {
    /// A new target on an empty disk.
    pub fn new(disk: MemoryDisk, options: Options) -> World {
        let engine = Engine::create(Arc::new(disk.clone()), options.clone()).unwrap();
        World {
            disk,
            engine: Some(engine),
            options,
            chunks: BTreeMap::new(),
            events: Vec::new(),
            forgotten: Forgotten::default(),
            changes: 0,
            soon: Vec::new(),
            number: 0,
            sequence: 0,
            unsure: false,
            faulty: false,
            cut_off: false,
            trace: Vec::new(),
        }
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("an open engine")
    }

    fn history(&mut self, chunk: u64) -> &mut ChunkHistory {
        let history = self.chunks.entry(chunk).or_default();
        if history.states.is_empty() {
            history.states.push(ChunkState::default());
            history.since.push(0);
        }
        history
    }

    /// Runs one step in both. An error is the engine's: of one that goes on, the step was refused and nothing of
    /// it may ever be seen; of one that failed, the model holds the new state as possible.
    pub fn step(&mut self, step: &Step) -> Result<(), Error> {
        self.trace.push(step.clone());
        match *step {
            Step::Write { chunk, offset, length, commit } => {
                let data = [
                    super::pattern(self.number + 1, length / 2),
                    super::pattern(self.number + 77, length - length / 2),
                ];
                let (_, mut bytes) = tip(&self.history(chunk).now());
                bytes.resize(bytes.len().max(offset as usize + length), 0);
                bytes[offset as usize..offset as usize + length].copy_from_slice(&data.concat());
                self.stage(chunk, Update::Write { offset, data: &data }, Some(bytes), commit)
            }
            Step::Truncate { chunk, length, commit } => {
                let state = self.history(chunk).now();
                let (_, mut bytes) = tip(&state);
                bytes.truncate(length as usize);
                let bytes = exists(&state).then_some(bytes);
                self.stage(chunk, Update::Truncate { length }, bytes, commit)
            }
            Step::Punch { chunk, offset, length, commit } => {
                let state = self.history(chunk).now();
                let (_, mut bytes) = tip(&state);
                let (from, to) =
                    (bytes.len().min(offset as usize), bytes.len().min((offset + length) as usize));
                bytes[from..to].fill(0);
                let bytes = exists(&state).then_some(bytes);
                self.stage(chunk, Update::Punch { offset, length }, bytes, commit)
            }
            Step::Remove { chunk, commit } => self.stage(chunk, Update::Remove, None, commit),
            Step::Replace { chunk, length, older } => self.replace(chunk, length, older),
            Step::Commit { chunk, all } => self.commit(chunk, all),
            Step::CommitSoon { chunk } => self.commit_soon(chunk),
            Step::Flush => self.engine().flush().map(|()| self.flushed()),
            Step::Checkpoint => self.engine().checkpoint().map(|()| self.flushed()),
            Step::Restart => {
                self.engine = None;
                self.reopen()
            }
            Step::CloseAndOpen => {
                let closed = self.engine.take().expect("an open engine").close();
                self.unsure |= closed.is_err();
                closed?;
                self.flushed();
                self.reopen()
            }
            Step::ForgetClient => self.forget_client(),
            Step::InstallChannels => {
                let channel = |channel: u32| chunk_engine::Channel {
                    tag: tag(2, channel, self.number),
                    chunk: id(1, 0),
                    version: Version { chain: 1, number: self.number },
                    chunk_length: 1,
                    allocated_delta: 0,
                    request_crc: 3,
                };
                let result = self.engine().install_channels(&[channel(0), channel(1)]);
                if result.is_ok() {
                    self.recorded();
                }
                result
            }
            Step::SetReserve(bytes) => self.engine().set_reserve(bytes),
        }
    }

    fn forget_client(&mut self) -> Result<(), Error> {
        let result = self.engine().forget_client(tag(1, 0, 0).client);
        if self.is_possible(&result) {
            self.events.push(Event::Forgotten);
            self.forgotten.asked += 1;
        }
        if result.is_ok() {
            self.forgotten.acknowledged = self.forgotten.asked;
            self.recorded();
        }
        result
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let opened = Engine::open(Arc::new(self.disk.clone()), self.options.clone());
        self.unsure |= opened.is_err();
        let (engine, opened) = opened?;
        if self.faulty && !opened.complete {
            // A block that could not be read counts as one that is not there.
            self.unsure = true;
            return Err(Error::new(Code::Corrupt, format!("{opened:?}")));
        }
        self.engine = Some(engine);
        assert!(opened.complete, "a process that dies loses nothing: {opened:?}");
        // What waited for the next record is pending again, if the process died before it.
        for chunk in std::mem::take(&mut self.soon) {
            let shown = try_observe(self.engine(), chunk);
            self.unsure |= shown.is_err();
            let shown = shown?;
            let history = self.history(chunk);
            if history.states.last() != Some(&shown) {
                history.states.pop();
                history.since.pop();
            }
        }
        self.flushed();
        Ok(())
    }

    /// The target refused the step and goes on, if this is `false`.
    fn is_possible(&self, result: &Result<(), Error>) -> bool {
        result.is_ok() || !self.goes_on()
    }

    /// It is open, and no operation of its disk was its end.
    pub fn goes_on(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.failure().is_none())
    }

    fn flushed(&mut self) {
        self.soon.clear();
        self.forgotten.acknowledged = self.forgotten.asked;
        self.forgotten.flushed = self.forgotten.asked;
        for history in self.chunks.values_mut() {
            history.flushed = history.states.len() - 1;
            history.acknowledged = history.flushed;
        }
    }

    fn push(&mut self, chunk: u64, state: ChunkState, result: &Result<(), Error>) {
        if !self.is_possible(result) {
            return;
        }
        self.changes += 1;
        let now = self.changes;
        let history = self.history(chunk);
        history.states.push(state);
        history.since.push(now);
        if result.is_ok() {
            history.acknowledged = history.states.len() - 1;
            self.recorded();
        }
    }

    /// A record was written, and with it what waited for it.
    fn recorded(&mut self) {
        for chunk in std::mem::take(&mut self.soon) {
            let history = self.history(chunk);
            history.acknowledged = history.states.len() - 1;
        }
    }

    fn stage(
        &mut self,
        chunk: u64,
        update: Update<'_>,
        bytes: Option<Vec<u8>>,
        commit: bool,
    ) -> Result<(), Error> {
        let mut state = self.history(chunk).now();
        let (base, _) = tip(&state);
        self.number += 1;
        self.sequence += 1;
        let version = Version { chain: base.chain.max(1), number: self.number };
        let tag = tag(1, (self.sequence % 3) as u32, self.sequence);
        let request = StageRequest {
            chunk: id(chunk, 0),
            version,
            base: Some(base),
            update,
            chunk_size: CHUNK,
            channel: Some(ChannelUpdate { tag, request_crc: 7 }),
            crc: None,
            commit,
        };
        let result = self.engine().stage(&request).map(drop);
        state.pending.push(ModelVersion { version, bytes: bytes.map(Rc::new) });
        if commit {
            state.committed = state.pending.last().cloned();
            state.pending.clear();
        }
        self.push(chunk, state, &result);
        if self.is_possible(&result) {
            self.happened(chunk, Change::Staged(tag, version));
        }
        result
    }

    fn happened(&mut self, chunk: u64, change: Change) {
        let state = self.history(chunk).states.len() - 1;
        self.events.push(Event::Update { chunk, state, change });
    }

    fn commit(&mut self, chunk: u64, all: bool) -> Result<(), Error> {
        let mut state = self.history(chunk).now();
        if state.pending.is_empty() {
            return Ok(());
        }
        let count = if all { state.pending.len() } else { 1 };
        state.committed = state.pending.drain(..count).next_back();
        let version = state.committed.as_ref().expect("it was just set").version;
        let result = self.engine().commit(id(chunk, 0), version);
        self.push(chunk, state, &result);
        result
    }

    fn commit_soon(&mut self, chunk: u64) -> Result<(), Error> {
        let mut state = self.history(chunk).now();
        let Some(newest) = state.pending.drain(..).next_back() else { return Ok(()) };
        let result = self.engine().commit_soon(id(chunk, 0), newest.version);
        if self.is_possible(&result) {
            state.committed = Some(newest);
            self.changes += 1;
            let now = self.changes;
            let history = self.history(chunk);
            history.states.push(state);
            history.since.push(now);
            self.soon.push(chunk);
        }
        result
    }

    fn replace(&mut self, chunk: u64, length: usize, older: bool) -> Result<(), Error> {
        let mut state = self.history(chunk).now();
        if !state.pending.is_empty() {
            let dropped: Vec<Version> = state.pending.drain(..).map(|pending| pending.version).collect();
            let result = self.engine().discard_pending(id(chunk, 0));
            self.push(chunk, state.clone(), &result);
            if self.is_possible(&result) {
                self.happened(chunk, Change::Discarded(dropped));
            }
            result?;
        }
        self.number += 1;
        let version = Version { chain: if older { 0 } else { 2 }, number: self.number };
        let data = [super::pattern(self.number, length)];
        let request = StageRequest {
            chunk: id(chunk, 0),
            version,
            base: None,
            update: Update::Replace { data: &data },
            chunk_size: CHUNK,
            channel: None,
            crc: Some(chunk_engine::checksum(&data[0])),
            commit: true,
        };
        let result = self.engine().stage(&request).map(drop);
        state.committed = Some(ModelVersion { version, bytes: Some(Rc::new(data[0].to_vec())) });
        self.push(chunk, state, &result);
        result
    }
}

/// Errors that a full or failing disk may cause.
pub fn is_honest(error: &Error) -> bool {
    matches!(error.code, Code::TargetOffline | Code::NoSpace | Code::Corrupt)
}
