//! A folder whose large files go past the page cache (`O_DIRECT`), through io_uring. Whole blocks move as
//! they are; a block that is written in part is read, changed and written. What is small or grows by bytes
//! stays a buffered file: the journal and the catalogue, which would pay a block for each record.
//!
//! Writes that share a block must not run at once; the engine changes one chunk at a time, and chunks share
//! no block.

pub(super) mod block;
mod buffer;
pub(super) mod ring;

use super::file::{OpenFile, PARTS_MAX};
use super::{Disk, DiskFile, DiskSpace, FileDisk};
use block::BLOCK_BYTES;
use buffer::Buffers;
use parking_lot::{Mutex, MutexGuard};
use ring::{Request, Rings};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Result};
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Bytes that one call moves through a buffer at a time: a default chunk.
const PIECE_BYTES: u64 = 1 << 20;

/// Blocks written in part that each file remembers, so that the next append to one reads nothing.
const EDGES: usize = 16;

const BLOCK: u64 = BLOCK_BYTES as u64;

#[derive(Debug)]
pub struct DirectDisk {
    inner: FileDisk,
    is_direct: fn(&str) -> bool,
    moving: Arc<Moving>,
    /// Open files by name: a file's length to the byte is known only here while it is open.
    open: Mutex<OpenFiles>,
}

type OpenFiles = HashMap<String, Weak<DirectFile>>;

/// What all files move bytes with.
#[derive(Debug, Default)]
struct Moving {
    rings: Rings,
    buffers: Buffers,
}

#[derive(Debug)]
struct DirectFile {
    buffered: OpenFile,
    file: File,
    moving: Arc<Moving>,
    /// To the byte. On the disk a file ends with a block; the rest of it is zeros.
    length: AtomicU64,
    edges: [Mutex<Option<Edge>>; EDGES],
}

/// The content of a block that was written in part.
#[derive(Debug)]
struct Edge {
    block: u64,
    bytes: Box<[u8]>,
}

/// Blocks that a range touches.
fn blocks(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

impl DirectDisk {
    /// Files for which `is_direct` says so go past the page cache. Gives the folder back, and the reason,
    /// where the file system has no `O_DIRECT` or io_uring is forbidden.
    pub fn new(
        inner: FileDisk,
        is_direct: fn(&str) -> bool,
    ) -> std::result::Result<DirectDisk, (FileDisk, std::io::Error)> {
        let disk = DirectDisk { inner, is_direct, moving: Arc::default(), open: Mutex::default() };
        match disk.probe() {
            Ok(()) => Ok(disk),
            Err(error) => Err((disk.inner, error)),
        }
    }

    /// Writes a block and reads it back, in a file without a name.
    fn probe(&self) -> Result<()> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.inner.path(), flags, Mode::RUSR | Mode::WUSR)?);
        let mut buffer = self.moving.buffers.take(1);
        buffer.bytes_mut().fill(7);
        self.moving.rings.run(&file, &mut [Request::Write { offset: 0, from: buffer.bytes() }])?;
        self.moving.rings.run(&file, &mut [Request::Read { offset: 0, into: buffer.bytes_mut() }])?;
        self.moving.buffers.give_back(buffer);
        Ok(())
    }

    fn wrap(&self, open: &mut OpenFiles, name: &str, buffered: OpenFile) -> Result<Arc<dyn DiskFile>> {
        let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.inner.path().join(name), flags, Mode::empty())?);
        let length = AtomicU64::new(buffered.length()?);
        let edges = [const { Mutex::new(None) }; EDGES];
        let file = Arc::new(DirectFile { buffered, file, moving: self.moving.clone(), length, edges });
        open.insert(name.to_string(), Arc::downgrade(&file));
        Ok(file)
    }
}

impl Disk for DirectDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        if !(self.is_direct)(name) {
            return self.inner.open(name);
        }
        let mut open = self.open.lock();
        if let Some(file) = open.get(name).and_then(Weak::upgrade) {
            return Ok(Some(file));
        }
        self.inner.open_file(name)?.map(|file| self.wrap(&mut open, name, file)).transpose()
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        if !(self.is_direct)(name) {
            return self.inner.create(name);
        }
        let file = self.inner.create_file(name)?;
        self.wrap(&mut self.open.lock(), name, file)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.open.lock().remove(name);
        self.inner.remove(name)
    }

    fn list(&self) -> Result<Vec<String>> {
        self.inner.list()
    }

    fn flush_names(&self) -> Result<()> {
        self.inner.flush_names()
    }

    fn space(&self) -> Result<DiskSpace> {
        self.inner.space()
    }
}

impl DirectFile {
    /// Locks the places of the blocks at the ends of `range`, in order, if they are touched in part.
    fn lock_edges(&self, range: &Range<u64>) -> Vec<(u64, MutexGuard<'_, Option<Edge>>)> {
        let touched = blocks(range);
        let partial = [
            (touched.start, !range.start.is_multiple_of(BLOCK)),
            (touched.end - 1, !range.end.is_multiple_of(BLOCK)),
        ];
        let mut partial: Vec<u64> =
            partial.into_iter().filter(|(_, partial)| *partial).map(|(block, _)| block).collect();
        partial.dedup();
        partial.sort_unstable_by_key(|block| block % EDGES as u64);
        // Where both share a place, it remembers the first.
        let mut locked: Vec<(u64, MutexGuard<'_, Option<Edge>>)> = Vec::new();
        for block in partial {
            let place = (block % EDGES as u64) as usize;
            match locked.last() {
                Some((other, _)) if (other % EDGES as u64) as usize == place => {}
                _ => locked.push((block, self.edges[place].lock())),
            }
        }
        locked
    }

    /// What `block` contains now, into `bytes`.
    fn load(&self, block: u64, edge: Option<&Edge>, bytes: &mut [u8]) -> Result<()> {
        if let Some(edge) = edge.filter(|edge| edge.block == block) {
            bytes.copy_from_slice(&edge.bytes);
            return Ok(());
        }
        bytes.fill(0);
        if block * BLOCK < self.length.load(Ordering::Acquire) {
            let mut buffer = self.moving.buffers.take(1);
            let count = self
                .moving
                .rings
                .run(&self.file, &mut [Request::Read { offset: block * BLOCK, into: buffer.bytes_mut() }])?
                [0];
            bytes[..count].copy_from_slice(&buffer.bytes()[..count]);
            self.moving.buffers.give_back(buffer);
        }
        Ok(())
    }

    /// Forgets blocks whose remembered content is no longer what the disk has.
    fn forget(&self, is_gone: impl Fn(u64) -> bool) {
        for edge in &self.edges {
            let mut edge = edge.lock();
            if edge.as_ref().is_some_and(|edge| is_gone(edge.block)) {
                *edge = None;
            }
        }
    }

    /// Writes a range of at most one piece; `fill` puts its bytes into the buffer.
    fn write_piece(&self, range: Range<u64>, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let touched = blocks(&range);
        let mut buffer = self.moving.buffers.take((touched.end - touched.start) as usize);
        let within = |position: u64| (position - touched.start * BLOCK) as usize;
        let mut locked = self.lock_edges(&range);
        for (block, partial) in [
            (touched.start, !range.start.is_multiple_of(BLOCK)),
            (touched.end - 1, !range.end.is_multiple_of(BLOCK)),
        ] {
            if partial {
                let known =
                    locked.iter().find(|(locked, _)| *locked == block).and_then(|(_, edge)| edge.as_ref());
                let start = within(block * BLOCK);
                self.load(block, known, &mut buffer.bytes_mut()[start..start + BLOCK_BYTES])?;
            }
        }
        fill(&mut buffer.bytes_mut()[within(range.start)..within(range.end)]);
        let request = Request::Write { offset: touched.start * BLOCK, from: buffer.bytes() };
        let written = self.moving.rings.run(&self.file, &mut [request]);
        for (block, edge) in &mut locked {
            let start = within(*block * BLOCK);
            let bytes = &buffer.bytes()[start..start + BLOCK_BYTES];
            **edge = written.is_ok().then(|| Edge { block: *block, bytes: bytes.into() });
        }
        let remembered: Vec<u64> = locked.iter().map(|(block, _)| *block).collect();
        drop(locked);
        self.moving.buffers.give_back(buffer);
        self.forget(|block| touched.contains(&block) && !remembered.contains(&block));
        written?;
        self.length.fetch_max(range.end, Ordering::AcqRel);
        Ok(())
    }

    /// Cuts a range into pieces that end with a block, except the last.
    fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let mut position = range.start;
        std::iter::from_fn(move || {
            let start = position;
            let end = range.end.min(start / BLOCK * BLOCK + PIECE_BYTES);
            position = end;
            (start < end).then_some(start..end)
        })
    }

    /// Whole blocks from several places, in the kernel at once. Their bytes are at most one piece.
    fn write_blocks(&self, writes: &[(u64, &[IoSlice<'_>])], bytes: u64) -> Result<()> {
        let mut buffer = self.moving.buffers.take((bytes / BLOCK) as usize);
        let mut done = 0;
        for part in writes.iter().flat_map(|(_, parts)| parts.iter()) {
            buffer.bytes_mut()[done..done + part.len()].copy_from_slice(part);
            done += part.len();
        }
        let (mut requests, mut rest) = (Vec::with_capacity(writes.len()), buffer.bytes());
        for (offset, parts) in writes {
            let (from, after) = rest.split_at(parts.iter().map(|part| part.len()).sum());
            requests.push(Request::Write { offset: *offset, from });
            rest = after;
        }
        let written = self.moving.rings.run(&self.file, &mut requests);
        self.moving.buffers.give_back(buffer);
        let mut last = 0;
        for (offset, parts) in writes {
            let end = offset + parts.iter().map(|part| part.len() as u64).sum::<u64>();
            let touched = blocks(&(*offset..end));
            self.forget(|block| touched.contains(&block));
            last = last.max(end);
        }
        written?;
        self.length.fetch_max(last, Ordering::AcqRel);
        Ok(())
    }
}

impl DiskFile for DirectFile {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let wanted: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let end = (offset + wanted).min(self.length.load(Ordering::Acquire)).max(offset);
        let mut into = parts.iter_mut().flat_map(|part| part.chunks_mut(BLOCK_BYTES)).peekable();
        let mut skip = 0;
        for piece in Self::pieces(offset..end) {
            let touched = blocks(&piece);
            let mut buffer = self.moving.buffers.take((touched.end - touched.start) as usize);
            let request = Request::Read { offset: touched.start * BLOCK, into: buffer.bytes_mut() };
            let count = self.moving.rings.run(&self.file, &mut [request])?[0];
            buffer.bytes_mut()[count..].fill(0);
            let start = (piece.start - touched.start * BLOCK) as usize;
            let mut bytes = &buffer.bytes()[start..start + (piece.end - piece.start) as usize];
            while !bytes.is_empty() {
                let part = into.peek_mut().expect("as many bytes as the parts have");
                let step = bytes.len().min(part.len() - skip);
                part[skip..skip + step].copy_from_slice(&bytes[..step]);
                (bytes, skip) = (&bytes[step..], skip + step);
                if skip == part.len() {
                    (skip, _) = (0, into.next());
                }
            }
            self.moving.buffers.give_back(buffer);
        }
        Ok((end - offset) as usize)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let (mut rest, mut skip) = (parts.iter().filter(|part| !part.is_empty()).peekable(), 0);
        for piece in Self::pieces(offset..offset + length) {
            self.write_piece(piece, |mut buffer| {
                while !buffer.is_empty() {
                    let part = rest.peek().expect("as many bytes as the pieces have");
                    let step = buffer.len().min(part.len() - skip);
                    buffer[..step].copy_from_slice(&part[skip..skip + step]);
                    (buffer, skip) = (&mut buffer[step..], skip + step);
                    if skip == part.len() {
                        (skip, _) = (0, rest.next());
                    }
                }
            })?;
        }
        Ok(())
    }

    fn write_many(&self, writes: &[(u64, &[IoSlice<'_>])]) -> Result<()> {
        let bytes_of = |parts: &[IoSlice<'_>]| parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let (mut together, mut bytes) = (Vec::new(), 0);
        for (offset, parts) in writes {
            let length = bytes_of(parts);
            if !(offset | length).is_multiple_of(BLOCK) || length > PIECE_BYTES {
                self.write_at(parts, *offset)?;
                continue;
            }
            if bytes + length > PIECE_BYTES || together.len() == PARTS_MAX {
                self.write_blocks(&together, bytes)?;
                (together, bytes) = (Vec::new(), 0);
            }
            together.push((*offset, *parts));
            bytes += length;
        }
        if together.is_empty() { Ok(()) } else { self.write_blocks(&together, bytes) }
    }

    fn flush(&self) -> Result<()> {
        self.buffered.flush()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.buffered.allocate(offset, length)
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        self.buffered.punch(offset, length)?;
        let touched = blocks(&(offset..offset + length));
        self.forget(|block| touched.contains(&block));
        Ok(())
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.buffered.set_length(length)?;
        self.length.store(length, Ordering::Release);
        self.forget(|_| true);
        Ok(())
    }

    fn length(&self) -> Result<u64> {
        Ok(self.length.load(Ordering::Acquire))
    }

    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        self.buffered.allocated()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_with_blocks() {
        let pieces: Vec<Range<u64>> = DirectFile::pieces(100..PIECE_BYTES * 2 + 5000).collect();
        assert_eq!(
            pieces,
            [100..PIECE_BYTES, PIECE_BYTES..2 * PIECE_BYTES, 2 * PIECE_BYTES..2 * PIECE_BYTES + 5000]
        );
        assert_eq!(DirectFile::pieces(7..7).count(), 0);
    }
}
