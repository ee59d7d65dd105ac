//! What a scrub costs: a target of that many MiB in a folder is read and verified from the medium, beside plain
//! sequential reads of as many bytes from the same disk, through the page cache and past it, in turns; and CPU time
//! per GiB.
//!
//!     cargo run --release -p chunk-engine --example scrub_bench -- FOLDER [MIB [ROUNDS]]

#![allow(clippy::print_stdout)]

use bytes::Bytes;
use chunk_engine::disk::{Block, HugePage};
use chunk_engine::{Damage, Engine, FileDisk, Options, StageRequest, Update};
use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use wire::{ChunkId, Version};

const CHUNK: usize = 1 << 20;

/// Pieces that a storage server looks at at once.
const AT_ONCE: usize = 4;

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// MiB per second, and what it says of that and of the CPU.
fn measured(mebibytes: usize, work: impl FnOnce()) -> (f64, String) {
    let (begun, cpu) = (Instant::now(), seconds(ClockId::ProcessCPUTime));
    work();
    let rate = mebibytes as f64 / begun.elapsed().as_secs_f64();
    let cpu = (seconds(ClockId::ProcessCPUTime) - cpu) * 1024.0 / mebibytes as f64;
    (rate, format!("{rate:.0} MiB/s, {cpu:.2} CPU s/GiB"))
}

/// Of a chunk; no two bear a likeness that a disk may make use of.
fn content(number: usize) -> Bytes {
    let mut state = number as u64 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..CHUNK / 8).flat_map(|_| next()).collect::<Vec<u8>>().into()
}

fn read_plain(path: &Path, how: OFlags) {
    let mut file = File::from(rustix::fs::open(path, OFlags::RDONLY | how, Mode::empty()).expect("the file"));
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
    // The memory that suits a disk best.
    let mut memory = HugePage::new_zeros();
    let buffer = &mut Block::bytes_of_mut(&mut memory.0)[..CHUNK];
    while file.read(buffer).expect("read") > 0 {}
}

/// As the storage server does it: the next pieces are on their way while one is waited for.
fn scrub(engine: &Engine, pieces: impl Iterator<Item = ChunkId>) {
    let (tasks, queue) = channel();
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let task = queue.lock().expect("no panic").recv();
                    let Ok((chunk, found)) = task else { return };
                    let found: std::sync::mpsc::SyncSender<_> = found;
                    found.send(engine.damage_at(chunk, 0)).expect("somebody waits");
                }
            });
        }
        let mut under_way = VecDeque::new();
        for chunk in pieces {
            let (found, waits) = sync_channel(1);
            tasks.send((chunk, found)).expect("threads");
            under_way.push_back(waits);
            if under_way.len() == AT_ONCE {
                sound(&under_way.pop_front().expect("one"));
            }
        }
        under_way.iter().for_each(sound);
        drop(tasks);
    });
}

fn sound(waits: &std::sync::mpsc::Receiver<wire::Result<(u32, Damage)>>) {
    let (length, damage) = waits.recv().expect("an answer").expect("read");
    assert_eq!((length as usize, damage.blocks.len()), (CHUNK, 0));
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder");
    let mebibytes: usize = arguments.next().map_or(512, |text| text.parse().expect("MiB"));
    let rounds: usize = arguments.next().map_or(6, |text| text.parse().expect("rounds"));
    let disk = FileDisk::open(Path::new(&folder).join("target")).expect("the folder");
    let engine = Engine::create(Arc::new(disk), Options::default()).expect("a new target");
    let id = |number: usize| ChunkId { inode: 1, index: number as u64 };
    for number in 0..mebibytes {
        let data = content(number);
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
    let mut file = File::create(&plain).expect("the plain file");
    (0..mebibytes).for_each(|number| file.write_all(&content(number)).expect("the plain file"));
    file.sync_all().expect("sync");
    for round in 1..=rounds {
        let (cached, cached_said) = measured(mebibytes, || read_plain(&plain, OFlags::empty()));
        let (rate, said) = measured(mebibytes, || scrub(&engine, (0..mebibytes).map(id)));
        let (direct, direct_said) = measured(mebibytes, || read_plain(&plain, OFlags::DIRECT));
        let share = rate / cached.max(direct) * 100.0;
        println!(
            "round {round}: scrub {said}; plain {cached_said}; past the page cache {direct_said}: {share:.0} %"
        );
    }
    let buffer = content(0);
    let (rate, _) = measured(mebibytes, || {
        for _ in 0..mebibytes {
            std::hint::black_box(chunk_engine::checksum(std::hint::black_box(&buffer)));
        }
    });
    println!("checksums alone: {rate:.0} MiB/s on one core");
}
