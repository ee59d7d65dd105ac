//! Bytes that stay in the page cache: a pipe holds references to the pages of a file, and a socket takes them
//! from there. Nobody copies them before the receiver does, and nobody has looked at them: who sends `Pages`
//! sends what the pages hold when they leave, and the receiver must compare it with a checksum.

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::fs::File;
use std::io::{ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What one pipe carries: the most that an unprivileged process may ask for.
pub const PAGES_BYTES_MAX: usize = 1 << 20;

/// Reads that are copied before a host that refused a pipe is asked for one again: it costs four system calls.
const SKIPPED_AFTER_REFUSAL: u32 = 1000;

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    fn new() -> rustix::io::Result<Pipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&writer, PAGES_BYTES_MAX)?;
        Ok(Pipe { reader, writer })
    }
}

#[derive(Debug, Default)]
struct Shelf {
    idle: Vec<Pipe>,
    used: usize,
    /// Calls that do not ask the host again, because it refused a pipe.
    skip: u32,
}

#[derive(Debug)]
struct Pool {
    shelf: Mutex<Shelf>,
    pipes_max: usize,
}

/// Pipes that are used again and again. Bounded, because each holds pages that the host cannot use otherwise.
#[derive(Clone, Debug)]
pub struct PagePool(Arc<Pool>);

impl PagePool {
    pub fn new(pipes_max: usize) -> PagePool {
        PagePool(Arc::new(Pool { shelf: Mutex::default(), pipes_max }))
    }

    /// `None` while all are in use, or if the host grants no pipe of this size (`pipe-user-pages-soft`): the
    /// caller reads into memory instead.
    pub fn try_take(&self) -> Option<Pages> {
        let idle = {
            let mut shelf = self.0.shelf.lock();
            if shelf.used == self.0.pipes_max {
                return None;
            }
            if shelf.idle.is_empty() && shelf.skip > 0 {
                shelf.skip -= 1;
                return None;
            }
            shelf.used += 1;
            shelf.idle.pop()
        };
        let mut pages = Pages { pipe: idle, length_bytes: 0, slots: 0, pool: self.clone() };
        if pages.pipe.is_none() {
            pages.pipe = Pipe::new().ok();
            if pages.pipe.is_none() {
                self.0.shelf.lock().skip = SKIPPED_AFTER_REFUSAL;
                return None;
            }
        }
        Some(pages)
    }

    fn give_back(&self, pipe: Option<Pipe>) {
        let mut shelf = self.0.shelf.lock();
        shelf.used -= 1;
        shelf.idle.extend(pipe);
    }
}

/// Bytes of the page cache on their way. Dropping it gives the pipe back, and the pages if they were not sent.
#[derive(Debug)]
pub struct Pages {
    pipe: Option<Pipe>,
    length_bytes: usize,
    slots: usize,
    pool: PagePool,
}

/// The kernel refers to one page per slot of a pipe.
const SLOT_BYTES: usize = 4096;

impl Pages {
    pub fn len(&self) -> usize {
        self.length_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.length_bytes == 0
    }

    /// Bytes of whole pages that still fit.
    pub fn room_bytes(&self) -> usize {
        PAGES_BYTES_MAX - self.slots * SLOT_BYTES
    }

    fn pipe(&self) -> &Pipe {
        self.pipe.as_ref().expect("there until it is dropped")
    }

    fn added(&mut self, count: usize) {
        self.length_bytes += count;
        self.slots += count.div_ceil(SLOT_BYTES);
    }

    /// Adds the pages of a range that begins at a page. Waits for the disk where they are not cached. Returns
    /// fewer bytes only where the file ends.
    ///
    /// # Errors
    /// Those of a read; `Unsupported` where the file has no pages to share.
    ///
    /// # Panics
    /// If the range does not fit or does not begin at a page.
    pub fn fill(&mut self, file: impl AsFd, offset: u64, length: usize) -> Result<usize> {
        assert!(length <= self.room_bytes() && offset.is_multiple_of(SLOT_BYTES as u64), "a range that fits");
        let mut done = 0;
        while done < length {
            let mut position = offset + done as u64;
            let writer = &self.pipe().writer;
            match splice(&file, Some(&mut position), writer, None, length - done, SpliceFlags::NONBLOCK) {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    self.added(count);
                }
                Err(Errno::INTR) => {}
                // A kernel that shares less than a page per slot; what is in the pipe is of no use then.
                Err(Errno::INVAL | Errno::AGAIN) => return Err(ErrorKind::Unsupported.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    /// Adds a copy of `bytes`, for media without a page cache.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn copy_in(&mut self, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() <= self.room_bytes(), "bytes that fit");
        let mut writer = File::from(self.pipe().writer.try_clone()?);
        writer.write_all(bytes)?;
        self.added(bytes.len());
        Ok(())
    }

    /// Moves pages into a socket, which may wait for room in it; the bytes moved. `more`: other bytes follow at
    /// once.
    pub fn send(&mut self, socket: impl AsFd, more: bool) -> rustix::io::Result<usize> {
        let flags = if more { SpliceFlags::MORE } else { SpliceFlags::empty() };
        let sent = splice(&self.pipe().reader, None, socket, None, self.length_bytes, flags)?;
        self.length_bytes -= sent;
        Ok(sent)
    }

    /// Copies everything out, for receivers that are no sockets.
    ///
    /// # Errors
    /// `UnexpectedEof` cannot be: what was filled is there.
    pub fn copy_out(mut self) -> Result<Bytes> {
        let mut bytes = vec![0; self.length_bytes];
        File::from(self.pipe().reader.try_clone()?).read_exact(&mut bytes)?;
        self.length_bytes = 0;
        Ok(Bytes::from(bytes))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // One that still holds pages is closed: that lets them go.
        let pipe = self.pipe.take().filter(|_| self.length_bytes == 0);
        self.pool.give_back(pipe);
    }
}

/// A part of a payload on its way out.
#[derive(Debug)]
pub enum Part {
    Memory(Bytes),
    Pages(Pages),
}

impl Part {
    pub fn len(&self) -> usize {
        match self {
            Part::Memory(bytes) => bytes.len(),
            Part::Pages(pages) => pages.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// # Errors
    /// See `Pages::copy_out`.
    pub fn into_bytes(self) -> Result<Bytes> {
        match self {
            Part::Memory(bytes) => Ok(bytes),
            Part::Pages(pages) => pages.copy_out(),
        }
    }
}

/// A payload that is memory alone.
pub fn in_memory(payload: Vec<Bytes>) -> Vec<Part> {
    payload.into_iter().map(Part::from).collect()
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Part {
        Part::Memory(bytes)
    }
}

impl From<Pages> for Part {
    fn from(pages: Pages) -> Part {
        Part::Pages(pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use std::os::unix::net::UnixStream;

    fn file(length: usize) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..length).map(|place| ((place * 31) >> 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        (file, bytes)
    }

    #[test]
    fn ranges_of_a_file_arrive_in_their_order_and_the_pipe_is_used_again() {
        let (file, bytes) = file(PAGES_BYTES_MAX + 1000);
        let pool = PagePool::new(1);
        for _ in 0..3 {
            let mut pages = pool.try_take().unwrap();
            assert!(pool.try_take().is_none(), "one pipe");
            assert_eq!(pages.fill(&file, 8192, 12_288).unwrap(), 12_288);
            assert_eq!(pages.fill(&file, 0, 4096).unwrap(), 4096);
            assert_eq!(pages.fill(&file, PAGES_BYTES_MAX as u64, 8192).unwrap(), 1000, "the file ends");
            let want = [&bytes[8192..20_480], &bytes[..4096], &bytes[PAGES_BYTES_MAX..]].concat();
            assert_eq!(pages.copy_out().unwrap(), want);
            let mut pages = pool.try_take().unwrap();
            assert_eq!(pages.fill(&file, 0, PAGES_BYTES_MAX).unwrap(), PAGES_BYTES_MAX, "it holds this much");
            assert_eq!(pages.room_bytes(), 0);
            let (near, mut far) = UnixStream::pair().unwrap();
            let receiving = std::thread::spawn(move || {
                let mut got = Vec::new();
                far.read_to_end(&mut got).unwrap();
                got
            });
            while !pages.is_empty() {
                pages.send(&near, false).unwrap();
            }
            drop(near);
            assert_eq!(receiving.join().unwrap(), bytes[..PAGES_BYTES_MAX]);
        }
    }

    #[test]
    fn what_was_not_sent_does_not_come_back_with_the_pipe() {
        let (file, bytes) = file(20_000);
        let pool = PagePool::new(1);
        let mut pages = pool.try_take().unwrap();
        pages.fill(&file, 0, 16_384).unwrap();
        drop(pages);
        let mut pages = pool.try_take().unwrap();
        pages.copy_in(b"copied").unwrap();
        pages.fill(&file, 16_384, 4096).unwrap();
        assert_eq!(pages.len(), 6 + 20_000 - 16_384);
        assert_eq!(pages.copy_out().unwrap(), [b"copied", &bytes[16_384..]].concat());
    }

    #[test]
    fn a_file_without_pages_is_said_to_have_none() {
        let pool = PagePool::new(1);
        let mut pages = pool.try_take().unwrap();
        let folder = File::open("/").unwrap();
        assert!(pages.fill(&folder, 0, 4096).is_err());
    }
}
