//! Ordinary files below a folder: a mount of Catena or of anything else.

use super::{Engine, ReadDone, WriteDone};
use crate::job::Job;
use crate::pattern;
use bytes::Bytes;
use parking_lot::RwLock;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::{BufferPool, Code, Error, Result};

/// Content is made and written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

pub struct PosixEngine {
    folder: PathBuf,
    files: RwLock<Vec<Arc<File>>>,
    pool: BufferPool,
}

impl PosixEngine {
    /// `folder` must exist; files `bench.0` ... are made in it and stay for the next run.
    pub fn new(folder: &Path) -> Self {
        // As much as the largest job may have in the air.
        PosixEngine { folder: folder.into(), files: RwLock::default(), pool: BufferPool::new(256 << 20) }
    }

    fn file(&self, job: u32) -> Arc<File> {
        self.files.read()[job as usize].clone()
    }

    fn open(&self, job: &Job, each: u32) -> Result<File> {
        let path = self.folder.join(format!("bench.{each}"));
        let context = |error: std::io::Error| io_error(&error, &path.display().to_string());
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(!job.pattern.reads())
            .open(&path)
            .map_err(context)?;
        let has_content =
            file.metadata().map_err(context)?.len() >= job.size_bytes && holds_pattern(job, each, &file);
        if job.pattern.reads() && !has_content {
            let mut piece = vec![0; PIECE_BYTES];
            let mut offset = 0;
            while offset < job.size_bytes {
                let len = (job.size_bytes - offset).min(PIECE_BYTES as u64).next_multiple_of(8) as usize;
                pattern::fill(job.content_seed(each), offset, &mut piece[..len]);
                file.write_all_at(&piece[..len], offset).map_err(context)?;
                offset += len as u64;
            }
            file.sync_all().map_err(context)?;
        }
        Ok(file)
    }
}

/// Whether an earlier run of the same seed left its content: looked at where it starts and ends.
fn holds_pattern(job: &Job, each: u32, file: &File) -> bool {
    let last = (job.size_bytes - 512) & !7;
    [0, last].into_iter().all(|offset| {
        let mut block = [0; 512];
        file.read_exact_at(&mut block, offset).is_ok()
            && pattern::first_wrong(job.content_seed(each), offset, &block).is_none()
    })
}

impl Engine for PosixEngine {
    fn prepare(&self, job: &Job) -> Result<()> {
        let files = (0..job.jobs).map(|each| self.open(job, each).map(Arc::new)).collect::<Result<_>>()?;
        *self.files.write() = files;
        Ok(())
    }

    fn blocks(&self) -> bool {
        true
    }

    fn read(&self, job: u32, offset: u64, len: u32, done: ReadDone) {
        let mut buffer = self.pool.take(len as usize);
        let result = self.file(job).read_exact_at(&mut buffer, offset);
        done(result.map(|()| vec![buffer.freeze()]).map_err(|error| io_error(&error, "read")));
    }

    fn write(&self, job: u32, offset: u64, data: Bytes, done: WriteDone) {
        done(self.file(job).write_all_at(&data, offset).map_err(|error| io_error(&error, "write")));
    }

    fn fsync(&self, job: u32) -> Result<()> {
        self.file(job).sync_all().map_err(|error| io_error(&error, "fsync"))
    }
}

fn io_error(error: &std::io::Error, context: &str) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
        std::io::ErrorKind::StorageFull => Code::NoSpace,
        _ => Code::Io,
    };
    Error::new(code, format!("{context}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::run;
    use crate::job::Pattern;
    use std::time::Duration;

    fn job(pattern: Pattern) -> Job {
        Job {
            pattern,
            block_bytes: 4096,
            depth: 4,
            jobs: 2,
            size_bytes: 1 << 20,
            runtime: Duration::ZERO,
            fsync_every: 16,
            fsync_at_end: true,
            verify: true,
            seed: 3,
        }
    }

    #[test]
    fn what_is_written_verifies_and_a_changed_byte_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let engine: Arc<dyn Engine> = Arc::new(PosixEngine::new(folder.path()));
        let written = run(&job(Pattern::Write), &engine).unwrap();
        assert_eq!((written.operations, written.bytes, written.errors), (512, 2 << 20, 0));
        assert_eq!(written.verified_bytes, 2 << 20);
        let read = run(&job(Pattern::RandomRead), &engine).unwrap();
        assert_eq!((read.operations, read.errors, read.verified_bytes), (512, 0, 2 << 20));

        let file = File::options().write(true).open(folder.path().join("bench.1")).unwrap();
        file.write_all_at(b"!", 77_777).unwrap();
        let read = run(&job(Pattern::Read), &engine).unwrap();
        assert_eq!(read.errors, 1);
        assert!(read.first_error.contains("wrong byte at offset 77777"), "{}", read.first_error);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let engine: Arc<dyn Engine> = Arc::new(PosixEngine::new(Path::new("/nonexistent")));
        let error = run(&job(Pattern::Read), &engine).err().unwrap();
        assert!(error.code == Code::NotFound && error.detail.contains("/nonexistent/bench.0"), "{error}");
    }

    #[test]
    fn random_writes_for_a_time_verify_what_they_reached() {
        let folder = tempfile::tempdir().unwrap();
        let engine: Arc<dyn Engine> = Arc::new(PosixEngine::new(folder.path()));
        let timed = Job { runtime: Duration::from_millis(100), ..job(Pattern::RandomWrite) };
        let report = run(&timed, &engine).unwrap();
        assert!(report.operations > 0 && report.errors == 0 && report.verified_bytes > 0);
    }
}
