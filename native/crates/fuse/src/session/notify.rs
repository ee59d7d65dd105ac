//! Invalidations of the kernel's caches. They may wait for a lock that a request holds: a name for its directory
//! (a create holds it), pages for themselves (a read holds them until it is answered, which may be never). So they
//! run on threads of their own and never in a request's path (P21); and those of pages on another than the rest, for
//! which opens wait.

use super::channel::Channel;
use crate::protocol::abi;
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use zerocopy::IntoBytes;

/// Invalidations that may wait in each of the queues: some 100 bytes each, as many as a burst of recalls of one large
/// directory, or as one host uses files when it is fenced.
const WAITING_MAX: usize = 65_536;

enum Notice {
    Inode { node: u64, offset: i64, length: i64 },
    Entry { parent: u64, name: Vec<u8> },
}

impl Notice {
    fn takes_pages(&self) -> bool {
        matches!(self, Notice::Inode { offset: 0.., .. })
    }
}

type Done = Box<dyn FnOnce(Result<(), Errno>) + Send>;

#[derive(Default)]
struct Waiting {
    notices: VecDeque<(Notice, Done)>,
    stopped: bool,
}

/// What one thread sends, in order.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    fn push(&self, notice: Notice, done: Done) {
        let mut waiting = self.waiting.lock();
        if waiting.stopped || waiting.notices.len() == WAITING_MAX {
            drop(waiting);
            done(Err(Errno::BUSY));
        } else {
            waiting.notices.push_back((notice, done));
            self.changed.notify_one();
        }
    }

    /// Until it is stopped; what waits then is not sent any more.
    fn run(&self, send: impl Fn(&Notice) -> Result<(), Errno>) {
        loop {
            let mut waiting = self.waiting.lock();
            while waiting.notices.is_empty() && !waiting.stopped {
                self.changed.wait(&mut waiting);
            }
            let Some((notice, done)) = waiting.notices.pop_front() else { return };
            let stopped = waiting.stopped;
            drop(waiting);
            done(if stopped { Err(Errno::NODEV) } else { send(&notice) });
        }
    }

    fn stop(&self) {
        self.waiting.lock().stopped = true;
        self.changed.notify_all();
    }
}

struct Shared {
    names_and_attributes: Queue,
    pages: Queue,
    channel: Arc<dyn Channel>,
}

#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

impl Notifier {
    pub(super) fn new(channel: Arc<dyn Channel>) -> Self {
        let (names_and_attributes, pages) = (Queue::default(), Queue::default());
        Notifier { shared: Arc::new(Shared { names_and_attributes, pages, channel }) }
    }

    /// Drops cached attributes, and cached pages from `offset` on (`length` 0: to the end; `offset` < 0:
    /// none). `done` gets EBUSY if too many wait: then nothing was invalidated. With pages it may come late: behind
    /// every read that holds one of them, and behind earlier notices of pages.
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
        let Shared { names_and_attributes, pages, .. } = &*self.shared;
        let queue = if notice.takes_pages() { pages } else { names_and_attributes };
        queue.push(notice, done);
    }

    /// Starts the notifying threads.
    pub(super) fn start(&self) -> std::io::Result<[JoinHandle<()>; 2]> {
        let (prompt, patient) = (self.clone(), self.clone());
        Ok([
            Builder::new()
                .name("fuse-notifier".into())
                .spawn(move || prompt.shared.names_and_attributes.run(|notice| prompt.send(notice)))?,
            Builder::new()
                .name("fuse-drop-pages".into())
                .spawn(move || patient.shared.pages.run(|notice| patient.send(notice)))?,
        ])
    }

    /// The threads end. One that the kernel lets wait for a page does so as soon as the connection is gone, with which
    /// every read is over.
    pub(super) fn stop(&self) {
        self.shared.names_and_attributes.stop();
        self.shared.pages.stop();
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
