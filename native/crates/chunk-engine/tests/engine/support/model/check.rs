//! What may be there after a crash, and what must be.

use super::super::{id, tag};
use super::history::{Change, ChunkHistory, ChunkState, Event, brief, observe};
use super::{CHUNK, World};
use bytes::Bytes;
use chunk_engine::disk::Crash;
use chunk_engine::{Engine, MemoryDisk, StageRequest, Update};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use wire::Version;

impl World {
    /// The newest committed versions of the chunks that have bytes.
    pub fn committed(&self) -> Vec<(u64, Version, Rc<Vec<u8>>)> {
        let newest = |(chunk, history): (&u64, &ChunkHistory)| {
            let committed = history.states.last()?.committed.clone()?;
            Some((*chunk, committed.version, committed.bytes.filter(|bytes| !bytes.is_empty())?))
        };
        self.chunks.iter().filter_map(newest).collect()
    }

    /// The engine shows exactly the model's newest state.
    pub fn check_now(&self) {
        for (chunk, history) in &self.chunks {
            let shown = observe(self.engine(), *chunk);
            assert!(Some(&shown) == history.states.last(), "chunk {chunk} after {:?}", self.trace);
        }
        let now = |history: &ChunkHistory| vec![history.states.len() - 1];
        let states = self.chunks.iter().map(|(chunk, history)| (*chunk, now(history))).collect();
        self.check_channels(self.engine(), &states, self.forgotten.asked);
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
        if opened.complete && !self.cut_off {
            assert!(self.is_one_moment(&possible), "{possible:?} is no moment of {}", context());
        }
        let forgotten = if died_only { self.forgotten.acknowledged } else { self.forgotten.flushed };
        self.check_channels(&engine, &possible, forgotten);
        let report = engine.check().unwrap();
        assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?} at {}", context());
        self.check_alive(engine, disk);
        opened.dropped.len()
    }

    /// What happened to a target has one order, that of its journal: one that calls itself complete shows all of
    /// its chunks as they were at one moment. Of one that had to set a chunk back nobody expects it.
    fn is_one_moment(&self, possible: &BTreeMap<u64, Vec<usize>>) -> bool {
        (0..=self.changes).any(|moment| {
            possible.iter().all(|(chunk, states)| {
                let then = self.chunks[chunk].since.partition_point(|since| *since <= moment) - 1;
                states.contains(&then)
            })
        })
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
    /// states (an update staged and discarded), any of them will do. A client was forgotten at least `forgotten`
    /// times: by an unflushed record, it may come back, and the chain forgets it again.
    fn check_channels(&self, engine: &Engine, possible: &BTreeMap<u64, Vec<usize>>, forgotten: usize) {
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
        let tables = |forgotten: usize| choices.iter().map(move |states| self.table(states, forgotten));
        let expected: Vec<Vec<Option<u64>>> = (forgotten..=self.forgotten.asked).flat_map(tables).collect();
        assert!(expected.contains(&found), "channels {found:?}, not {expected:?}, after {:?}", self.trace);
    }

    fn table(&self, states: &BTreeMap<u64, usize>, mut forgotten: usize) -> Vec<Option<u64>> {
        let mut table: Vec<Option<(u64, Version)>> = vec![None; 3];
        for event in &self.events {
            match event {
                Event::Forgotten if forgotten == 0 => {}
                Event::Forgotten => {
                    forgotten -= 1;
                    table.fill(None);
                }
                Event::Update { chunk, state, .. } if *state > states[chunk] => {}
                Event::Update { change: Change::Staged(tag, version), .. } => {
                    table[tag.channel as usize] = Some((tag.sequence, *version));
                }
                Event::Update { change: Change::Discarded(versions), .. } => {
                    table
                        .iter_mut()
                        .for_each(|entry| *entry = entry.filter(|(_, version)| !versions.contains(version)));
                }
            }
        }
        table.into_iter().map(|entry| entry.map(|(sequence, _)| sequence)).collect()
    }
}
