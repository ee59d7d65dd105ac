//! What small overwrites cost on the medium: the in-memory disk counts the pages that each flush writes, as
//! a page cache would write them.

use crate::support::{content, id, version};
use bytes::Bytes;
use chunk_engine::{Engine, MemoryDisk, Options, StageRequest, Update};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::Version;

const CHUNK: u32 = 1 << 20;
const WRITE_BYTES: u64 = 4096;
/// Updates that are staged before the oldest is committed.
const DEPTH: usize = 32;
/// Updates a second: a flush comes after as many.
const RATE: u64 = 4200;

struct Hot {
    disk: MemoryDisk,
    engine: Engine,
    chunks: u64,
    /// Blocks of each chunk that are overwritten; the rest are holes, so that a large data set fits into a
    /// test's memory. Rows of the catalogue have their full size all the same.
    blocks: u64,
    versions: Vec<u64>,
    in_the_air: VecDeque<(u64, u64)>,
    state: u64,
}

fn place(block: u64) -> u32 {
    // Spread over the chunk: neighbours would share a write in place.
    (block * 7 * WRITE_BYTES) as u32
}

impl Hot {
    /// `chunks` chunks of 1 MiB with bytes in their hot blocks, all of it in its place.
    fn new(chunks: u64, blocks: u64, background: bool) -> Hot {
        let disk = MemoryDisk::new(16 << 30);
        let engine =
            Engine::create(Arc::new(disk.clone()), Options { background, ..Options::default() }).unwrap();
        let mut hot = Hot {
            disk,
            engine,
            chunks,
            blocks,
            versions: vec![0; chunks as usize],
            in_the_air: VecDeque::new(),
            state: 1,
        };
        for chunk in 0..chunks {
            hot.stage(chunk, Update::Write { offset: CHUNK - 1, data: &[Bytes::from_static(&[0])] });
            for block in 0..blocks {
                let data = [Bytes::from(vec![1; WRITE_BYTES as usize])];
                hot.stage(chunk, Update::Write { offset: place(block), data: &data });
            }
        }
        hot.land();
        hot.engine.checkpoint().unwrap();
        hot
    }

    fn stage(&mut self, chunk: u64, update: Update<'_>) {
        let number = &mut self.versions[chunk as usize];
        let base = if *number == 0 { Version::NONE } else { version(*number) };
        *number += 1;
        let request = StageRequest {
            chunk: id(1, chunk),
            version: version(*number),
            base: Some(base),
            update,
            chunk_size: CHUNK,
            channel: None,
            crc: None,
            commit: false,
        };
        self.engine.stage(&request).unwrap();
        self.in_the_air.push_back((chunk, *number));
        if self.in_the_air.len() > DEPTH {
            self.commit_oldest();
        }
    }

    fn commit_oldest(&mut self) {
        if let Some((chunk, number)) = self.in_the_air.pop_front() {
            self.engine.commit(id(1, chunk), version(number)).unwrap();
        }
    }

    fn land(&mut self) {
        while !self.in_the_air.is_empty() {
            self.commit_oldest();
        }
    }

    fn overwrite(&mut self, updates: u64) {
        for update in 1..=updates {
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (chunk, block) = ((self.state >> 33) % self.chunks, (self.state >> 20) % self.blocks);
            let data = [Bytes::from(vec![update as u8; WRITE_BYTES as usize])];
            self.stage(chunk, Update::Write { offset: place(block), data: &data });
            if update % RATE == 0 {
                self.engine.flush().unwrap();
            }
        }
    }

    /// Bytes that the medium takes for each byte of random overwrites, over whole rounds of checkpoints.
    fn ratio(&mut self) -> f64 {
        self.overwrite(12_000);
        self.engine.checkpoint().unwrap();
        let (before, updates) = (self.disk.medium_bytes(), 40_000);
        self.overwrite(updates);
        self.engine.checkpoint().unwrap();
        (self.disk.medium_bytes() - before) as f64 / (updates * WRITE_BYTES) as f64
    }
}

#[test]
fn random_overwrites_cost_at_most_two_and_a_half_times_their_bytes() {
    // Behind the updates' back, a checkpoint meets blocks that are newer than itself.
    for (chunks, blocks, background, most) in
        [(1024, 36, false, 2.1), (1024, 36, true, 2.1), (6000, 8, false, 2.5)]
    {
        let mut hot = Hot::new(chunks, blocks, background);
        let ratio = hot.ratio();
        eprintln!("{chunks} chunks: {ratio:.3} bytes to the medium per byte");
        assert!(ratio <= most, "{ratio} bytes per byte in {chunks} chunks");
        // Once into the journal, once in place: a smaller figure would mean that the disk does not count.
        assert!(ratio > 1.8, "{ratio} bytes per byte cannot be");
        hot.land();
        assert_eq!(content(&hot.engine, id(1, 0)).len(), CHUNK as usize);
        let report = hot.engine.check().unwrap();
        assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
    }
}
