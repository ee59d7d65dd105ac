//! Requests in the air, by the kernel's number, so that an INTERRUPT finds its request. Each is answered
//! exactly once, whoever comes first: the file system, an interrupt, or the drop of an unanswered reply.

use super::channel::Channel;
use super::metrics::Metrics;
use crate::protocol::abi;
use parking_lot::Mutex;
use rustix::io::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use zerocopy::IntoBytes;

/// Few threads ever meet; more shards only cost memory.
const SHARDS: usize = 16;

/// Interrupts kept that came before their request was registered. Only requests between a worker's read and
/// its registration can be waited for, at most one per worker; the rest are interrupts of requests that were
/// answered meanwhile.
const EARLY_MAX: usize = 256;

type Hook = Box<dyn FnOnce() + Send>;

enum Interruption {
    None,
    /// An interrupt answers EINTR.
    Answers,
    Hooked(Hook),
    Happened,
}

/// One request between its arrival and its answer.
pub struct Pending {
    pub unique: u64,
    pub opcode: u32,
    pub pid: u32,
    pub started: Instant,
    channel: Arc<dyn Channel>,
    table: Arc<Table>,
    answered: AtomicBool,
    interruption: Mutex<Interruption>,
}

impl Pending {
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    pub fn is_interrupted(&self) -> bool {
        matches!(*self.interruption.lock(), Interruption::Happened)
    }

    /// Runs `hook` when the request is interrupted, at once if it was already. The last hook set counts.
    pub fn on_interrupt(&self, hook: Hook) {
        let mut interruption = self.interruption.lock();
        if matches!(*interruption, Interruption::Happened) {
            drop(interruption);
            hook();
        } else if !self.is_answered() {
            *interruption = Interruption::Hooked(hook);
        }
    }

    /// From now on an interrupt answers EINTR by itself.
    pub fn answer_interrupts(&self) {
        let mut interruption = self.interruption.lock();
        let happened = matches!(*interruption, Interruption::Happened);
        if !happened {
            *interruption = Interruption::Answers;
        }
        drop(interruption);
        if happened {
            self.answer(Err(Errno::INTR));
        }
    }

    /// Undoes that; false if the request was answered so.
    pub fn end_interrupt_answers(&self) -> bool {
        let mut interruption = self.interruption.lock();
        if matches!(*interruption, Interruption::Answers) {
            *interruption = Interruption::None;
        }
        !matches!(*interruption, Interruption::Happened)
    }

    /// The caller wants its request to end.
    pub fn interrupt(&self) {
        let before = std::mem::replace(&mut *self.interruption.lock(), Interruption::Happened);
        match before {
            Interruption::Hooked(hook) => hook(),
            Interruption::Answers => drop(self.answer(Err(Errno::INTR))),
            Interruption::None | Interruption::Happened => {}
        }
    }

    /// Sends the answer if none was sent yet; whether the kernel took it.
    pub fn answer(&self, result: Result<&[&[u8]], Errno>) -> bool {
        if self.answered.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.table.remove(self.unique);
        // A hook may hold this request: let it go.
        let mut interruption = self.interruption.lock();
        if matches!(*interruption, Interruption::Hooked(_)) {
            *interruption = Interruption::None;
        }
        drop(interruption);
        self.table.metrics.answered(self.opcode, result.is_err(), self.started.elapsed());
        let sent = send(&*self.channel, self.unique, result);
        match sent {
            Ok(()) => true,
            // The caller was killed, or the mount is going away.
            Err(Errno::NOENT | Errno::NODEV | Errno::CONNABORTED | Errno::NOTCONN) => false,
            Err(errno) => {
                log::error!(target: "fuse", unique = self.unique, opcode = self.opcode, errno = errno.raw_os_error();
                    "answer.refused");
                false
            }
        }
    }
}

/// Writes one reply. A body that the kernel refuses (too long, for instance) leaves its caller waiting: EIO
/// instead.
fn send(channel: &dyn Channel, unique: u64, result: Result<&[&[u8]], Errno>) -> Result<(), Errno> {
    let (error, pieces) = match result {
        Ok(pieces) => (0, pieces),
        Err(errno) => (-errno.raw_os_error(), &[][..]),
    };
    let length = size_of::<abi::OutHeader>() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
    let header = abi::OutHeader { len: length as u32, error, unique };
    let sent = match pieces {
        [] => channel.send(&[IoSlice::new(header.as_bytes())]),
        [one] => channel.send(&[IoSlice::new(header.as_bytes()), IoSlice::new(one)]),
        many => {
            let mut slices = Vec::with_capacity(1 + many.len());
            slices.push(IoSlice::new(header.as_bytes()));
            slices.extend(many.iter().map(|piece| IoSlice::new(piece)));
            channel.send(&slices)
        }
    };
    if sent == Err(Errno::INVAL) && error == 0 {
        let header = abi::OutHeader { len: 16, error: -Errno::IO.raw_os_error(), unique };
        let _ = channel.send(&[IoSlice::new(header.as_bytes())]);
    }
    sent
}

#[derive(Default)]
struct Shard {
    pending: BTreeMap<u64, Arc<Pending>>,
    early: VecDeque<u64>,
}

pub struct Table {
    shards: [Mutex<Shard>; SHARDS],
    pub metrics: Arc<Metrics>,
}

impl Table {
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Table { shards: Default::default(), metrics })
    }

    /// The kernel's numbers are even: bit 0 marks interrupts.
    fn shard(&self, unique: u64) -> &Mutex<Shard> {
        &self.shards[(unique >> 1) as usize % SHARDS]
    }

    /// Also says whether an INTERRUPT of this request came before it.
    pub fn register(
        self: &Arc<Self>,
        header: &abi::InHeader,
        channel: &Arc<dyn Channel>,
    ) -> (Arc<Pending>, bool) {
        let pending = Arc::new(Pending {
            unique: header.unique,
            opcode: header.opcode,
            pid: header.pid,
            started: Instant::now(),
            channel: channel.clone(),
            table: self.clone(),
            answered: AtomicBool::new(false),
            interruption: Mutex::new(Interruption::None),
        });
        let mut shard = self.shard(header.unique).lock();
        let early = shard.early.iter().position(|&unique| unique == header.unique);
        if let Some(position) = early {
            shard.early.remove(position);
        }
        shard.pending.insert(header.unique, pending.clone());
        drop(shard);
        self.metrics.arrived(header.opcode);
        (pending, early.is_some())
    }

    /// The request that an INTERRUPT names. One that is not known yet is remembered: its worker is about to
    /// register it.
    pub fn find_interrupted(&self, unique: u64) -> Option<Arc<Pending>> {
        let mut shard = self.shard(unique).lock();
        if let Some(pending) = shard.pending.get(&unique) {
            return Some(pending.clone());
        }
        if shard.early.len() == EARLY_MAX / SHARDS {
            shard.early.pop_front();
        }
        shard.early.push_back(unique);
        None
    }

    fn remove(&self, unique: u64) {
        self.shard(unique).lock().pending.remove(&unique);
    }

    /// Nobody waits any more: the connection is gone.
    pub fn interrupt_all(&self) {
        for shard in &self.shards {
            let all: Vec<_> = shard.lock().pending.values().cloned().collect();
            all.iter().for_each(|pending| pending.interrupt());
        }
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().pending.len()).sum()
    }
}

#[cfg(test)]
#[path = "pending_test.rs"]
mod tests;
