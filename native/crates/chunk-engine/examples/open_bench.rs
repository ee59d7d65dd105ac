//! Opening a target of many chunks: `cargo run --release -p chunk-engine --example open_bench -- FOLDER
//! [CHUNKS [KiB]]`. Makes as many chunks of so many KiB (the default: 10^6 of 100 KiB, which is 100 GiB),
//! one in eight with one block written and the rest a hole, the others a hole alone, so that the disk holds little;
//! every checksum is kept all the same. Then a fresh process opens the target, and says how long it took and how much
//! memory it has had at most, which must not be more than the goal.

use bytes::Bytes;
use chunk_engine::{Engine, FileDisk, Options, StageRequest, Update};
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;
use wire::{ChunkId, Version};

/// Set in the process that only opens.
const OPEN_ONLY: &str = "OPEN_BENCH_OPEN_ONLY";
const INODE_CHUNKS: u64 = 64;
/// One chunk in so many has bytes.
const STEP: u64 = 8;
/// Goal for 10^6 chunks.
const PEAK_MIB_MAX: u64 = 200;

fn make(folder: &str, chunks: u64, length: u32) {
    let disk = Arc::new(FileDisk::open(folder).expect("the folder"));
    let engine = Engine::create(disk, Options::default()).expect("a new target");
    let block = [Bytes::from(vec![0x5a; 4096])];
    let written = Update::Write { offset: length - 4096, data: &block };
    let punched = Update::Punch { offset: 0, length };
    for number in 0..chunks {
        let chunk = ChunkId { inode: 1 + number / INODE_CHUNKS, index: number % INODE_CHUNKS };
        let updates: &[Update<'_>] = if number % STEP == 0 { &[written] } else { &[written, punched] };
        for (base, update) in (0..).zip(updates) {
            let version = |number: u64| Version { chain: u64::from(number > 0), number };
            let request = StageRequest {
                chunk,
                version: version(base + 1),
                base: Some(version(base)),
                update: *update,
                chunk_size: 1 << 20,
                channel: None,
                crc: None,
                commit: true,
            };
            engine.stage(&request).expect("a stage");
        }
    }
    engine.close().expect("an orderly end");
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line of memory");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("its KiB");
    kib / 1024
}

fn main() {
    let mut out = std::io::stdout();
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: open_bench FOLDER [CHUNKS [KiB]]");
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (chunks, length) = (number(1_000_000), (number(105) << 10) as u32);
    if std::env::var_os(OPEN_ONLY).is_none() {
        let began = Instant::now();
        make(&folder, chunks, length);
        writeln!(out, "made {chunks} chunks of {length} bytes in {:?}", began.elapsed())
            .expect("stdout takes a line");
        let itself = std::env::current_exe().expect("this program");
        let mut open = std::process::Command::new(itself);
        let status = open.args(std::env::args().skip(1)).env(OPEN_ONLY, "1").status().expect("a process");
        assert!(status.success(), "{status}");
        return;
    }
    let began = Instant::now();
    let disk = Arc::new(FileDisk::open(&folder).expect("the folder"));
    let (engine, opened) = Engine::open(disk, Options::default()).expect("the target");
    let took = began.elapsed();
    let held = engine.space().expect("its space").chunks;
    assert!(opened.clean && held == chunks, "{opened:?} with {held} chunks");
    let (ms, peak) = (took.as_millis(), peak_mib());
    writeln!(out, r#"opening: {{"chunks":{held},"ms":{ms},"peakMiB":{peak}}}"#).expect("stdout takes a line");
    assert!(held > 1_000_000 || peak <= PEAK_MIB_MAX, "it took {peak} MiB");
    let last = (chunks - 1) / STEP * STEP;
    let chunk = ChunkId { inode: 1 + last / INODE_CHUNKS, index: last % INODE_CHUNKS };
    let (info, bytes) = engine.read_all(chunk).expect("a read");
    assert!(info.length == length && bytes.iter().filter(|byte| **byte == 0x5a).count() == 4096);
}
