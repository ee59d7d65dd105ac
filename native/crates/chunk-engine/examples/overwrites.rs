//! Random overwrites of 4 KiB in chunks of 1 MiB that are on the disk already, by many threads, with a
//! flush every second: `cargo run --release -p chunk-engine --example overwrites -- FOLDER [MiB [SECONDS
//! [WRITERS]]]`. Prints each second's rate, the stalls, and what the kernel says went to the disk per byte
//! written.

use bytes::Bytes;
use chunk_engine::{Engine, Media, Options, StageRequest, Update};
use std::fmt::Arguments;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wire::{ChunkId, Version};

const CHUNK: u32 = 1 << 20;
const WRITE_BYTES: usize = 4096;
/// The first seconds fill the journal; only what follows counts as steady.
const WARM_UP: Duration = Duration::from_secs(5);

fn say(line: Arguments<'_>) {
    writeln!(std::io::stdout(), "{line}").expect("stdout takes a line");
}

/// Bytes that this process caused to be written, and those that the disk wrote for anyone.
#[derive(Clone, Copy)]
struct Disk {
    process: u64,
    device: u64,
}

fn disk_bytes(folder: &Path) -> Disk {
    let io = std::fs::read_to_string("/proc/self/io").expect("/proc is there");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
    let device = std::fs::metadata(folder).expect("the folder").dev();
    let stat = format!("/sys/dev/block/{}:{}/stat", rustix::fs::major(device), rustix::fs::minor(device));
    // Sectors of 512 bytes; a folder in memory has no device.
    let sectors = std::fs::read_to_string(stat)
        .ok()
        .and_then(|text| text.split_whitespace().nth(6)?.parse::<u64>().ok());
    Disk { process: line.parse().expect("a number"), device: sectors.unwrap_or(0) * 512 }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is there");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    ticks as f64 / 100.0
}

struct Run {
    engine: Engine,
    chunks: u64,
    writers: u64,
    written: AtomicU64,
    done: AtomicBool,
}

fn write(engine: &Engine, chunk: ChunkId, offset: u32, data: &[Bytes]) {
    let base = engine.meta(chunk).map_or(Version::NONE, |meta| meta.tip());
    let version = Version { chain: 1, number: base.number + 1 };
    let update = Update::Write { offset, data };
    let request = StageRequest {
        chunk,
        version,
        base: Some(base),
        update,
        chunk_size: CHUNK,
        channel: None,
        crc: None,
        commit: false,
    };
    engine.stage(&request).expect("a stage");
    engine.commit(chunk, version).expect("a commit");
}

impl Run {
    /// One writer with chunks of its own. How long each update took, in µs.
    fn writer(&self, number: u64) -> Vec<u32> {
        let data = [Bytes::from(vec![number as u8 + 1; WRITE_BYTES])];
        let (mut state, mut micros) = (number * 7919 + 1, Vec::new());
        while !self.done.load(Ordering::Relaxed) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (state >> 40) % (self.chunks / self.writers) * self.writers + number;
            let offset = (state >> 20) as u32 % (CHUNK / WRITE_BYTES as u32) * WRITE_BYTES as u32;
            let began = Instant::now();
            write(&self.engine, ChunkId { inode: 1, index }, offset, &data);
            micros.push(began.elapsed().as_micros() as u32);
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        micros
    }

    /// Flushes every second and says what the second was like; the disk's bytes per byte written after the
    /// warm-up.
    fn watch(&self, folder: &Path, seconds: u64) -> (f64, f64, f64) {
        let began = Instant::now();
        let (mut last, mut steady) = (0, None);
        while began.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(Duration::from_secs(1));
            let flushing = Instant::now();
            self.engine.flush().expect("a flush");
            let now = self.written.load(Ordering::Relaxed);
            say(format_args!(
                "{:>5.1} s {:>8} updates, flush {:?}",
                began.elapsed().as_secs_f64(),
                now - last,
                flushing.elapsed()
            ));
            last = now;
            if steady.is_none() && began.elapsed() >= WARM_UP {
                steady = Some((Instant::now(), now, disk_bytes(folder)));
            }
        }
        let (since, before, disk) = steady.expect("a run longer than its warm-up");
        let (now, updates) = (disk_bytes(folder), self.written.load(Ordering::Relaxed) - before);
        let bytes = (updates * WRITE_BYTES as u64) as f64;
        let ratio = |now: u64, before: u64| (now - before) as f64 / bytes;
        self.done.store(true, Ordering::Relaxed);
        let rate = updates as f64 / since.elapsed().as_secs_f64();
        (rate, ratio(now.process, disk.process), ratio(now.device, disk.device))
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder =
        arguments.next().expect("usage: overwrites FOLDER [MiB [SECONDS [WRITERS [buffered|direct]]]]");
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (chunks, seconds, writers) = (number(1024), number(30), number(32));
    let media: Media = arguments.next().map_or(Media::Buffered, |text| text.parse().expect("media"));
    let disk = media.open(Path::new(&folder)).expect("the folder");
    let engine = Engine::create(disk, Options::default()).expect("a new target");
    let whole = [Bytes::from(vec![0x5a; CHUNK as usize])];
    (0..chunks).for_each(|index| write(&engine, ChunkId { inode: 1, index }, 0, &whole));
    engine.checkpoint().expect("a checkpoint");
    let run = Run { engine, chunks, writers, written: AtomicU64::new(0), done: AtomicBool::new(false) };
    let cpu = cpu_seconds();
    let ((rate, process, device), mut micros) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|number| {
                scope.spawn({
                    let run = &run;
                    move || run.writer(number)
                })
            })
            .collect();
        let watched = run.watch(Path::new(&folder), seconds);
        let micros: Vec<u32> =
            writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
        (watched, micros)
    });
    let cpu_micros = (cpu_seconds() - cpu) * 1e6 / micros.len() as f64;
    micros.sort_unstable();
    let share = |of: f64| micros[((micros.len() - 1) as f64 * of) as usize];
    say(format_args!(
        "steady: {rate:.0} updates/s, {process:.2} bytes to the disk per byte (this process), {device:.2} (the whole device)"
    ));
    say(format_args!(
        "µs per update: median {}, p99 {}, p99.9 {}, longest {}; {cpu_micros:.1} µs CPU each",
        share(0.5),
        share(0.99),
        share(0.999),
        share(1.0)
    ));
    run.engine.close().expect("an orderly end");
}
