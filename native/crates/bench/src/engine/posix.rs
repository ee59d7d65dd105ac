//! Ordinary files below a folder: a mount of Catena or of anything else.

use super::{Engine, ReadDone, WriteDone};
use crate::job::Job;
use crate::pattern;
use bytes::Bytes;
use parking_lot::RwLock;
use rustix::fs::OFlags;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wire::{Buffer, BufferPool, Code, Error, Result};

/// Content is made and written in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// What O_DIRECT wants of memory on every file system there is.
const ALIGNMENT: usize = 4096;

pub struct PosixEngine {
    folder: PathBuf,
    direct: bool,
    files: RwLock<Vec<Arc<File>>>,
    pool: BufferPool,
}

impl PosixEngine {
    /// `folder` must exist; files `bench.0` ... are made in it and stay for the next run. `direct`: past the
    /// page cache, which otherwise answers reads and puts the writes of one file in a row.
    pub fn new(folder: &Path, direct: bool) -> Self {
        // As much as the largest job may have in the air.
        let pool = BufferPool::new(256 << 20);
        PosixEngine { folder: folder.into(), direct, files: RwLock::default(), pool }
    }

    /// A buffer that O_DIRECT takes, and where in it.
    fn aligned(&self, len: usize) -> (Buffer, Range<usize>) {
        let buffer = self.pool.take(len + ALIGNMENT);
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        (buffer, start..start + len)
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
            .truncate(!job.expects_content())
            .open(&path)
            .map_err(context)?;
        let has_content =
            file.metadata().map_err(context)?.len() >= job.size_bytes && holds_pattern(job, each, &file);
        if job.expects_content() && !has_content {
            let mut piece = vec![0; PIECE_BYTES];
            let mut offset = 0;
            while offset < job.size_bytes {
                let len = (job.size_bytes - offset).min(PIECE_BYTES as u64).next_multiple_of(8) as usize;
                pattern::fill(job.content_seed(each), offset, 0, &mut piece[..len]);
                file.write_all_at(&piece[..len], offset).map_err(context)?;
                offset += len as u64;
            }
            file.sync_all().map_err(context)?;
        }
        if !self.direct {
            return Ok(file);
        }
        let flags = OFlags::DIRECT.bits() as i32;
        File::options().read(true).write(true).custom_flags(flags).open(&path).map_err(context)
    }
}

/// Whether an earlier run of the same seed left its content: looked at where it starts and ends.
fn holds_pattern(job: &Job, each: u32, file: &File) -> bool {
    let last = (job.size_bytes - 512) & !7;
    [0, last].into_iter().all(|offset| {
        let mut block = [0; 512];
        file.read_exact_at(&mut block, offset).is_ok()
            && pattern::first_wrong(job.content_seed(each), offset, None, &block).is_none()
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
        let (mut buffer, place) = self.aligned(len as usize);
        let result = self.file(job).read_exact_at(&mut buffer[place.clone()], offset);
        done(result.map(|()| vec![buffer.freeze().slice(place)]).map_err(|error| io_error(&error, "read")));
    }

    fn write(&self, job: u32, offset: u64, data: Bytes, done: WriteDone) {
        let result = if self.direct {
            let (mut buffer, place) = self.aligned(data.len());
            buffer[place.clone()].copy_from_slice(&data);
            self.file(job).write_all_at(&buffer[place], offset)
        } else {
            self.file(job).write_all_at(&data, offset)
        };
        done(result.map_err(|error| io_error(&error, "write")));
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
        let engine: Arc<dyn Engine> = Arc::new(PosixEngine::new(folder.path(), false));
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
    fn random_writes_past_the_page_cache_leave_every_other_byte_as_it_was() {
        let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let engine: Arc<dyn Engine> = Arc::new(PosixEngine::new(folder.path(), true));
        // Without verification: what is sent all the same must not spoil the file for a later read.
        let few = Job { runtime: Duration::from_millis(20), verify: false, ..job(Pattern::RandomWrite) };
        let report = run(&few, &engine).unwrap();
        assert!(report.operations > 0 && report.errors == 0, "{}", report.first_error);
        let whole = run(&job(Pattern::Read), &engine).unwrap();
        assert_eq!((whole.errors, whole.verified_bytes), (0, 2 << 20), "{}", whole.first_error);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let engine: Arc<dyn Engine> = Arc::new(PosixEngine::new(Path::new("/nonexistent"), false));
        let error = run(&job(Pattern::Read), &engine).err().unwrap();
        assert!(error.code == Code::NotFound && error.detail.contains("/nonexistent/bench.0"), "{error}");
    }

    #[test]
    fn random_writes_for_a_time_verify_what_they_reached() {
        let folder = tempfile::tempdir().unwrap();
        let engine: Arc<dyn Engine> = Arc::new(PosixEngine::new(folder.path(), false));
        let timed = Job { runtime: Duration::from_millis(100), ..job(Pattern::RandomWrite) };
        let report = run(&timed, &engine).unwrap();
        assert!(report.operations > 0 && report.errors == 0 && report.verified_bytes > 0);
    }
}
