//! A frame on its way out, and how far it has been written. Its payload is the caller's own memory, or pages of
//! a file.

use crate::slots::Owed;
use pages::{Pages, Part};
use std::io::IoSlice;
use wire::{FRAME_HEADER_BYTES, Flags, FrameHeader};

pub(super) struct OutFrame {
    header: [u8; FRAME_HEADER_BYTES],
    message: Vec<u8>,
    payload: Vec<Part>,
    left_bytes: usize,
    written_bytes: usize,
    _owed: Option<Owed>,
}

impl OutFrame {
    /// # Panics
    /// If a length is over its limit: the caller's bug.
    pub fn new(kind: u8, flags: Flags, message: Vec<u8>, payload: Vec<Part>) -> Self {
        let payload_bytes: usize = payload.iter().map(Part::len).sum();
        let length = |bytes: usize| u32::try_from(bytes).expect("a length below 4 GiB");
        let header = FrameHeader {
            kind,
            flags,
            message_bytes: length(message.len()),
            payload_bytes: length(payload_bytes),
        };
        let left_bytes = FRAME_HEADER_BYTES + message.len() + payload_bytes;
        OutFrame { header: header.encode(), message, payload, left_bytes, written_bytes: 0, _owed: None }
    }

    /// What is paid when the frame is written, or dropped with its connection.
    pub fn owing(mut self, owed: Option<Owed>) -> Self {
        self._owed = owed;
        self
    }

    pub fn left_bytes(&self) -> usize {
        self.left_bytes
    }

    /// Adds what is still to be written from memory, up to the first pages; false if `limit` slices do not hold
    /// it all, or pages follow.
    pub fn slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>, limit: usize) -> bool {
        let mut skip = self.written_bytes;
        for part in [&self.header[..], &self.message[..]] {
            if !add(part, &mut skip, slices, limit) {
                return false;
            }
        }
        self.payload.iter().all(|part| match part {
            Part::Memory(bytes) => add(bytes, &mut skip, slices, limit),
            Part::Pages(_) => false,
        })
    }

    pub fn has_pages(&self) -> bool {
        self.payload.iter().any(|part| matches!(part, Part::Pages(_)))
    }

    /// The pages that are the next to be written, and whether more of the frame follows them.
    pub fn next_pages(&mut self) -> Option<(&mut Pages, bool)> {
        let mut before = FRAME_HEADER_BYTES + self.message.len();
        let left_bytes = self.left_bytes;
        for part in &mut self.payload {
            match part {
                Part::Pages(pages) => {
                    let more = left_bytes > pages.len();
                    return (before == self.written_bytes).then_some((pages, more));
                }
                Part::Memory(bytes) => before += bytes.len(),
            }
        }
        None
    }

    /// Counts written bytes; returns those that belong to the frames after this one.
    pub fn advance(&mut self, written_bytes: usize) -> usize {
        let own = written_bytes.min(self.left_bytes);
        self.left_bytes -= own;
        self.written_bytes += own;
        written_bytes - own
    }

    /// Counts bytes of `next_pages` that were written; what was written whole is no part any more.
    pub fn advance_pages(&mut self, written_bytes: usize) {
        self.left_bytes -= written_bytes;
        let first = self.payload.iter().position(|part| matches!(part, Part::Pages(_)));
        let sent = first.filter(|&place| self.payload[place].is_empty());
        if let Some(place) = sent {
            self.payload.remove(place);
        }
    }
}

/// False if there is no slice left for it. `skip` is what was written before.
fn add<'a>(part: &'a [u8], skip: &mut usize, slices: &mut Vec<IoSlice<'a>>, limit: usize) -> bool {
    if *skip >= part.len() {
        *skip -= part.len();
        return true;
    }
    if slices.len() == limit {
        return false;
    }
    slices.push(IoSlice::new(&part[*skip..]));
    *skip = 0;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn every_split_yields_the_same_bytes() {
        let frame = || {
            let payload = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
            OutFrame::new(9, Flags::REPLY, vec![1, 2, 3, 4], pages::in_memory(payload))
        };
        let collect = |frame: &OutFrame| {
            let mut slices = Vec::new();
            assert!(frame.slices(&mut slices, 10));
            slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>()
        };
        let whole = collect(&frame());
        assert_eq!(whole.len(), 16 + 4 + 8);
        assert!(whole.ends_with(b"onethree"));
        for split in 0..=whole.len() {
            let mut frame = frame();
            assert_eq!(frame.advance(split), 0);
            assert_eq!(collect(&frame), whole[split..]);
            assert_eq!(frame.left_bytes(), whole.len() - split);
        }
        assert_eq!(frame().advance(100), 100 - whole.len());
        assert!(!frame().slices(&mut Vec::new(), 3));
    }
}
