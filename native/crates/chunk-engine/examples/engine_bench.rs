//! What one target costs without network or chain: `cargo run --release -p chunk-engine --example
//! engine_bench -- FOLDER [MiB [buffered|direct]]`. Prints rates, CPU seconds per GiB, and bytes given to
//! the disk for each byte written.

use bytes::Bytes;
use chunk_engine::disk::DiskSpace;
use chunk_engine::{Disk, DiskFile, Engine, Media, Options, StageRequest, Update};
use std::io::{IoSlice, IoSliceMut, Result, Write};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use wire::{ChunkId, Version};

const CHUNK: u32 = 1 << 20;
const GIB: f64 = (1u64 << 30) as f64;

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is there");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    ticks as f64 / 100.0
}

struct Measure {
    began: Instant,
    cpu: f64,
    written_before: u64,
    written: Arc<AtomicU64>,
}

impl Measure {
    fn report(&self, what: &str, operations: u64, bytes: u64) {
        let (seconds, cpu) = (self.began.elapsed().as_secs_f64(), cpu_seconds() - self.cpu);
        let device = (self.written.load(Ordering::Relaxed) - self.written_before) as f64 / bytes as f64;
        writeln!(
            std::io::stdout(),
            "{what:<44} {:>9.0} op/s {:>7.2} GiB/s {:>6.2} CPU s/GiB {:>6.2} µs CPU/op {device:>6.2} bytes to the disk per byte",
            operations as f64 / seconds,
            bytes as f64 / GIB / seconds,
            cpu / (bytes as f64 / GIB),
            cpu * 1e6 / operations as f64,
        )
        .expect("stdout takes a line");
    }
}

struct Bench {
    engine: Engine,
    versions: Vec<u64>,
    chunks: u64,
    bytes: Bytes,
    written: Arc<AtomicU64>,
}

impl Bench {
    fn start(&self) -> Measure {
        let written = self.written.clone();
        let written_before = written.load(Ordering::Relaxed);
        Measure { began: Instant::now(), cpu: cpu_seconds(), written_before, written }
    }

    fn write(&mut self, inode: u64, index: u64, offset: u32, data: &[Bytes]) {
        let slot = (inode * self.chunks + index) as usize;
        let number = &mut self.versions[slot];
        let base = if *number == 0 { Version::NONE } else { Version { chain: 1, number: *number } };
        *number += 1;
        let version = Version { chain: 1, number: *number };
        let chunk = ChunkId { inode: inode + 1, index };
        let update = Update::Write { offset, data };
        let base = Some(base);
        let request = StageRequest {
            chunk,
            version,
            base,
            update,
            chunk_size: CHUNK,
            channel: None,
            crc: None,
            commit: false,
        };
        self.engine.stage(&request).expect("a stage");
        self.engine.commit(chunk, version).expect("a commit");
    }
}

/// A sequence that visits places in no order.
fn scatter(step: u64) -> u64 {
    step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

impl Bench {
    fn whole_chunks(&mut self, inode: u64, what: &str) {
        let whole = [self.bytes.clone()];
        let measure = self.start();
        (0..self.chunks).for_each(|index| self.write(inode, index, 0, &whole));
        measure.report(&format!("{what}, unflushed"), self.chunks, self.chunks << 20);
        self.engine.flush().expect("a flush");
        measure.report(&format!("{what}, flushed at the end"), self.chunks, self.chunks << 20);
    }

    fn appends(&mut self) {
        let measure = self.start();
        for step in 0..self.chunks * 8 {
            let offset = (step % 8) as usize * (128 << 10);
            let data = [self.bytes.slice(offset..offset + (128 << 10))];
            self.write(1, step / 8, offset as u32, &data);
        }
        measure.report("128 KiB appends, unflushed", self.chunks * 8, self.chunks << 20);
        self.engine.flush().expect("a flush");
        measure.report("128 KiB appends, flushed at the end", self.chunks * 8, self.chunks << 20);
    }

    fn reads(&mut self) {
        let mut buffer = vec![0; CHUNK as usize];
        let measure = self.start();
        for index in 0..self.chunks {
            self.engine.read(ChunkId { inode: 1, index }, 0, &mut buffer).expect("a read");
        }
        measure.report("1 MiB reads, cached", self.chunks, self.chunks << 20);
        let measure = self.start();
        for index in 0..self.chunks {
            self.engine.verify(ChunkId { inode: 1, index }).expect("a sound chunk");
        }
        measure.report("1 MiB chunks verified (scrub), cached", self.chunks, self.chunks << 20);
        let reads = 200_000;
        let measure = self.start();
        for step in 0..reads {
            let place = scatter(step) % (self.chunks * 256);
            let chunk = ChunkId { inode: 1, index: place / 256 };
            self.engine.read(chunk, (place % 256) as u32 * 4096, &mut buffer[..4096]).expect("a read");
        }
        measure.report("random 4 KiB reads, cached", reads, reads * 4096);
    }

    fn overwrites(&mut self) {
        let overwrites = 50_000;
        let data = [self.bytes.slice(..4096)];
        let measure = self.start();
        for step in 0..overwrites {
            let place = scatter(step + 7) % (self.chunks * 256);
            self.write(0, place / 256, (place % 256) as u32 * 4096, &data);
        }
        measure.report("random 4 KiB overwrites, unflushed", overwrites, overwrites * 4096);
        self.engine.checkpoint().expect("a checkpoint");
        measure.report("random 4 KiB overwrites, checkpointed", overwrites, overwrites * 4096);
    }

    fn small_chunks(&mut self) {
        let small = 20_000;
        let data = [self.bytes.slice(..100)];
        let measure = self.start();
        for inode in 0..small {
            let chunk = ChunkId { inode: inode + 1000, index: 0 };
            let (version, base) = (Version { chain: 1, number: 1 }, Some(Version::NONE));
            let update = Update::Write { offset: 0, data: &data };
            let request = StageRequest {
                chunk,
                version,
                base,
                update,
                chunk_size: CHUNK,
                channel: None,
                crc: None,
                commit: true,
            };
            self.engine.stage(&request).expect("a stage");
        }
        self.engine.flush().expect("a flush");
        measure.report("new chunks of 100 bytes, flushed at the end", small, small * 100);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: engine_bench FOLDER [MiB [buffered|direct]]");
    let chunks: u64 = arguments.next().map_or(1024, |text| text.parse().expect("MiB as a number"));
    let media: Media = arguments.next().map_or(Media::Buffered, |text| text.parse().expect("media"));
    let inner = media.open(Path::new(&folder)).expect("the folder");
    let disk = Arc::new(CountingDisk { inner, written: Arc::default() });
    let engine = Engine::create(disk.clone(), Options::default()).expect("a new target");
    let bytes: Bytes = (0..CHUNK as usize).map(|at| (scatter(at as u64) >> 3) as u8).collect();
    let written = disk.written.clone();
    let mut bench = Bench { engine, versions: vec![0; 3 * chunks as usize], chunks, bytes, written };
    bench.whole_chunks(0, "1 MiB sequential writes");
    bench.whole_chunks(0, "1 MiB overwrites");
    bench.appends();
    bench.reads();
    bench.overwrites();
    bench.small_chunks();
    let began = Instant::now();
    bench.engine.close().expect("an orderly end");
    let closed = began.elapsed();
    let (_, opened) = Engine::open(disk, Options::default()).expect("the target again");
    let both = began.elapsed();
    writeln!(std::io::stdout(), "close {closed:?}, open {:?} ({opened:?})", both - closed)
        .expect("stdout takes a line");
}

/// A folder that counts the bytes written to it: the kernel's own counts see whole folios.
#[derive(Debug)]
struct CountingDisk {
    inner: Arc<dyn Disk>,
    written: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile {
    inner: Arc<dyn DiskFile>,
    written: Arc<AtomicU64>,
}

impl CountingDisk {
    fn wrap(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountingFile { inner, written: self.written.clone() })
    }
}

impl Disk for CountingDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        Ok(self.inner.open(name)?.map(|file| self.wrap(file)))
    }
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.create(name)?))
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.inner.remove(name)
    }
    fn list(&self) -> Result<Vec<String>> {
        self.inner.list()
    }
    fn flush_names(&self) -> Result<()> {
        self.inner.flush_names()
    }
    fn space(&self) -> Result<DiskSpace> {
        self.inner.space()
    }
}

impl DiskFile for CountingFile {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.inner.read_at(parts, offset)
    }
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        self.written.fetch_add(parts.iter().map(|part| part.len() as u64).sum(), Ordering::Relaxed);
        self.inner.write_at(parts, offset)
    }
    fn write_many(&self, writes: &[(u64, &[IoSlice<'_>])]) -> Result<()> {
        let parts = writes.iter().flat_map(|(_, parts)| parts.iter());
        self.written.fetch_add(parts.map(|part| part.len() as u64).sum(), Ordering::Relaxed);
        self.inner.write_many(writes)
    }
    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }
    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.inner.allocate(offset, length)
    }
    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        self.inner.punch(offset, length)
    }
    fn set_length(&self, length: u64) -> Result<()> {
        self.inner.set_length(length)
    }
    fn length(&self) -> Result<u64> {
        self.inner.length()
    }
    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        self.inner.allocated()
    }
}
