//! Carries out the operations and compares.

use super::choice::{LENGTH_MAX, Operation, next};
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
    pub name: String,
    pub seed: u64,
    pub duration: Duration,
    pub operations_max: u64,
}

pub struct Outcome {
    pub latencies: Latencies,
    /// The slowest operation, in words.
    pub longest: String,
    /// What was wrong, with the operations before it. The run ends there.
    pub failure: Option<String>,
}

/// One mount's two ways to the file.
struct Mounted {
    path: PathBuf,
    file: File,
    appending: File,
}

struct Run {
    mounts: Vec<Mounted>,
    model: Vec<u8>,
    latencies: Latencies,
    longest: (u64, String),
    last: VecDeque<String>,
}

fn open(path: &PathBuf) -> std::io::Result<Mounted> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let appending = File::options().append(true).open(path)?;
    Ok(Mounted { path: path.clone(), file, appending })
}

pub fn run(options: &Options) -> Outcome {
    let mut run = Run {
        mounts: Vec::new(),
        model: Vec::new(),
        latencies: Latencies::default(),
        longest: (0, String::new()),
        last: VecDeque::new(),
    };
    let failure = run.all(options).err();
    let failure = failure.map(|what| {
        let before: Vec<_> = run.last.iter().map(String::as_str).collect();
        format!("seed {}: {what}; the last operations: {}", options.seed, before.join(", "))
    });
    Outcome { latencies: run.latencies, longest: run.longest.1, failure }
}

impl Run {
    fn all(&mut self, options: &Options) -> Result<(), String> {
        for folder in &options.mounts {
            let path = folder.join(&options.name);
            self.mounts.push(open(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        let mut random = Random::new(options.seed);
        let end = Instant::now() + options.duration;
        for number in 0..options.operations_max {
            if Instant::now() >= end {
                break;
            }
            let mount = random.below(self.mounts.len() as u64) as usize;
            let operation = next(&mut random, self.model.len() as u64);
            let name = format!("{number}: {operation:?} on mount {mount}");
            if self.last.len() == TOLD_MAX {
                self.last.pop_front();
            }
            self.last.push_back(name.clone());
            let started = boot_ns();
            let done = self.one(mount, operation, mix(options.seed) ^ number);
            let took = boot_ns() - started;
            self.latencies.add(took);
            if took > self.longest.0 {
                self.longest = (took, format!("{name}, at {started} ns of the boot clock"));
            }
            done.map_err(|what| format!("operation {name}: {what}"))?;
        }
        (0..self.mounts.len()).try_for_each(|mount| self.compare(mount, 0, LENGTH_MAX + 1))
    }

    fn one(&mut self, mount: usize, operation: Operation, seed: u64) -> Result<(), String> {
        let Mounted { path, file, appending } = &self.mounts[mount];
        let failed = |error: std::io::Error| error.to_string();
        match operation {
            Operation::Write { offset, length } => {
                let bytes = content(seed, length as usize);
                file.write_all_at(&bytes, offset).map_err(failed)?;
                self.model_write(offset as usize, &bytes);
            }
            Operation::Append { length } => {
                let bytes = content(seed, length as usize);
                std::io::Write::write_all(&mut &*appending, &bytes).map_err(failed)?;
                self.model_write(self.model.len(), &bytes);
            }
            Operation::Truncate { length } => {
                file.set_len(length).map_err(failed)?;
                self.model.resize(length as usize, 0);
            }
            Operation::Extend { length } => {
                rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length)
                    .map_err(|e| failed(e.into()))?;
                self.model.resize(self.model.len().max(length as usize), 0);
            }
            Operation::Read { offset, length } => self.compare(mount, offset, length)?,
            Operation::Stat => {
                let found = file.metadata().map_err(failed)?.len();
                if found != self.model.len() as u64 {
                    return Err(format!("the length is {found}, and should be {}", self.model.len()));
                }
            }
            Operation::Fsync => file.sync_all().map_err(failed)?,
            Operation::Reopen => {
                let path = path.clone();
                self.mounts[mount] = open(&path).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn model_write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.model.len() < end {
            self.model.resize(end, 0);
        }
        self.model[offset..end].copy_from_slice(bytes);
    }

    fn compare(&self, mount: usize, offset: u64, length: u64) -> Result<(), String> {
        let (from, end) = (offset as usize, (offset + length) as usize);
        let wanted = &self.model[from.min(self.model.len())..end.min(self.model.len())];
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folders: &[&std::path::Path]) -> Options {
        let mounts = folders.iter().map(|&folder| folder.into()).collect();
        Options {
            mounts,
            name: "file".into(),
            seed: 3,
            duration: Duration::from_secs(60),
            operations_max: 2_000,
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

    #[test]
    fn a_byte_that_changes_by_itself_is_found_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = open(&folder.path().join("file")).unwrap();
        let spoiler = File::options().write(true).open(&mounted.path).unwrap();
        let mut run = Run {
            mounts: vec![mounted],
            model: Vec::new(),
            latencies: Latencies::default(),
            longest: (0, String::new()),
            last: VecDeque::new(),
        };
        run.one(0, Operation::Write { offset: 5, length: 3_000 }, 1).unwrap();
        run.compare(0, 0, LENGTH_MAX).unwrap();
        let stale = [run.model[777] ^ 1];
        spoiler.write_all_at(&stale, 777).unwrap();
        let error = run.compare(0, 0, LENGTH_MAX).unwrap_err();
        assert!(error.contains("from offset 777 on (some 1)"), "{error}");
        spoiler.set_len(3_004).unwrap();
        assert!(run.compare(0, 1_000, 3_000).unwrap_err().contains("2004 bytes read"), "a lost tail");
    }
}
