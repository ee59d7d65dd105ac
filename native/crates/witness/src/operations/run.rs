//! Carries out the operations and compares.

use super::choice::{LENGTH_MAX, Operation, next};
use super::mapping::Mapping;
use crate::clock::boot_ns;
use crate::latencies::Latencies;
use crate::random::{Random, content, mix};
use rustix::fs::FallocateFlags;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The last operations that a failure tells.
const TOLD_MAX: usize = 20;

pub struct Options {
    /// Folders on mounts of one file system; with more than one they must not cache.
    pub mounts: Vec<PathBuf>,
    /// Also through memory: not where files are opened for direct I/O, which cannot be mapped.
    pub maps: bool,
    pub name: String,
    pub seed: u64,
    pub duration: Duration,
    pub operations_max: u64,
    /// An operation may find the disk full: then each byte is as before it or as after it.
    pub may_be_full: bool,
}

pub struct Outcome {
    pub latencies: Latencies,
    /// The slowest operation, in words.
    pub longest: String,
    /// Operations that found the disk full.
    pub refused: u64,
    /// What was wrong, with the operations before it. The run ends there.
    pub failure: Option<String>,
}

/// One mount's ways to the file.
struct Mounted {
    path: PathBuf,
    file: File,
    appending: File,
    /// Stays while the file is cut, punched and written by other ways, all of which it must show.
    mapping: Option<Mapping>,
}

struct Run {
    mounts: Vec<Mounted>,
    model: Vec<u8>,
    latencies: Latencies,
    longest: (u64, String),
    last: VecDeque<String>,
    refused: u64,
}

/// Why an operation was not done.
enum Failure {
    /// For want of room.
    Full,
    Other(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull => Failure::Full,
            _ => Failure::Other(error.to_string()),
        }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Failure::Other(what)
    }
}

fn open(path: &PathBuf, maps: bool) -> std::io::Result<Mounted> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let appending = File::options().append(true).open(path)?;
    let mapping = if maps { Some(Mapping::new(&file, LENGTH_MAX as usize)?) } else { None };
    Ok(Mounted { path: path.clone(), file, appending, mapping })
}

pub fn run(options: &Options) -> Outcome {
    let mut run = Run {
        mounts: Vec::new(),
        model: Vec::new(),
        latencies: Latencies::default(),
        longest: (0, String::new()),
        last: VecDeque::new(),
        refused: 0,
    };
    let failure = run.all(options).err();
    let failure = failure.map(|what| {
        let before: Vec<_> = run.last.iter().map(String::as_str).collect();
        format!("seed {}: {what}; the last operations: {}", options.seed, before.join(", "))
    });
    Outcome { latencies: run.latencies, longest: run.longest.1, refused: run.refused, failure }
}

impl Run {
    fn all(&mut self, options: &Options) -> Result<(), String> {
        for folder in &options.mounts {
            let path = folder.join(&options.name);
            self.mounts
                .push(open(&path, options.maps).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        let mut random = Random::new(options.seed);
        let end = Instant::now() + options.duration;
        for number in 0..options.operations_max {
            if Instant::now() >= end {
                break;
            }
            let mount = random.below(self.mounts.len() as u64) as usize;
            let operation = next(&mut random, self.model.len() as u64, options.maps);
            let name = format!("{number}: {operation:?} on mount {mount}");
            if self.last.len() == TOLD_MAX {
                self.last.pop_front();
            }
            self.last.push_back(name.clone());
            let started = boot_ns();
            let done = self.one(mount, operation, content_seed(options.seed, number));
            let took = boot_ns() - started;
            self.latencies.add(took);
            if took > self.longest.0 {
                self.longest = (took, format!("{name}, at {started} ns of the boot clock"));
            }
            let settled = match done {
                Err(Failure::Full) if options.may_be_full => {
                    self.refused += 1;
                    if let Some(last) = self.last.back_mut() {
                        last.push_str(" (refused)");
                    }
                    self.settle(mount, operation, content_seed(options.seed, number))
                }
                Err(Failure::Full) => Err("no space is left".into()),
                Err(Failure::Other(what)) => Err(what),
                Ok(()) => Ok(()),
            };
            settled.map_err(|what| format!("operation {name}: {what}"))?;
        }
        (0..self.mounts.len()).try_for_each(|mount| self.compare(mount, 0, LENGTH_MAX + 1))
    }

    fn one(&mut self, mount: usize, operation: Operation, seed: u64) -> Result<(), Failure> {
        let Mounted { path, file, appending, mapping } = &self.mounts[mount];
        match operation {
            Operation::Write { offset, length } => {
                file.write_all_at(&content(seed, length as usize), offset)?;
            }
            Operation::Append { length } => {
                std::io::Write::write_all(&mut &*appending, &content(seed, length as usize))?;
            }
            Operation::Truncate { length } => file.set_len(length)?,
            Operation::Extend { length } => {
                rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length)
                    .map_err(std::io::Error::from)?;
            }
            Operation::Punch { offset, length } => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(file, flags, offset, length).map_err(std::io::Error::from)?;
            }
            Operation::Zero { offset, length, keeps_length } => {
                let mut flags = FallocateFlags::ZERO_RANGE;
                flags.set(FallocateFlags::KEEP_SIZE, keeps_length);
                rustix::fs::fallocate(file, flags, offset, length).map_err(std::io::Error::from)?;
            }
            Operation::Read { offset, length } => self.compare(mount, offset, length)?,
            Operation::MapRead { offset, length } => {
                // Memory behind a shorter file's end would end this process before it has told anything.
                self.judge_length(file)?;
                let mut got = vec![0; length as usize];
                mapping.as_ref().expect("only where it is asked for").read(offset as usize, &mut got);
                self.judge(mount, (offset, length), &got)?;
            }
            Operation::MapWrite { offset, length } => {
                self.judge_length(file)?;
                let mapping = mapping.as_ref().expect("only where it is asked for");
                mapping.write(offset as usize, &content(seed, length as usize))?;
            }
            Operation::Stat => self.judge_length(file)?,
            Operation::Fsync => file.sync_all()?,
            Operation::Reopen => {
                let path = path.clone();
                let maps = mapping.is_some();
                self.mounts[mount] = open(&path, maps)?;
            }
        }
        apply(&mut self.model, operation, seed);
        Ok(())
    }

    /// What is there after an operation that found the disk full becomes the model, if each of its bytes is as
    /// before or as after the operation.
    fn settle(&mut self, mount: usize, operation: Operation, seed: u64) -> Result<(), String> {
        let mut after = self.model.clone();
        apply(&mut after, operation, seed);
        let got = self.read(mount, 0, LENGTH_MAX + 1)?;
        let lengths = self.model.len().min(after.len())..=self.model.len().max(after.len());
        if !lengths.contains(&got.len()) {
            return Err(format!("on a full disk: {} bytes are there, and should be {lengths:?}", got.len()));
        }
        let of = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
        let is_wrong = |(at, &have): (usize, &u8)| have != of(&self.model, at) && have != of(&after, at);
        if let Some((at, _)) = got.iter().enumerate().find(|&place| is_wrong(place)) {
            let extent = got.iter().enumerate().skip(at).take_while(|&place| is_wrong(place)).count();
            return Err(format!(
                "on a full disk: byte {at} (some {extent}) is neither as before nor as after: {:02x?}, \
                 before {:02x?}, after {:02x?}",
                &got[at..(at + 8).min(got.len())],
                &self.model[at.min(self.model.len())..(at + 8).min(self.model.len())],
                &after[at.min(after.len())..(at + 8).min(after.len())]
            ));
        }
        self.model = got;
        Ok(())
    }

    /// As much as is there.
    fn read(&self, mount: usize, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        let mut got = vec![0; length as usize];
        let mut filled = 0;
        while filled < got.len() {
            match self.mounts[mount].file.read_at(&mut got[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) => return Err(format!("reading: {error}")),
            }
        }
        got.truncate(filled);
        Ok(got)
    }

    fn compare(&self, mount: usize, offset: u64, length: u64) -> Result<(), String> {
        let got = self.read(mount, offset, length)?;
        self.judge(mount, (offset, length), &got)
    }

    fn judge_length(&self, file: &File) -> Result<(), Failure> {
        let found = file.metadata()?.len();
        if found != self.model.len() as u64 {
            return Err(format!("the length is {found}, and should be {}", self.model.len()).into());
        }
        Ok(())
    }

    fn judge(&self, mount: usize, (offset, length): (u64, u64), got: &[u8]) -> Result<(), String> {
        let (from, end) = (offset as usize, (offset + length) as usize);
        let wanted = &self.model[from.min(self.model.len())..end.min(self.model.len())];
        if let Some(at) = got.iter().zip(wanted).position(|(have, want)| have != want) {
            let right = got[at..].iter().zip(&wanted[at..]).position(|(have, want)| have == want);
            let extent = right.map_or(got.len() - at, |right| right);
            return Err(format!(
                "wrong bytes from offset {} on (some {extent}) in a read on mount {mount}: {:02x?}, not {:02x?}",
                from + at,
                &got[at..(at + 8).min(got.len())],
                &wanted[at..(at + 8).min(wanted.len())]
            ));
        }
        if got.len() != wanted.len() {
            let (have, want) = (got.len(), wanted.len());
            return Err(format!(
                "{have} bytes read at offset {offset} on mount {mount}, {want} should be there"
            ));
        }
        Ok(())
    }
}

fn content_seed(seed: u64, number: u64) -> u64 {
    mix(seed) ^ number
}

/// What the operation makes of the bytes of a file.
fn apply(model: &mut Vec<u8>, operation: Operation, seed: u64) {
    let (offset, length) = match operation {
        Operation::Write { offset, length } => (offset as usize, length as usize),
        Operation::Append { length } => (model.len(), length as usize),
        Operation::Truncate { length } => return model.resize(length as usize, 0),
        Operation::Extend { length } => return model.resize(model.len().max(length as usize), 0),
        Operation::Punch { offset, length } => return zero(model, offset, length),
        Operation::Zero { offset, length, keeps_length } => {
            let end = if keeps_length { 0 } else { (offset + length) as usize };
            model.resize(model.len().max(end), 0);
            return zero(model, offset, length);
        }
        Operation::MapWrite { offset, length } => (offset as usize, length as usize),
        Operation::Read { .. } | Operation::MapRead { .. } => return,
        Operation::Stat | Operation::Fsync | Operation::Reopen => return,
    };
    model.resize(model.len().max(offset + length), 0);
    model[offset..offset + length].copy_from_slice(&content(seed, length));
}

/// What of the range the file has; its length stays.
fn zero(model: &mut [u8], offset: u64, length: u64) {
    let within = |position: u64| (position as usize).min(model.len());
    let range = within(offset)..within(offset + length);
    model[range].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folders: &[&std::path::Path]) -> Options {
        let mounts = folders.iter().map(|&folder| folder.into()).collect();
        Options {
            mounts,
            maps: true,
            name: "file".into(),
            seed: 3,
            duration: Duration::from_secs(60),
            operations_max: 2_000,
            may_be_full: false,
        }
    }

    #[test]
    fn a_local_file_system_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let mut outcome = run(&options(&[folder.path(), folder.path()]));
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.latencies.count(), 2_000);
        assert!(outcome.latencies.json().contains("longestMs"));
    }

    #[test]
    fn mounts_that_do_not_see_each_other_are_found() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let failure = run(&options(&[one.path(), other.path()])).failure.unwrap();
        assert!(failure.starts_with("seed 3: operation "), "{failure}");
    }

    fn run_on(folder: &std::path::Path) -> (Run, File) {
        let mounted = open(&folder.join("file"), true).unwrap();
        let spoiler = File::options().write(true).open(&mounted.path).unwrap();
        let run = Run {
            mounts: vec![mounted],
            model: Vec::new(),
            latencies: Latencies::default(),
            longest: (0, String::new()),
            last: VecDeque::new(),
            refused: 0,
        };
        (run, spoiler)
    }

    #[test]
    fn a_byte_that_changes_by_itself_is_found_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (mut run, spoiler) = run_on(folder.path());
        assert!(run.one(0, Operation::Write { offset: 5, length: 3_000 }, 1).is_ok());
        run.compare(0, 0, LENGTH_MAX).unwrap();
        let stale = [run.model[777] ^ 1];
        spoiler.write_all_at(&stale, 777).unwrap();
        let error = run.compare(0, 0, LENGTH_MAX).unwrap_err();
        assert!(error.contains("from offset 777 on (some 1)"), "{error}");
        let mapped = run.one(0, Operation::MapRead { offset: 700, length: 100 }, 1);
        let found = |what: &str| what.contains("from offset 777 on (some 1)");
        assert!(matches!(&mapped, Err(Failure::Other(what)) if found(what)));
        spoiler.set_len(3_004).unwrap();
        assert!(run.compare(0, 1_000, 3_000).unwrap_err().contains("2004 bytes read"), "a lost tail");
    }

    #[test]
    fn after_a_refused_write_each_byte_is_as_before_or_as_after() {
        let folder = tempfile::tempdir().unwrap();
        let (mut run, file) = run_on(folder.path());
        assert!(run.one(0, Operation::Write { offset: 0, length: 2_000 }, 1).is_ok());
        let refused = Operation::Write { offset: 1_000, length: 2_000 };
        run.settle(0, refused, 2).unwrap();
        assert_eq!(run.model.len(), 2_000, "nothing of it was done");
        // A part in the middle, and a part of what would have grown.
        file.write_all_at(&content(2, 2_000)[500..1_400], 1_500).unwrap();
        run.settle(0, refused, 2).unwrap();
        assert_eq!(run.model.len(), 2_400);
        assert_eq!(run.model[1_499..1_501], [content(1, 2_000)[1_499], content(2, 2_000)[500]]);
        file.write_all_at(&[run.model[999] ^ 1], 999).unwrap();
        assert!(run.settle(0, refused, 2).unwrap_err().contains("byte 999 (some 1) is neither"));
        file.write_all_at(&[run.model[999]], 999).unwrap();
        file.set_len(3_001).unwrap();
        assert!(run.settle(0, refused, 2).unwrap_err().contains("3001 bytes are there"));
    }
}
