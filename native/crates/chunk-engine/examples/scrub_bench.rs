//! What a scrub costs: a target of that many MiB in a folder is read and verified from the medium, beside a
//! plain sequential read of as many bytes from the same disk, in turns; and CPU time per GiB.
//!
//!     cargo run --release -p chunk-engine --example scrub_bench -- FOLDER [MIB]

#![allow(clippy::print_stdout)]

use bytes::Bytes;
use chunk_engine::{Engine, FileDisk, Options, StageRequest, Update};
use rustix::time::{ClockId, clock_gettime};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use wire::{ChunkId, Version};

const CHUNK: usize = 1 << 20;

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// MiB per second, and CPU seconds per GiB.
fn measured(mebibytes: usize, work: impl FnOnce()) -> (f64, f64) {
    let (begun, cpu) = (Instant::now(), seconds(ClockId::ProcessCPUTime));
    work();
    let rate = mebibytes as f64 / begun.elapsed().as_secs_f64();
    (rate, (seconds(ClockId::ProcessCPUTime) - cpu) * 1024.0 / mebibytes as f64)
}

fn forget(file: &std::fs::File) {
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
}

fn read_plain(path: &Path) {
    let mut file = std::fs::File::open(path).expect("the plain file");
    forget(&file);
    let mut buffer = vec![0; CHUNK];
    while file.read(&mut buffer).expect("read") > 0 {}
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder");
    let mebibytes: usize = arguments.next().map_or(512, |text| text.parse().expect("MiB"));
    let disk = FileDisk::open(Path::new(&folder).join("target")).expect("the folder");
    let engine = Engine::create(Arc::new(disk), Options::default()).expect("a new target");
    let data = Bytes::from((0..CHUNK).map(|at| ((at * 2_654_435_761) >> 7) as u8).collect::<Vec<u8>>());
    let id = |number: usize| ChunkId { inode: 1, index: number as u64 };
    for number in 0..mebibytes {
        let request = StageRequest {
            chunk: id(number),
            version: Version { chain: 1, number: 1 },
            base: None,
            update: Update::Replace { data: std::slice::from_ref(&data) },
            chunk_size: CHUNK as u32,
            channel: None,
            crc: None,
            commit: true,
        };
        engine.stage(&request).expect("stage");
    }
    engine.flush().expect("flush");
    let plain = Path::new(&folder).join("plain");
    let content: Vec<u8> = data.iter().copied().cycle().take(mebibytes * CHUNK).collect();
    std::fs::write(&plain, content).expect("the plain file");
    std::fs::File::open(&plain).and_then(|file| file.sync_all()).expect("sync");
    for round in 1..=5 {
        let scrub = || {
            // As the storage server does it: the next piece is on its way while one is verified.
            engine.read_ahead(id(0), 0).expect("a chunk");
            for number in 0..mebibytes {
                engine.read_ahead(id(number + 1), 0).expect("a chunk, or none");
                assert!(engine.damage_at(id(number), 0).expect("read").1.blocks.is_empty());
            }
        };
        let (rate, cpu) = measured(mebibytes, scrub);
        let (plain_rate, plain_cpu) = measured(mebibytes, || read_plain(&plain));
        println!(
            "round {round}: scrub {rate:.0} MiB/s, {cpu:.2} CPU s/GiB; plain read {plain_rate:.0} MiB/s, \
             {plain_cpu:.2} CPU s/GiB"
        );
    }
    let buffer = vec![7; CHUNK];
    let (rate, _) = measured(mebibytes, || {
        for _ in 0..mebibytes {
            std::hint::black_box(chunk_engine::checksum(std::hint::black_box(&buffer)));
        }
    });
    println!("checksums alone: {rate:.0} MiB/s on one core");
}
