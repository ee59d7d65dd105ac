//! Invalidations of the kernel's caches. They may wait for a lock that a request holds (a create holds its
//! directory), so they run on a thread of their own and never in a request's path (P21).

use super::channel::Channel;
use crate::protocol::abi;
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Invalidations that may wait: some 100 bytes each, as many as a burst of recalls of one large directory.
const WAITING_MAX: usize = 65_536;

enum Notice {
    Inode { node: u64, offset: i64, length: i64 },
    Entry { parent: u64, name: Vec<u8> },
}

type Done = Box<dyn FnOnce(Result<(), Errno>) + Send>;

#[derive(Default)]
struct Waiting {
    notices: VecDeque<(Notice, Done)>,
    stopped: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    channel: Arc<dyn Channel>,
}

#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

impl Notifier {
    pub(super) fn new(channel: Arc<dyn Channel>) -> Self {
        Notifier { shared: Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), channel }) }
    }

    /// Drops cached attributes, and cached pages from `offset` on (`length` 0: to the end; `offset` < 0:
    /// none). `done` gets EBUSY if too many wait: then nothing was invalidated.
    pub fn invalidate_inode(
        &self,
        node: u64,
        offset: i64,
        length: i64,
        done: impl FnOnce(Result<(), Errno>) + Send + 'static,
    ) {
        self.push(Notice::Inode { node, offset, length }, Box::new(done));
    }

    /// Drops a cached name.
    pub fn invalidate_entry(
        &self,
        parent: u64,
        name: &[u8],
        done: impl FnOnce(Result<(), Errno>) + Send + 'static,
    ) {
        self.push(Notice::Entry { parent, name: name.to_vec() }, Box::new(done));
    }

    fn push(&self, notice: Notice, done: Done) {
        let mut waiting = self.shared.waiting.lock();
        if waiting.stopped || waiting.notices.len() == WAITING_MAX {
            drop(waiting);
            done(Err(Errno::BUSY));
        } else {
            waiting.notices.push_back((notice, done));
            self.shared.changed.notify_one();
        }
    }

    /// The body of the notifying thread.
    pub(super) fn run(&self) {
        loop {
            let mut waiting = self.shared.waiting.lock();
            while waiting.notices.is_empty() && !waiting.stopped {
                self.shared.changed.wait(&mut waiting);
            }
            let Some((notice, done)) = waiting.notices.pop_front() else { return };
            let stopped = waiting.stopped;
            drop(waiting);
            done(if stopped { Err(Errno::NODEV) } else { self.send(&notice) });
        }
    }

    pub(super) fn stop(&self) {
        self.shared.waiting.lock().stopped = true;
        self.shared.changed.notify_all();
    }

    fn send(&self, notice: &Notice) -> Result<(), Errno> {
        let sent = match notice {
            Notice::Inode { node, offset, length } => {
                let body = abi::InvalidateInodeOut { node: *node, offset: *offset, length: *length };
                self.send_pieces(abi::NOTIFY_INVALIDATE_INODE, &[body.as_bytes()])
            }
            Notice::Entry { parent, name } => {
                let body =
                    abi::InvalidateEntryOut { parent: *parent, name_length: name.len() as u32, flags: 0 };
                self.send_pieces(abi::NOTIFY_INVALIDATE_ENTRY, &[body.as_bytes(), name, b"\0"])
            }
        };
        // ENOENT: the kernel has nothing of it in its caches.
        if sent == Err(Errno::NOENT) { Ok(()) } else { sent }
    }

    fn send_pieces(&self, code: i32, pieces: &[&[u8]]) -> Result<(), Errno> {
        let length = size_of::<abi::OutHeader>() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let header = abi::OutHeader { len: length as u32, error: code, unique: 0 };
        let mut slices = vec![IoSlice::new(header.as_bytes())];
        slices.extend(pieces.iter().map(|piece| IoSlice::new(piece)));
        self.shared.channel.send(&slices)
    }
}

#[cfg(test)]
#[path = "notify_test.rs"]
mod tests;
