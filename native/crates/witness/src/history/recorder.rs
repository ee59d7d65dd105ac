//! Makes a history: threads on several mounts write and read whole blocks of one shared file.

use super::file::HistoryFile;
use super::{Kind, Operation};
use crate::clock::boot_ns;
use crate::latencies::Latencies;
use crate::random::{Random, mix};
use parking_lot::Mutex;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// A register: one block, read and written by one request of the kernel, within one chunk.
const BLOCK_BYTES: usize = 4096;
/// Registers of one chunk: neighbours in it share the chunk's versions.
const REGISTERS_PER_CHUNK: u32 = 16;
/// As the default layout has it.
const CHUNK_BYTES: u64 = 1 << 20;

pub struct RecorderOptions {
    /// Folders on mounts of one cluster.
    pub mounts: Vec<PathBuf>,
    /// With O_DIRECT, which no mount caches.
    pub direct: bool,
    /// Name of the shared file in them; it must be new.
    pub name: String,
    pub seed: u64,
    pub threads: u32,
    pub registers: u32,
    pub duration: Duration,
    /// Goes on after that until there are so many, but not longer than three times.
    pub operations_min: u64,
    /// Ends earlier after so many.
    pub operations_max: u64,
    /// Writes may find the disk full: each is done, or not, sooner or later.
    pub may_be_full: bool,
    pub history: PathBuf,
}

/// What a thread found beside the history.
#[derive(Default)]
pub struct Recorded {
    pub latencies: Latencies,
    pub errors: Vec<String>,
    /// Writes that found the disk full, and may.
    pub refused: u64,
    /// Reads that saw parts of two values, or of none: blocks are written whole.
    pub torn: Vec<String>,
}

/// # Errors
/// The file cannot be made or opened, or the history cannot be written. Errors of single operations are in
/// the findings.
pub fn record(options: &RecorderOptions) -> Result<Recorded> {
    let first = options.mounts.first().expect("at least one mount").join(&options.name);
    let made = File::options().write(true).create_new(true).open(first)?;
    made.set_len(u64::from(options.registers.div_ceil(REGISTERS_PER_CHUNK)) * CHUNK_BYTES)?;
    made.sync_all()?;
    let history = Mutex::new(HistoryFile::create(&options.history)?);
    let until = Until::new(options);
    let mut all = Recorded::default();
    std::thread::scope(|scope| -> Result<()> {
        let run = |thread| {
            scope.spawn({
                let (history, until) = (&history, &until);
                move || run_thread(options, thread, until, history)
            })
        };
        let threads: Vec<_> = (0..options.threads).map(run).collect();
        for thread in threads {
            let found = thread.join().expect("a recording thread does not panic")?;
            all.latencies.merge(found.latencies);
            all.errors.extend(found.errors);
            all.refused += found.refused;
            all.torn.extend(found.torn);
        }
        Ok(())
    })?;
    history.into_inner().finish()?;
    Ok(all)
}

/// When the threads end.
struct Until {
    early: Instant,
    late: Instant,
    left: AtomicI64,
}

impl Until {
    fn new(options: &RecorderOptions) -> Self {
        let now = Instant::now();
        let left = AtomicI64::new(options.operations_min.cast_signed());
        Until { early: now + options.duration, late: now + options.duration * 3, left }
    }

    /// Asked once before each operation.
    fn is_over(&self) -> bool {
        let enough = self.left.fetch_sub(1, Ordering::Relaxed) <= 0;
        let now = Instant::now();
        now >= self.late || enough && now >= self.early
    }
}

fn run_thread(
    options: &RecorderOptions,
    thread: u32,
    until: &Until,
    history: &Mutex<HistoryFile>,
) -> Result<Recorded> {
    let mount = &options.mounts[thread as usize % options.mounts.len()];
    let flags = if options.direct { OFlags::DIRECT.bits().cast_signed() } else { 0 };
    let open = File::options().read(true).write(true).custom_flags(flags).open(mount.join(&options.name));
    let file = open?;
    let mut random = Random::new(mix(options.seed) ^ u64::from(thread));
    let mut found = Recorded::default();
    let operations_max = options.operations_max / u64::from(options.threads);
    for number in 0..operations_max {
        if until.is_over() {
            break;
        }
        // Low registers are hot, so that operations meet; high ones rest, so that old values are read again.
        let bound = random.below(u64::from(options.registers)) + 1;
        let register = random.below(bound) as u32;
        let (kind, value) = match random.below(2) {
            0 => (Kind::Write, u64::from(thread + 1) << 40 | number),
            _ => (Kind::Read, 0),
        };
        let operation = run_one(&file, register, kind, value, options.may_be_full, &mut found);
        if let Some(operation) = operation {
            history.lock().write(&operation)?;
        }
    }
    Ok(found)
}

/// None: a read that failed says nothing.
fn run_one(
    file: &File,
    register: u32,
    kind: Kind,
    value: u64,
    may_be_full: bool,
    found: &mut Recorded,
) -> Option<Operation> {
    let offset = u64::from(register / REGISTERS_PER_CHUNK) * CHUNK_BYTES
        + u64::from(register % REGISTERS_PER_CHUNK) * BLOCK_BYTES as u64;
    let mut block = if kind == Kind::Write { block_of(value) } else { vec![0; BLOCK_BYTES] };
    let called_ns = boot_ns();
    let done = match kind {
        Kind::Write => file.write_at(&block, offset),
        Kind::Read => file.read_at(&mut block, offset),
    };
    let returned_ns = boot_ns();
    found.latencies.add(returned_ns - called_ns);
    let whole = matches!(done, Ok(BLOCK_BYTES));
    let is_full = done.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull);
    if is_full && may_be_full {
        found.refused += 1;
    } else if !whole {
        let how = done.map_or_else(|error| error.to_string(), |bytes| format!("{bytes} bytes"));
        found.errors.push(format!("{kind:?} of register {register} at {called_ns}: {how}"));
    }
    let returned_ns = whole.then_some(returned_ns);
    match kind {
        Kind::Write => Some(Operation { register, kind, value, called_ns, returned_ns }),
        Kind::Read if !whole => None,
        Kind::Read => match value_of(&block) {
            Ok(value) => Some(Operation { register, kind, value, called_ns, returned_ns }),
            Err(what) => {
                found.torn.push(format!("register {register}, read at {called_ns}: {what}"));
                None
            }
        },
    }
}

/// A block tells its value in every word, each in its own way; 0 is a block that was never written.
fn block_of(value: u64) -> Vec<u8> {
    let words =
        (0..BLOCK_BYTES as u64 / 8).map(|index| if index == 0 { value } else { mix(value ^ mix(index)) });
    words.flat_map(u64::to_le_bytes).collect()
}

fn value_of(block: &[u8]) -> std::result::Result<u64, String> {
    let value = u64::from_le_bytes(block[..8].try_into().expect("a block has a first word"));
    if value == 0 && block.iter().all(|&byte| byte == 0) {
        return Ok(0);
    }
    let expected = block_of(value);
    match block.iter().zip(&expected).position(|(have, want)| have != want) {
        None => Ok(value),
        Some(at) => Err(format!("starts with {value:#x}, and byte {at} is of something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::check_file;

    #[test]
    fn blocks_tell_their_value_or_that_they_are_torn() {
        assert_eq!(value_of(&block_of(77)), Ok(77));
        assert_eq!(value_of(&vec![0; BLOCK_BYTES]), Ok(0));
        let mut torn = block_of(77);
        torn[2048..].copy_from_slice(&block_of(78)[2048..]);
        assert!(value_of(&torn).unwrap_err().contains("byte 2048"), "the seam is named");
        let mut zeros = block_of(77);
        zeros[..8].fill(0);
        assert!(value_of(&zeros).is_err());
    }

    #[test]
    fn a_local_file_is_linearizable_and_a_rewritten_block_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let options = RecorderOptions {
            mounts: vec![folder.path().into(), folder.path().into()],
            name: "shared".into(),
            direct: false,
            seed: 5,
            // Local file systems may tear blocks between threads; ours must not.
            threads: 1,
            registers: 20,
            duration: Duration::from_secs(60),
            operations_min: 0,
            operations_max: 20_000,
            may_be_full: false,
            history: folder.path().join("history"),
        };
        let found = record(&options).unwrap();
        assert_eq!((found.errors.len(), found.torn.len()), (0, 0));
        let (total, violations) = check_file(&options.history).unwrap();
        assert_eq!((total, violations), (20_000, vec![]));

        // What a server that applies an old write again would leave behind.
        let file = File::options().read(true).write(true).open(folder.path().join("shared")).unwrap();
        let text = std::fs::read_to_string(&options.history).unwrap();
        let mut writes = text.lines().filter(|line| line.starts_with("w 0 "));
        let old: u64 = writes.next().unwrap().split(' ').nth(2).unwrap().parse().unwrap();
        file.write_at(&block_of(old), 0).unwrap();
        let seen = run_one(&file, 0, Kind::Read, 0, false, &mut Recorded::default()).unwrap();
        let line = format!("r 0 {} {} {}\n", seen.value, seen.called_ns, seen.returned_ns.unwrap());
        std::fs::write(&options.history, text + &line).unwrap();
        assert_eq!(check_file(&options.history).unwrap().1.len(), 1);
    }
}
