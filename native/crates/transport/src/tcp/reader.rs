//! Reads frames off one socket. Small ones come many to a system call through a buffer; of large ones only
//! the head does, and the payload goes straight to where it belongs.

use super::watermark::{WAIT_BYTES, wake_for};
use crate::incoming::PayloadSource;
use crate::threads;
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::net::TcpStream;
use wire::{Error, FRAME_HEADER_BYTES, FrameHeader, Result};

/// Many small frames fit; a connection costs this much memory.
const BUFFER_BYTES: usize = 64 << 10;

/// From here on a payload is worth a system call of its own.
const LARGE_PAYLOAD_BYTES: usize = 16 << 10;

/// From here on it is worth two system calls to be woken less often.
const LARGE_REST_BYTES: usize = 4 * WAIT_BYTES;

/// Read at a time where large payloads are expected: head and message of the next frame, and little of its
/// payload, which would be copied twice.
const HEAD_BYTES: usize = 256;

pub(super) struct Reader<'a> {
    socket: &'a TcpStream,
    lost: Error,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    read_ahead_bytes: usize,
}

impl<'a> Reader<'a> {
    pub fn new(socket: &'a TcpStream, lost: Error) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Reader { socket, lost, buffer, start: 0, end: 0, read_ahead_bytes: HEAD_BYTES }
    }

    pub fn header(&mut self) -> Result<FrameHeader> {
        while self.end - self.start < FRAME_HEADER_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let until = (self.end + self.read_ahead_bytes).min(BUFFER_BYTES);
            self.end += self.receive(self.end..until)?;
        }
        let head = self.buffer[self.start..self.start + FRAME_HEADER_BYTES].try_into().expect("16 bytes");
        self.start += FRAME_HEADER_BYTES;
        FrameHeader::decode(head)
    }

    /// The length was checked against its limit with the header.
    pub fn message(&mut self, length_bytes: usize) -> Result<Bytes> {
        if self.end - self.start >= length_bytes {
            let message = Bytes::copy_from_slice(&self.buffer[self.start..self.start + length_bytes]);
            self.start += length_bytes;
            return Ok(message);
        }
        let mut message = vec![0; length_bytes];
        self.read(&mut message)?;
        Ok(Bytes::from(message))
    }

    /// Adapts to what this connection carries.
    pub fn expect_payload(&mut self, length_bytes: usize) {
        self.read_ahead_bytes = if length_bytes >= LARGE_PAYLOAD_BYTES { HEAD_BYTES } else { BUFFER_BYTES };
    }

    fn receive(&mut self, into: std::ops::Range<usize>) -> Result<usize> {
        threads::flush_held();
        loop {
            match recv(self.socket, &mut self.buffer[into.clone()], RecvFlags::empty()) {
                Ok((_, 0)) => return Err(self.lost.clone()),
                Ok((_, count)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(_) => return Err(self.lost.clone()),
            }
        }
    }

    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match recv(self.socket, &mut buffer[filled..], RecvFlags::WAITALL) {
                Ok((_, 0)) => return Err(self.lost.clone()),
                Ok((_, count)) => filled += count,
                Err(Errno::INTR) => {}
                Err(_) => return Err(self.lost.clone()),
            }
        }
        Ok(())
    }

    fn wake_for(&self, bytes: usize) -> Result<()> {
        wake_for(self.socket, bytes).map_err(|_| self.lost.clone())
    }
}

impl PayloadSource for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        let buffered = buffer.len().min(self.end - self.start);
        buffer[..buffered].copy_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        let rest = &mut buffer[buffered..];
        if rest.is_empty() {
            return Ok(());
        }
        threads::flush_held();
        if rest.len() < LARGE_REST_BYTES {
            return self.fill(rest);
        }
        // So many bytes are still owed after the first part, so the wait for it ends.
        let (first, last) = rest.split_at_mut(rest.len() - WAIT_BYTES);
        self.wake_for(WAIT_BYTES)?;
        self.fill(first)?;
        self.wake_for(1)?;
        self.fill(last)
    }

    fn discard(&mut self, length_bytes: usize) -> Result<()> {
        let buffered = length_bytes.min(self.end - self.start);
        self.start += buffered;
        let mut left = length_bytes - buffered;
        while left > 0 {
            left -= self.receive(0..left.min(BUFFER_BYTES))?;
            (self.start, self.end) = (0, 0);
        }
        Ok(())
    }

    fn before_wait(&mut self) {
        threads::flush_held();
    }
}
