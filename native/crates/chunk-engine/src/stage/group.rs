//! Bytes of an update that lie next to each other on the disk, written with one call.

use super::plan::{Content, Payload};
use crate::BLOCK_BYTES;
use crate::engine::Core;
use crate::segments::SegmentFile;
use std::io::IoSlice;
use std::sync::Arc;
use wire::Result;

enum Piece<'a> {
    Zeros(usize),
    Payload(std::ops::Range<usize>),
    Owned(&'a [u8]),
}

/// Bytes that lie next to each other on the disk.
pub(super) struct Group<'a> {
    pub plane: u8,
    file: Arc<SegmentFile>,
    first: u32,
    /// Where block `first` begins.
    origin: u64,
    start: u64,
    pub end: u64,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Group<'a> {
    pub fn new(plane: u8, file: Arc<SegmentFile>, first: u32, origin: u64, skip: u64) -> Group<'a> {
        let start = origin + skip;
        Group { plane, file, first, origin, start, end: start, pieces: Vec::new() }
    }

    pub fn place_of(&self, block: u32) -> u64 {
        self.origin + u64::from(block - self.first) * BLOCK_BYTES as u64
    }

    pub fn push(&mut self, content: &'a Content) {
        self.end += content.len() as u64;
        match content {
            Content::None => {}
            Content::Owned(bytes) => self.pieces.push(Piece::Owned(bytes)),
            Content::Payload { before, range, after } => {
                self.push_zeros(*before);
                match self.pieces.last_mut() {
                    Some(Piece::Payload(last)) if last.end == range.start => last.end = range.end,
                    _ if range.is_empty() => {}
                    _ => self.pieces.push(Piece::Payload(range.clone())),
                }
                self.push_zeros(*after);
            }
        }
    }

    fn push_zeros(&mut self, count: usize) {
        if count > 0 {
            self.pieces.push(Piece::Zeros(count));
        }
    }

    pub fn write(self, core: &Core, payload: &Payload<'_>, from_reserve: bool) -> Result<()> {
        let mut parts = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            match piece {
                Piece::Zeros(count) => parts.push(IoSlice::new(crate::checksum::zeros(*count))),
                Piece::Payload(range) => payload.slices(range.clone(), &mut parts),
                Piece::Owned(bytes) => parts.push(IoSlice::new(bytes)),
            }
        }
        match from_reserve {
            true => core.volume.write(&*self.file.file, &parts, self.start, "a segment")?,
            false => core.volume.write_unreserved(&*self.file.file, &parts, self.start, "a segment")?,
        }
        self.file.mark_dirty();
        Ok(())
    }
}
