//! A folder of a real file system. Buffered I/O: a write survives the death of the process, `flush` is
//! fdatasync. One process at a time: the folder is locked while the disk is open.

use super::{Disk, DiskFile, DiskSpace};
use pages::Pages;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "lock";

/// Most parts of one system call (UIO_MAXIOV).
pub(super) const PARTS_MAX: usize = 1024;

#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    folder: File,
    /// Holds the lock until the disk is dropped.
    _lock: File,
}

impl FileDisk {
    /// Opens the folder, and makes it if it is missing. Fails with `WouldBlock` if another process has it
    /// open.
    pub fn open(path: impl AsRef<Path>) -> Result<FileDisk> {
        let path = path.as_ref().to_path_buf();
        std::fs::create_dir_all(&path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(FileDisk { folder: File::open(&path)?, path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn locate(&self, name: &str) -> Result<PathBuf> {
        if name.is_empty() || name == LOCK || name.contains('/') || name.starts_with('.') {
            return Err(Error::new(ErrorKind::InvalidInput, format!("not a file name: {name:?}")));
        }
        Ok(self.path.join(name))
    }

    pub(super) fn open_file(&self, name: &str) -> Result<Option<OpenFile>> {
        match OpenOptions::new().read(true).write(true).open(self.locate(name)?) {
            Ok(file) => Ok(Some(OpenFile(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn create_file(&self, name: &str) -> Result<OpenFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.locate(name)?)?;
        Ok(OpenFile(file))
    }
}

impl Disk for FileDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        Ok(self.open_file(name)?.map(|file| Arc::new(file) as Arc<dyn DiskFile>))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.create_file(name)?))
    }

    fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.locate(name)?)
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != LOCK && entry.file_type()?.is_file() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn flush_names(&self) -> Result<()> {
        self.folder.sync_all()
    }

    fn space(&self) -> Result<DiskSpace> {
        let stat = rustix::fs::fstatvfs(&self.folder)?;
        if stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            // What a local file system does when its disk fails: nothing will be stored here any more.
            return Err(rustix::io::Errno::ROFS.into());
        }
        Ok(DiskSpace { capacity: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize })
    }
}

#[derive(Debug)]
pub(super) struct OpenFile(File);

impl DiskFile for OpenFile {
    fn read_at(&self, mut parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let mut done = 0;
        while !parts.is_empty() {
            let batch = parts.len().min(PARTS_MAX);
            match rustix::io::preadv(&self.0, &mut parts[..batch], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    IoSliceMut::advance_slices(&mut parts, count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // An empty part would read as the end of the file.
            while parts.first().is_some_and(|part| part.is_empty()) {
                parts = &mut parts[1..];
            }
        }
        Ok(done)
    }

    fn share(&self, offset: u64, length: usize, pages: &mut Pages) -> Result<usize> {
        pages.fill(&self.0, offset, length)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let (mut first, mut skip, mut position) = (0, 0, offset);
        while first < parts.len() {
            let last = parts.len().min(first + PARTS_MAX);
            let written = if skip == 0 {
                rustix::io::pwritev(&self.0, &parts[first..last], position)
            } else {
                rustix::io::pwrite(&self.0, &parts[first][skip..], position)
            };
            let mut count = match written {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            position += count as u64;
            while first < last && count >= parts[first].len() - skip {
                count -= parts[first].len() - skip;
                (first, skip) = (first + 1, 0);
            }
            skip += count;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        Ok(rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, length)?)
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.0, flags, offset, length)?)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        // The file system counts its own maps of a file's blocks too: one block of map for 340 pieces of a
        // file.
        let bytes = self.0.metadata()?.blocks() * 512;
        Ok(bytes.saturating_sub(bytes / 64 + (64 << 10))..=bytes)
    }

    fn forget_cached(&self, offset: u64, length: u64) {
        // Pages that are not written back yet stay. A kernel that refuses reads from its cache.
        let _ = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(length), Advice::DontNeed);
    }

    fn read_ahead(&self, offset: u64, length: u64) {
        // A kernel that refuses reads when it is asked.
        let _ = rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(length), Advice::WillNeed);
    }
}
