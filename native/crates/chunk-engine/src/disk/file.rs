//! A folder of a real file system. Buffered I/O: a write survives the death of the process, `flush` is
//! fdatasync. One process at a time: the folder is locked while the disk is open.

use super::direct::ring::{Request, Rings};
use super::{Block, Disk, DiskFile, DiskSpace};
use pages::Pages;
use rustix::fs::{Advice, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "lock";

/// Most parts of one system call (UIO_MAXIOV).
pub(super) const PARTS_MAX: usize = 1024;

/// For what goes past the page cache, shared by all folders: a target uses rings only while it is scrubbed. Kept are as
/// many as the scrubs of sixteen disks use at once; each is a descriptor and some pages of the kernel.
static RINGS: Rings = Rings::keeping(64);

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
            Ok(file) => Ok(Some(OpenFile { file })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn create_file(&self, name: &str) -> Result<OpenFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.locate(name)?)?;
        Ok(OpenFile { file })
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
pub(super) struct OpenFile {
    file: File,
}

impl OpenFile {
    /// Past the page cache. A handle of its own for each read, which costs a hundredth of it: a disk has too many
    /// segments to keep two open for each. Through the ring the file's lock is not held while the medium works, for
    /// which writers to the segment would wait.
    fn read_direct(&self, into: &mut [Block], offset: u64) -> Result<usize> {
        let same = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(same, flags, Mode::empty())?);
        let into = Block::bytes_of_mut(into);
        Ok(RINGS.run(&file, &mut [Request::Read { offset, into }])?[0])
    }
}

/// What a direct read fails with for want of what it takes.
const WANTING: [Errno; 9] = [
    // The file system has no `O_DIRECT`, or wants larger blocks.
    Errno::INVAL,
    Errno::OPNOTSUPP,
    // The kernel has no io_uring, or it is forbidden.
    Errno::NOSYS,
    Errno::PERM,
    Errno::ACCESS,
    // There is no `/proc`.
    Errno::NOENT,
    // No room for a second handle or a ring.
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
];

/// Whether the error of a direct read says nothing of the medium. Any other one may be the medium's, which has more
/// than EIO for it here: ENODATA, EILSEQ, EREMOTEIO, ETIMEDOUT. A second try through the cache could be lucky, and
/// hide it.
fn permits_the_cache(error: &Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| WANTING.contains(&errno))
}

impl DiskFile for OpenFile {
    fn read_at(&self, mut parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let mut done = 0;
        while !parts.is_empty() {
            let batch = parts.len().min(PARTS_MAX);
            match rustix::io::preadv(&self.file, &mut parts[..batch], offset + done as u64) {
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

    fn read_medium(&self, into: &mut [Block], offset: u64) -> Result<usize> {
        match self.read_direct(into, offset) {
            Err(error) if permits_the_cache(&error) => {}
            read => return read,
        }
        let length = NonZeroU64::new(std::mem::size_of_val(into) as u64);
        // Pages that are not written back yet stay. A kernel that refuses reads from its cache.
        let _ = rustix::fs::fadvise(&self.file, offset, length, Advice::DontNeed);
        self.read_at(&mut [IoSliceMut::new(Block::bytes_of_mut(into))], offset)
    }

    fn share(&self, offset: u64, length: usize, pages: &mut Pages) -> Result<usize> {
        pages.fill(&self.file, offset, length)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let (mut first, mut skip, mut position) = (0, 0, offset);
        while first < parts.len() {
            let last = parts.len().min(first + PARTS_MAX);
            let written = if skip == 0 {
                rustix::io::pwritev(&self.file, &parts[first..last], position)
            } else {
                rustix::io::pwrite(&self.file, &parts[first][skip..], position)
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
        self.file.sync_data()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        Ok(rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, length)?)
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, offset, length)?)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }

    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        // The file system counts its own maps of a file's blocks too: one block of map for 340 pieces of a
        // file.
        let bytes = self.file.metadata()?.blocks() * 512;
        Ok(bytes.saturating_sub(bytes / 64 + (64 << 10))..=bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{ReadWriteFlags, preadv2};

    fn written() -> (tempfile::TempDir, OpenFile, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let file = FileDisk::open(folder.path()).unwrap().create_file("a").unwrap();
        let content: Vec<u8> = (0..10 * 4096u32).map(|place| (place >> 5) as u8).collect();
        file.write_at(&[IoSlice::new(&content)], 0).unwrap();
        file.flush().unwrap();
        (folder, file, content)
    }

    /// A question that the kernel answers with a read ahead: to be put once.
    fn is_cached(file: &OpenFile) -> Result<bool> {
        let mut byte = [0];
        match preadv2(&file.file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT) {
            Ok(count) => Ok(count == 1),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Not where the tests' folder has no `O_DIRECT` or no medium, or io_uring is forbidden; that is said.
    #[test]
    fn the_medium_is_read_past_the_cache() {
        let (folder, file, content) = written();
        let mut into = Block::new_zeros(10);
        if let Err(reason) = is_cached(&file).and_then(|_| file.read_direct(&mut into, 0)) {
            return eprintln!("SKIPPED: {} has no direct I/O: {reason}", folder.path().display());
        }
        assert!(is_cached(&file).unwrap());
        rustix::fs::fadvise(&file.file, 0, None, Advice::DontNeed).unwrap();
        assert_eq!(file.read_medium(&mut into, 0).unwrap(), content.len());
        assert!(Block::bytes_of(&into) == content);
        assert!(!is_cached(&file).unwrap(), "nor is it put there");
    }

    #[test]
    fn what_cannot_be_read_past_the_cache_is_read_through_it() {
        let (_folder, file, content) = written();
        let mut into = Block::new_zeros(10);
        // From the middle of a sector no disk reads directly.
        assert_eq!(file.read_medium(&mut into, 100).unwrap(), content.len() - 100);
        assert!(Block::bytes_of(&into)[..content.len() - 100] == content[100..]);
    }

    #[test]
    fn only_what_says_nothing_of_the_medium_permits_the_cache() {
        let permits = |errno: Errno| permits_the_cache(&errno.into());
        assert!(permits(Errno::INVAL));
        // What the block layer makes of a medium, its protection, its time limits, its paths and its space.
        for errno in [
            Errno::IO,
            Errno::NODATA,
            Errno::ILSEQ,
            Errno::TIMEDOUT,
            Errno::TIME,
            Errno::REMOTEIO,
            Errno::NOLINK,
            Errno::BADE,
            Errno::NODEV,
            Errno::NOSPC,
            // And a file system, of its own checksums.
            Errno::BADMSG,
            Errno::UCLEAN,
        ] {
            assert!(!permits(errno), "{errno}");
        }
        assert!(!permits_the_cache(&ErrorKind::WriteZero.into()), "not one of the kernel's");
    }
}
