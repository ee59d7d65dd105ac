//! Reads and writes through io_uring, many at once. A call takes a ring of its own, so that threads do not
//! wait for each other, and returns when the kernel is done with every buffer.
#![allow(unsafe_code)]

use super::block::BLOCK_BYTES;
use io_uring::{IoUring, opcode, types};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd;

/// Requests of one call that are in the kernel at once: enough to fill the queue of one SSD.
const DEPTH: u32 = 64;

/// Rings that one disk keeps for the next call; more threads at once make rings of their own.
const KEPT_MAX: usize = 16;

/// One range of a file.
#[derive(Debug)]
pub(in crate::disk) enum Request<'a> {
    Read { offset: u64, into: &'a mut [u8] },
    Write { offset: u64, from: &'a [u8] },
}

impl Request<'_> {
    fn len(&self) -> usize {
        match self {
            Request::Read { into, .. } => into.len(),
            Request::Write { from, .. } => from.len(),
        }
    }

    /// The request for what is left of it after `done` bytes.
    fn entry(&mut self, file: &File, done: usize, index: usize) -> io_uring::squeue::Entry {
        let fd = types::Fd(file.as_raw_fd());
        let entry = match self {
            Request::Read { offset, into } => {
                let rest = &mut into[done..];
                opcode::Read::new(fd, rest.as_mut_ptr(), rest.len() as u32)
                    .offset(*offset + done as u64)
                    .build()
            }
            Request::Write { offset, from } => {
                let rest = &from[done..];
                opcode::Write::new(fd, rest.as_ptr(), rest.len() as u32).offset(*offset + done as u64).build()
            }
        };
        entry.user_data(index as u64)
    }
}

pub(in crate::disk) struct Rings {
    kept: Mutex<Vec<IoUring>>,
    kept_max: usize,
}

impl Default for Rings {
    fn default() -> Self {
        Rings::keeping(KEPT_MAX)
    }
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Rings")
    }
}

impl Rings {
    pub const fn keeping(kept_max: usize) -> Rings {
        Rings { kept: Mutex::new(Vec::new()), kept_max }
    }

    /// Carries out all requests in no particular order; the bytes that each of them moved. A read is short
    /// only where the file ends; a write is whole.
    pub fn run(&self, file: &File, requests: &mut [Request<'_>]) -> Result<Vec<usize>> {
        let kept = self.kept.lock().pop();
        let mut ring = kept.map_or_else(|| IoUring::new(DEPTH), Ok)?;
        let moved = run(&mut ring, file, requests);
        let mut rings = self.kept.lock();
        if moved.is_ok() && rings.len() < self.kept_max {
            rings.push(ring);
        }
        moved
    }
}

fn run(ring: &mut IoUring, file: &File, requests: &mut [Request<'_>]) -> Result<Vec<usize>> {
    let mut moved = vec![0; requests.len()];
    let mut waiting: Vec<usize> = (0..requests.len()).rev().collect();
    let (mut in_flight, mut failure) = (0u32, None);
    loop {
        while failure.is_none()
            && in_flight < DEPTH
            && let Some(index) = waiting.pop()
        {
            let entry = requests[index].entry(file, moved[index], index);
            // SAFETY: the buffer is borrowed by `requests` and the file by `file`; this function returns
            // only when nothing is in flight.
            unsafe { ring.submission().push(&entry) }.expect("the queue has room for the depth");
            in_flight += 1;
        }
        if in_flight == 0 {
            break;
        }
        match ring.submit_and_wait(1) {
            Ok(_) => {}
            // Interrupted, or the kernel is short of memory for the moment: the entries stay in the queue.
            Err(error) if matches!(error.raw_os_error(), Some(4 | 11 | 16)) => std::thread::yield_now(),
            // Nothing says whether the kernel uses the buffers still; giving them back could let it write
            // over others' memory.
            Err(error) => panic!("io_uring broke: {error}"),
        }
        for completion in ring.completion() {
            in_flight -= 1;
            let index = completion.user_data() as usize;
            match outcome(&requests[index], moved[index], completion.result()) {
                Ok((count, whole)) => {
                    moved[index] += count;
                    if !whole {
                        waiting.push(index);
                    }
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    failure.map_or(Ok(moved), Err)
}

/// What a completion says: bytes moved now, and whether the request is done.
fn outcome(request: &Request<'_>, before: usize, result: i32) -> Result<(usize, bool)> {
    match result {
        -4 | -11 => Ok((0, false)),
        error if error < 0 => Err(Error::from_raw_os_error(-error)),
        count => {
            let (count, is_read) = (count as usize, matches!(request, Request::Read { .. }));
            if count == 0 && !is_read {
                return Err(ErrorKind::WriteZero.into());
            }
            // The end of a file is where a read gives nothing, or a part of a block.
            let at_end = is_read && (count == 0 || !count.is_multiple_of(BLOCK_BYTES));
            Ok((count, at_end || before + count == request.len()))
        }
    }
}
