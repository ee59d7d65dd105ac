//! A range of a file as ranges of its chunks.

use wire::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use wire::message as m;
use wire::{Code, Error, Result};

/// Longest piece: large chunks are read and written in several, so that the servers' buffers stay small. It
/// is the default chunk size, and the size that a pooled buffer fits.
pub(crate) const PIECE_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Chunk of the file.
    pub index: u64,
    /// In the chunk.
    pub offset: u32,
    pub length: u32,
}

/// # Errors
/// `InvalidArgument` for a layout that no service makes.
pub(crate) fn chunk_size(layout: &m::Layout) -> Result<u64> {
    let size = layout.chunk_size as usize;
    if size.is_power_of_two() && (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&size) {
        return Ok(size as u64);
    }
    Err(Error::new(Code::InvalidArgument, format!("a layout with chunks of {size} bytes")))
}

/// In the order of the file; together exactly the range.
///
/// # Errors
/// `InvalidArgument` for a bad layout or a range past 2^63.
pub(crate) fn pieces(layout: &m::Layout, offset: u64, length: u64) -> Result<Vec<Piece>> {
    let size = chunk_size(layout)?;
    let end = offset.checked_add(length).filter(|&end| end <= i64::MAX as u64);
    let end = end.ok_or_else(|| Error::new(Code::FileTooLarge, format!("{length} bytes at {offset}")))?;
    let mut pieces = Vec::with_capacity((length / size.min(PIECE_BYTES_MAX)) as usize + 2);
    let mut at = offset;
    while at < end {
        let inside = at % size;
        let length = (size - inside).min(end - at).min(PIECE_BYTES_MAX - at % PIECE_BYTES_MAX);
        pieces.push(Piece { index: at / size, offset: inside as u32, length: length as u32 });
        at += length;
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(chunk_size: u32) -> m::Layout {
        m::Layout { chunk_size, ..Default::default() }
    }

    #[test]
    fn pieces_cover_the_range_once() {
        for size in [64 << 10, 1 << 20, 4 << 20] {
            let layout = layout(size);
            for (offset, length) in [(0, 0), (0, 1), (65_535, 2), (1 << 20, 3 << 20), (5_000_001, 9_999_999)]
            {
                let mut at = offset;
                for piece in pieces(&layout, offset, length).unwrap() {
                    assert_eq!(piece.index * u64::from(size) + u64::from(piece.offset), at);
                    assert!(piece.length > 0 && piece.offset + piece.length <= size);
                    assert!(u64::from(piece.length) <= PIECE_BYTES_MAX);
                    at += u64::from(piece.length);
                }
                assert_eq!(at, offset + length);
            }
        }
        assert_eq!(pieces(&layout(1 << 20), 3 << 20, 1 << 20).unwrap().len(), 1);
    }

    #[test]
    fn bad_layouts_and_ranges_are_refused() {
        for size in [0, 1, 3 << 20, 128 << 20, 4096] {
            assert_eq!(pieces(&layout(size), 0, 1).unwrap_err().code, Code::InvalidArgument);
        }
        assert_eq!(pieces(&layout(1 << 20), u64::MAX, 2).unwrap_err().code, Code::FileTooLarge);
        assert_eq!(pieces(&layout(1 << 20), i64::MAX as u64, 2).unwrap_err().code, Code::FileTooLarge);
    }
}
