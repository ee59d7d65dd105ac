//! A plain model of one target, run beside the engine: after each step it knows every state a chunk went
//! through, so that after a crash it can say which of them may be there.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::{id, tag};
use bytes::Bytes;
use chunk_engine::disk::Crash;
use chunk_engine::{ChannelUpdate, Engine, MemoryDisk, Options, StageRequest, Update};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use wire::{ChunkId, Code, Error, Tag, Version};

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
struct ChunkHistory {
    states: Vec<ChunkState>,
    /// States before this one may no longer appear after the loss of power, or after the death of the
    /// process.
    flushed: usize,
    acknowledged: usize,
}

/// What happened to the exactly-once table, and which state of the chunk it belongs to.
struct Event {
    chunk: u64,
    state: usize,
    change: Change,
}

enum Change {
    Staged(Tag, Version),
    Discarded(Vec<Version>),
}

pub struct World {
    pub disk: MemoryDisk,
    pub engine: Option<Engine>,
    pub options: Options,
    chunks: BTreeMap<u64, ChunkHistory>,
    events: Vec<Event>,
    number: u64,
    sequence: u64,
    /// Opening or closing failed in the middle: a failed flush may have cost what was not on the medium.
    unsure: bool,
    /// Operations of the disk fail: opening may have to set chunks back, and the run ends there.
    pub faulty: bool,
    pub trace: Vec<Step>,
}

fn tip(state: &ChunkState) -> (Version, Vec<u8>) {
    match state.pending.last().or(state.committed.as_ref()) {
        None => (Version::NONE, Vec::new()),
        Some(newest) => (newest.version, newest.bytes.as_deref().cloned().unwrap_or_default()),
    }
}

/// In its newest version.
fn exists(state: &ChunkState) -> bool {
    state.pending.last().or(state.committed.as_ref()).is_some_and(|newest| newest.bytes.is_some())
}

impl ChunkHistory {
    fn now(&self) -> ChunkState {
        self.states.last().cloned().unwrap_or_default()
    }
}

/// Small files and a short journal: checkpoints come often.
pub fn small() -> Options {
    Options { segment_bytes: 4 << 20, journal_bytes_max: 200 << 10, tombstones_max: 1000, ..super::options() }
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
            number: 0,
            sequence: 0,
            unsure: false,
            faulty: false,
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
        }
        history
    }

    /// Runs one step in both. An error is the engine's; the model then holds the new state as possible.
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
                let (_, mut bytes) = tip(&self.history(chunk).now());
                bytes.resize(length as usize, 0);
                self.stage(chunk, Update::Truncate { length }, Some(bytes), commit)
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
            Step::ForgetClient => {
                self.engine().forget_client(tag(1, 0, 0).client)?;
                self.events.clear();
                Ok(())
            }
            Step::InstallChannels => {
                let channel = |channel: u32| chunk_engine::Channel {
                    tag: tag(2, channel, self.number),
                    chunk: id(1, 0),
                    version: Version { chain: 1, number: self.number },
                    chunk_length: 1,
                    allocated_delta: 0,
                    request_crc: 3,
                };
                self.engine().install_channels(&[channel(0), channel(1)])
            }
            Step::SetReserve(bytes) => self.engine().set_reserve(bytes),
        }
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
        self.flushed();
        Ok(())
    }

    fn flushed(&mut self) {
        for history in self.chunks.values_mut() {
            history.flushed = history.states.len() - 1;
            history.acknowledged = history.flushed;
        }
    }

    fn push(&mut self, chunk: u64, state: ChunkState, result: &Result<(), Error>) {
        let history = self.history(chunk);
        history.states.push(state);
        if result.is_ok() {
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
        self.happened(chunk, Change::Staged(tag, version));
        result
    }

    fn happened(&mut self, chunk: u64, change: Change) {
        let state = self.history(chunk).states.len() - 1;
        self.events.push(Event { chunk, state, change });
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

    fn replace(&mut self, chunk: u64, length: usize, older: bool) -> Result<(), Error> {
        let mut state = self.history(chunk).now();
        if !state.pending.is_empty() {
            let dropped: Vec<Version> = state.pending.drain(..).map(|pending| pending.version).collect();
            let result = self.engine().discard_pending(id(chunk, 0));
            self.push(chunk, state.clone(), &result);
            self.happened(chunk, Change::Discarded(dropped));
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

    /// The engine shows exactly the model's newest state.
    pub fn check_now(&self) {
        for (chunk, history) in &self.chunks {
            let shown = observe(self.engine(), *chunk);
            assert!(Some(&shown) == history.states.last(), "chunk {chunk} after {:?}", self.trace);
        }
        let now = |history: &ChunkHistory| vec![history.states.len() - 1];
        let states = self.chunks.iter().map(|(chunk, history)| (*chunk, now(history))).collect();
        self.check_channels(self.engine(), &states);
    }

    /// Opens what a crash leaves, and checks that every chunk is in a state that it may be in. How many
    /// chunks were set back.
    pub fn check_after(&self, crash: Crash) -> usize {
        let died_only = crash == Crash::KeepAll
            && !self.unsure
            && self.engine.as_ref().is_none_or(|engine| {
                // After a failed flush the page cache promises nothing.
                engine.failure().is_none()
            });
        self.check_disk(self.disk.after(crash), died_only, &format!("{crash:?}"))
    }

    /// As `check_after`, with any disk. `died_only`: everything acknowledged must be there.
    pub fn check_disk(&self, disk: MemoryDisk, died_only: bool, what: &str) -> usize {
        let context = || format!("{what} after {:?}", self.trace);
        let opened = Engine::open(Arc::new(disk.clone()), self.options.clone());
        let (engine, opened) = opened.unwrap_or_else(|error| panic!("{error} at {}", context()));
        assert!(opened.complete || !died_only, "{opened:?} at {}", context());
        let mut possible: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (chunk, history) in &self.chunks {
            let shown = observe(&engine, *chunk);
            let least = if died_only { history.acknowledged } else { history.flushed };
            let equal = |state: &usize| history.states[*state] == shown;
            let found: Vec<usize> = (least..history.states.len()).filter(equal).collect();
            assert!(
                !found.is_empty(),
                "chunk {chunk} shows {:?}, committed states were {:?} from {least}, {}",
                brief(&shown),
                history.states.iter().map(brief).collect::<Vec<_>>(),
                context()
            );
            possible.insert(*chunk, found);
        }
        self.check_channels(&engine, &possible);
        let report = engine.check().unwrap();
        assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?} at {}", context());
        self.check_alive(engine, disk);
        opened.dropped.len()
    }

    /// A target that came back takes updates, and keeps them.
    fn check_alive(&self, engine: Engine, disk: MemoryDisk) {
        for chunk in self.chunks.keys() {
            let meta = engine.meta(id(*chunk, 0));
            let base = meta.as_ref().map_or(Version::NONE, chunk_engine::ChunkMeta::tip);
            let data = [Bytes::from_static(b"alive")];
            let version = Version { chain: 9, number: 1 };
            let request = StageRequest {
                chunk: id(*chunk, 0),
                version,
                base: Some(base),
                update: Update::Write { offset: 4000, data: &data },
                chunk_size: CHUNK,
                channel: None,
                crc: None,
                commit: false,
            };
            engine.stage(&request).unwrap();
            engine.commit(id(*chunk, 0), version).unwrap();
        }
        let shown: Vec<ChunkState> = self.chunks.keys().map(|chunk| observe(&engine, *chunk)).collect();
        engine.flush().unwrap();
        drop(engine);
        let (engine, opened) =
            Engine::open(Arc::new(disk.after(Crash::LoseAll)), self.options.clone()).unwrap();
        assert!(opened.complete, "{opened:?}, {:?}", self.trace);
        let again: Vec<ChunkState> = self.chunks.keys().map(|chunk| observe(&engine, *chunk)).collect();
        assert!(shown == again, "a second crash changed something, {:?}", self.trace);
    }

    /// The table is what the updates say that are in the chunks. Where a chunk may be in one of several equal
    /// states (an update staged and discarded), any of them will do.
    fn check_channels(&self, engine: &Engine, possible: &BTreeMap<u64, Vec<usize>>) {
        // A client that is forgotten by an unflushed record may come back; the chain forgets it again.
        if self.trace.contains(&Step::ForgetClient) {
            return;
        }
        let client = tag(1, 0, 0).client;
        let found: Vec<Option<u64>> =
            (0..3).map(|channel| engine.channel(client, channel).map(|entry| entry.tag.sequence)).collect();
        let mut choices: Vec<BTreeMap<u64, usize>> = vec![BTreeMap::new()];
        for (chunk, states) in possible {
            let extend = |choice: &BTreeMap<u64, usize>| {
                let with = |state: &usize| {
                    let mut choice = choice.clone();
                    choice.insert(*chunk, *state);
                    choice
                };
                states.iter().map(with).collect::<Vec<_>>()
            };
            choices = choices.iter().flat_map(extend).collect();
        }
        let expected: Vec<Vec<Option<u64>>> = choices.iter().map(|states| self.table(states)).collect();
        assert!(expected.contains(&found), "channels {found:?}, not {expected:?}, after {:?}", self.trace);
    }

    fn table(&self, states: &BTreeMap<u64, usize>) -> Vec<Option<u64>> {
        let mut table: Vec<Option<(u64, Version)>> = vec![None; 3];
        for event in self.events.iter().filter(|event| event.state <= states[&event.chunk]) {
            match &event.change {
                Change::Staged(tag, version) => table[tag.channel as usize] = Some((tag.sequence, *version)),
                Change::Discarded(versions) => {
                    table
                        .iter_mut()
                        .for_each(|entry| *entry = entry.filter(|(_, version)| !versions.contains(version)));
                }
            }
        }
        table.into_iter().map(|entry| entry.map(|(sequence, _)| sequence)).collect()
    }
}

fn brief(state: &ChunkState) -> (Option<(Version, Option<usize>)>, Vec<Version>) {
    let committed = state.committed.as_ref();
    (
        committed.map(|one| (one.version, one.bytes.as_ref().map(|bytes| bytes.len()))),
        state.pending.iter().map(|one| one.version).collect(),
    )
}

/// What the engine shows of a chunk, read in every way there is.
pub fn observe(engine: &Engine, chunk: u64) -> ChunkState {
    let chunk: ChunkId = id(chunk, 0);
    let Some(meta) = engine.meta(chunk) else { return ChunkState::default() };
    let read = |version: Version, length: u32| {
        let mut bytes = vec![0; length as usize];
        let info = engine.read_version(chunk, version, 0, &mut bytes).unwrap();
        assert_eq!((info.length, info.crc), (length, chunk_engine::checksum(&bytes)));
        Some(Rc::new(bytes))
    };
    let committed = (meta.committed != Version::NONE).then(|| ModelVersion {
        version: meta.committed,
        bytes: if meta.removed { None } else { read(meta.committed, meta.length) },
    });
    let pending = meta.pending.iter().map(|pending| ModelVersion {
        version: pending.version,
        bytes: if pending.removed { None } else { read(pending.version, pending.length) },
    });
    ChunkState { committed, pending: pending.collect() }
}

/// Errors that a full or failing disk may cause.
pub fn is_honest(error: &Error) -> bool {
    matches!(error.code, Code::TargetOffline | Code::NoSpace | Code::Corrupt)
}
