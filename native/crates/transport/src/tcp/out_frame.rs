//! A frame on its way out, and how far it has been written. Its payload is the caller's own memory.

use crate::slots::Owed;
use bytes::Bytes;
use std::io::IoSlice;
use wire::{FRAME_HEADER_BYTES, Flags, FrameHeader};

pub(super) struct OutFrame {
    header: [u8; FRAME_HEADER_BYTES],
    message: Vec<u8>,
    payload: Vec<Bytes>,
    left_bytes: usize,
    written_bytes: usize,
    _owed: Option<Owed>,
}

impl OutFrame {
    /// # Panics
    /// If a length is over its limit: the caller's bug.
    pub fn new(kind: u8, flags: Flags, message: Vec<u8>, payload: Vec<Bytes>) -> Self {
        let payload_bytes: usize = payload.iter().map(Bytes::len).sum();
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

    /// Adds what is still to be written; false if `limit` slices do not hold it all.
    pub fn slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>, limit: usize) -> bool {
        let mut skip = self.written_bytes;
        let parts = [&self.header[..], &self.message[..]]
            .into_iter()
            .chain(self.payload.iter().map(|part| &part[..]));
        for part in parts {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            if slices.len() == limit {
                return false;
            }
            slices.push(IoSlice::new(&part[skip..]));
            skip = 0;
        }
        true
    }

    /// Counts written bytes; returns those that belong to the frames after this one.
    pub fn advance(&mut self, written_bytes: usize) -> usize {
        let own = written_bytes.min(self.left_bytes);
        self.left_bytes -= own;
        self.written_bytes += own;
        written_bytes - own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_yields_the_same_bytes() {
        let frame = || {
            let payload = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
            OutFrame::new(9, Flags::REPLY, vec![1, 2, 3, 4], payload)
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
