//! A disk that hangs: a commit waits neither for it nor for anybody who does.

use crate::support::{content, id, options, request, version};
use bytes::Bytes;
use chunk_engine::disk::{Crash, DiskSpace};
use chunk_engine::{Disk, DiskFile, Engine, MemoryDisk, Update};
use parking_lot::{Condvar, Mutex};
use std::io::{IoSlice, IoSliceMut, Result};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Only a fault of ours lasts longer.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct State {
    /// Writes to files whose names begin so wait.
    hangs: Option<&'static str>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    fn close(&self, files: &'static str) {
        self.state.lock().hangs = Some(files);
    }

    fn open(&self) {
        self.state.lock().hangs = None;
        self.changed.notify_all();
    }

    fn pass(&self, name: &str) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while state.hangs.is_some_and(|files| name.starts_with(files)) {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
    }

    fn wait_until_somebody_hangs(&self) {
        let mut state = self.state.lock();
        while state.waiting == 0 {
            self.changed.wait(&mut state);
        }
    }
}

#[derive(Debug)]
struct HangingDisk {
    disk: MemoryDisk,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct HangingFile {
    name: String,
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl HangingDisk {
    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(HangingFile { name: name.to_string(), file, gate: self.gate.clone() })
    }
}

impl Disk for HangingDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        Ok(self.disk.open(name)?.map(|file| self.file(name, file)))
    }
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.create(name)?))
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.disk.remove(name)
    }
    fn list(&self) -> Result<Vec<String>> {
        self.disk.list()
    }
    fn flush_names(&self) -> Result<()> {
        self.disk.flush_names()
    }
    fn space(&self) -> Result<DiskSpace> {
        self.disk.space()
    }
}

impl DiskFile for HangingFile {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.file.read_at(parts, offset)
    }
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        self.gate.pass(&self.name);
        self.file.write_at(parts, offset)
    }
    fn flush(&self) -> Result<()> {
        self.file.flush()
    }
    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.file.allocate(offset, length)
    }
    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        self.file.punch(offset, length)
    }
    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_length(length)
    }
    fn length(&self) -> Result<u64> {
        self.file.length()
    }
    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        self.file.allocated()
    }
}

/// `version(1)` of a chunk of two blocks is committed and in its place, and `version(2)` pends, which changed the
/// first block through the journal. Somebody does `hanging`, which waits for a write to `files`; meanwhile
/// `version(2)` is committed, and more records than one write takes wait, and a checkpoint does for the hanging one.
fn commits_while(files: &'static str, hanging: impl Fn(&Engine) + Sync, expected: &[u8]) {
    let (disk, gate) = (MemoryDisk::new(1 << 30), Arc::new(Gate::default()));
    let hangs = Arc::new(HangingDisk { disk: disk.clone(), gate: gate.clone() });
    let engine = Engine::create(hangs, options()).unwrap();
    let write = |chunk, base, offset, byte: u8, length| {
        let data = [Bytes::from(vec![byte; length])];
        engine.stage(&request(chunk, base, Update::Write { offset, data: &data })).unwrap();
    };
    let (chunk, others) = (id(7, 3), 200..400);
    write(chunk, 0, 0, b'a', 8192);
    engine.commit(chunk, version(1)).unwrap();
    engine.checkpoint().unwrap();
    write(chunk, 1, 100, b'b', 50);
    others.clone().for_each(|index| write(id(8, index), 0, 0, b'c', 10));
    std::thread::scope(|scope| {
        gate.close(files);
        let (engine, hanging) = (&engine, &hanging);
        let waits = scope.spawn(move || hanging(engine));
        gate.wait_until_somebody_hangs();
        let behind = scope.spawn(|| engine.checkpoint().unwrap());
        let (done, committed) = channel();
        let others = others.clone();
        scope.spawn(move || {
            engine.commit_soon(chunk, version(2)).unwrap();
            others.for_each(|index| engine.commit_soon(id(8, index), version(1)).unwrap());
            done.send(()).unwrap();
        });
        let in_time = committed.recv_timeout(PATIENCE);
        let shown = engine.meta(chunk).unwrap().committed;
        gate.open();
        waits.join().unwrap();
        behind.join().unwrap();
        assert!(in_time.is_ok(), "a commit waits for whoever waits for {files}");
        assert_eq!(shown, version(2));
    });
    let sound = |engine: &Engine| {
        assert_eq!(content(engine, chunk), expected);
        others.clone().for_each(|index| assert_eq!(content(engine, id(8, index)), [b'c'; 10]));
        let report = engine.check().unwrap();
        assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
    };
    sound(&engine);
    engine.flush().unwrap();
    sound(&Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap().0);
}

fn changed() -> Vec<u8> {
    let mut bytes = vec![b'a'; 8192];
    bytes[100..150].fill(b'b');
    bytes
}

#[test]
fn a_commit_does_not_wait_for_the_record_of_the_next_update() {
    let mut expected = changed();
    let next = |engine: &Engine| {
        let data = [Bytes::from_static(b"next")];
        engine.stage(&request(id(7, 3), 2, Update::Write { offset: 4096, data: &data })).unwrap();
        engine.commit(id(7, 3), version(3)).unwrap();
    };
    expected[4096..4100].copy_from_slice(b"next");
    commits_while("journal-", next, &expected);
}

#[test]
fn a_commit_does_not_wait_for_the_bytes_of_the_next_update() {
    let next = |engine: &Engine| {
        let data = [Bytes::from(vec![b'n'; 5000])];
        engine.stage(&request(id(7, 3), 2, Update::Write { offset: 8192, data: &data })).unwrap();
        engine.commit(id(7, 3), version(3)).unwrap();
    };
    commits_while("segment-", next, &[changed(), vec![b'n'; 5000]].concat());
}

#[test]
fn a_commit_does_not_wait_for_a_flush() {
    commits_while("journal-", |engine| engine.flush().unwrap(), &changed());
}

/// What a commit gives up while a checkpoint writes it in its place is released, and used again, only after that.
#[test]
fn a_commit_does_not_wait_for_a_checkpoint_and_leaves_it_its_blocks() {
    let (disk, gate) = (MemoryDisk::new(1 << 30), Arc::new(Gate::default()));
    let hangs = Arc::new(HangingDisk { disk: disk.clone(), gate: gate.clone() });
    let engine = Engine::create(hangs, options()).unwrap();
    let chunk = id(7, 3);
    let bytes = [Bytes::from(vec![b'a'; 60_000])];
    engine.stage(&request(chunk, 0, Update::Write { offset: 0, data: &bytes })).unwrap();
    engine.commit(chunk, version(1)).unwrap();
    let bytes = [Bytes::from(vec![b'b'; 50])];
    engine.stage(&request(chunk, 1, Update::Write { offset: 100, data: &bytes })).unwrap();
    engine.commit(chunk, version(2)).unwrap();
    let bytes = [Bytes::from(vec![b'n'; 60_000])];
    engine.stage(&request(chunk, 2, Update::Replace { data: &bytes })).unwrap();
    gate.close("segment-");
    std::thread::scope(|scope| {
        let checkpoint = scope.spawn(|| engine.checkpoint().unwrap());
        gate.wait_until_somebody_hangs();
        let (done, committed) = channel();
        let flushing = &engine;
        scope.spawn(move || {
            flushing.commit_soon(chunk, version(3)).unwrap();
            flushing.flush().unwrap();
            done.send(()).unwrap();
        });
        let in_time = committed.recv_timeout(PATIENCE);
        gate.open();
        checkpoint.join().unwrap();
        assert!(in_time.is_ok(), "a commit waits for the checkpoint");
    });
    for engine in [&engine, &Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap().0] {
        assert!(content(engine, chunk) == bytes[0]);
        let report = engine.check().unwrap();
        assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
    }
}
