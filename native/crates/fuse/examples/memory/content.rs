//! A file's bytes in pieces. Reading shares pieces, so that a read costs no copy on our side; writing copies
//! a piece only while a reader still holds it. A missing piece reads as zeros.

use bytes::{Bytes, BytesMut};

/// Small enough that rewriting one under a reader is cheap, large enough that 1 MiB needs only eight.
const PIECE_BYTES: u64 = 128 << 10;

#[derive(Debug, Default)]
pub struct Content {
    /// Each at most `PIECE_BYTES`; bytes beyond a piece's end, up to the next, are zeros.
    pieces: Vec<Bytes>,
    length: u64,
}

impl Content {
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn allocated_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    pub fn read(&self, offset: u64, size: u32, zeros: &Bytes) -> Vec<Bytes> {
        let end = self.length.min(offset.saturating_add(u64::from(size)));
        let mut parts = Vec::new();
        let mut at = offset;
        while at < end {
            let stop = end.min((at / PIECE_BYTES + 1) * PIECE_BYTES);
            let from = (at % PIECE_BYTES) as usize;
            let wanted = (stop - at) as usize;
            let piece = self.pieces.get((at / PIECE_BYTES) as usize).map_or(&[][..], |piece| piece);
            let stored = piece.len().saturating_sub(from).min(wanted);
            if stored > 0 {
                parts.push(self.pieces[(at / PIECE_BYTES) as usize].slice(from..from + stored));
            }
            if stored < wanted {
                parts.push(zeros.slice(..wanted - stored));
            }
            at = stop;
        }
        parts
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let from = (at % PIECE_BYTES) as usize;
            let (now, later) = rest.split_at(rest.len().min(PIECE_BYTES as usize - from));
            self.change(at / PIECE_BYTES, |piece| {
                if piece.len() < from + now.len() {
                    piece.resize(from + now.len(), 0);
                }
                piece[from..from + now.len()].copy_from_slice(now);
            });
            at += now.len() as u64;
            rest = later;
        }
        self.length = self.length.max(at);
    }

    /// Zeros from `offset` on; the length stays.
    pub fn clear(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length).min(self.pieces.len() as u64 * PIECE_BYTES);
        let mut at = offset;
        while at < end {
            let from = (at % PIECE_BYTES) as usize;
            let stop = end.min((at / PIECE_BYTES + 1) * PIECE_BYTES);
            let count = (stop - at) as usize;
            self.change(at / PIECE_BYTES, |piece| {
                if from + count >= piece.len() {
                    piece.truncate(from);
                } else {
                    piece[from..from + count].fill(0);
                }
            });
            at = stop;
        }
    }

    pub fn set_length(&mut self, length: u64) {
        if length < self.length {
            let kept = length.div_ceil(PIECE_BYTES) as usize;
            self.pieces.truncate(kept);
            let inside = length % PIECE_BYTES;
            if inside > 0 && self.pieces.len() == kept {
                self.change(length / PIECE_BYTES, |piece| piece.truncate(inside as usize));
            }
        }
        self.length = length;
    }

    fn change(&mut self, index: u64, change: impl FnOnce(&mut BytesMut)) {
        let index = index as usize;
        if self.pieces.len() <= index {
            self.pieces.resize(index + 1, Bytes::new());
        }
        let piece = std::mem::take(&mut self.pieces[index]);
        // A reader may still hold the piece.
        let mut piece = piece.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        change(&mut piece);
        self.pieces[index] = piece.freeze();
    }
}
