//! Asks a disk now and then whether it still takes writes: one that nobody uses would report its failure, or that its
//! file system became read-only, only to the first client that writes. One block of one file, past the page cache, so
//! that it costs one request of the device and tells of that device.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pwrite};
use std::path::Path;
use wire::{Code, Error, Result};

const FILE: &str = "probe";

/// Direct writes want memory and length in blocks of the device, of which there are none larger.
#[repr(align(4096))]
struct Block([u8; 4096]);

static BLOCK: Block = Block([0; 4096]);

/// Writes the file of the data directory anew, which it must open each time: a file system that is read-only by now
/// still writes to files that were opened before. A full disk is no failed one.
///
/// # Errors
/// `Io` with what the system says.
pub fn probe(directory: &Path) -> Result<()> {
    let path = directory.join(FILE);
    let write = |past_cache: OFlags| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | past_cache;
        let file = open(&path, flags, Mode::RUSR | Mode::WUSR)?;
        pwrite(&file, &BLOCK.0, 0)?;
        if past_cache.is_empty() { rustix::fs::fdatasync(&file) } else { Ok(()) }
    };
    let written = match write(OFlags::DIRECT) {
        // A file system without direct writes, or of larger blocks.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => write(OFlags::empty()),
        other => other,
    };
    match written {
        Ok(()) | Err(Errno::NOSPC | Errno::DQUOT) => Ok(()),
        Err(error) => Err(Error::new(Code::Io, format!("write {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_writes_has_one_block_more_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        (0..3).for_each(|_| probe(folder.path()).unwrap());
        assert_eq!(std::fs::metadata(folder.path().join(FILE)).unwrap().len(), 4096);
    }

    #[test]
    fn one_that_does_not_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = probe(&folder.path().join("gone")).unwrap_err();
        assert_eq!(error.code, Code::Io);
        assert!(error.detail.contains("gone/probe"), "{error}");
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        assert_eq!(probe(folder.path()).unwrap_err().code, Code::Io);
    }
}
