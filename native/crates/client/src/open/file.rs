//! One open file: reads clipped at the end of the file, writes whose length and blocks are reported later.

use super::inode::InodeState;
use crate::Caller;
use crate::chain_call::Limits;
use crate::chunks::{Changed, Chunks};
use crate::core::Core;
use crate::done::Done;
use crate::metadata::CallOptions;
use crate::metadata::Pending;
use crate::waiter::wait;
use bytes::Bytes;
use rustix::fs::OFlags;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::message::{self as m, Inode};
use wire::{Code, Error, Result};

pub struct OpenFile {
    pub(crate) core: Arc<Core>,
    pub(crate) state: Arc<InodeState>,
    pub(crate) session: AtomicU64,
    pub(crate) flags: u32,
    /// The client's epoch: a handle of a fenced id is void (P4).
    pub(crate) epoch: u32,
    pub(crate) closed: AtomicBool,
    /// The inode was gone when a new session wanted to open it again.
    pub(crate) stale: AtomicBool,
    /// Losses of the inode that this handle has reported (P11).
    pub(crate) losses_seen: AtomicU64,
}

pub(crate) fn writes(flags: u32) -> bool {
    flags & (OFlags::WRONLY | OFlags::RDWR).bits() != 0
}

impl OpenFile {
    pub fn inode(&self) -> u64 {
        self.state.id
    }

    /// The service's number for this open file. It changes if the service forgot us.
    pub fn session(&self) -> u64 {
        self.session.load(Ordering::Acquire)
    }

    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// As far as this client knows; `Client::stat` asks.
    pub fn attributes(&self) -> Inode {
        let known = self.state.known.lock();
        known.view(known.attributes.clone())
    }

    pub(crate) fn layout(&self) -> Result<m::Layout> {
        let known = self.state.known.lock();
        known.attributes.layout.ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("inode {} has no layout: it is no file", self.inode()))
        })
    }

    /// # Errors
    /// `Fenced`, `StaleHandle`, `BadHandle`.
    pub(crate) fn check(&self) -> Result<()> {
        if self.epoch != self.core.identity.current().epoch {
            return Err(Error::new(Code::Fenced, format!("inode {} was opened before", self.inode())));
        }
        if self.stale.load(Ordering::Acquire) {
            return Err(Error::new(Code::StaleHandle, format!("inode {}", self.inode())));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::BadHandle, format!("inode {} was closed", self.inode())));
        }
        Ok(())
    }

    fn chunks(&self) -> Chunks {
        Chunks { core: self.core.clone() }
    }

    /// Up to `length` bytes, fewer at the end of the file; as a rope of buffers that nobody copies.
    pub fn read(
        self: &Arc<Self>,
        caller: &Caller,
        offset: u64,
        length: u64,
        done: impl FnOnce(Result<Vec<Bytes>>) + Send + 'static,
    ) {
        let done = Done::new(done).or_cancelled(caller.cancel.as_ref());
        if let Err(error) = self.check() {
            return done.tell(Err(error));
        }
        let (known, age) = {
            let known = self.state.known.lock();
            (known.length(), known.known_at.elapsed())
        };
        // Others may have made it longer, or, where nothing may be believed for any time, shorter: the service
        // knows (P20).
        let attribute_ttl = self.core.config.attribute_ttl;
        let passes_end = offset.saturating_add(length) > known;
        if age < attribute_ttl || !passes_end && !attribute_ttl.is_zero() {
            return self.read_clipped(caller, offset, length, known, done);
        }
        let inode = self.inode();
        self.core.report_before(inode);
        let (file, caller_then) = (self.clone(), caller.clone());
        let answered = move |result: Result<m::InodeReply>| match result {
            Err(error) => done.tell(Err(error)),
            Ok(reply) => {
                if let Some(inode) = reply.inode {
                    file.core.inodes.learn(inode);
                }
                let known = file.state.known.lock().length();
                file.read_clipped(&caller_then, offset, length, known, done);
            }
        };
        let options = CallOptions { deadline: self.core.limits(None).deadline, ..CallOptions::default() };
        let make = move || m::StatRequest { header: None, inode };
        self.core.session.submit(&Pending::new(caller, options, make, answered));
    }

    fn read_clipped(&self, caller: &Caller, offset: u64, length: u64, end: u64, done: Done<Vec<Bytes>>) {
        let length = length.min(end.saturating_sub(offset));
        if length == 0 {
            return done.tell(Ok(Vec::new()));
        }
        match self.layout() {
            Err(error) => done.tell(Err(error)),
            Ok(layout) => {
                let limits = self.core.limits(caller.cancel.clone());
                self.chunks().read_within(limits, self.inode(), &layout, offset, length, done);
            }
        }
    }

    /// # Errors
    /// See `read`.
    pub fn read_wait(self: &Arc<Self>, caller: &Caller, offset: u64, length: u64) -> Result<Vec<Bytes>> {
        wait(caller.cancel.as_ref(), |done| self.read(caller, offset, length, done))
    }

    /// Writes the rope; told when every serving member holds it, or at once when the caller cancels. May wait on
    /// the caller's thread, for memory or for a truncation: never to be called from a completion. Overlapping
    /// writes apply in the order of their calls.
    pub fn write(
        self: &Arc<Self>,
        caller: &Caller,
        offset: u64,
        data: Vec<Bytes>,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let done = Done::new(done).or_cancelled(caller.cancel.as_ref());
        let checked = self.check().and_then(|()| {
            if !writes(self.flags) {
                return Err(Error::new(Code::BadHandle, "the file is not open for writing"));
            }
            self.layout()
        });
        let layout = match checked {
            Ok(layout) => layout,
            Err(error) => return done.tell(Err(error)),
        };
        let length: usize = data.iter().map(Bytes::len).sum();
        let end = if length == 0 { 0 } else { offset.saturating_add(length as u64) };
        let number = match self.state.begin_write(end, caller.cancel.as_ref()) {
            Ok(number) => number,
            Err(error) => return done.tell(Err(error)),
        };
        let file = self.clone();
        let changed = Done::new(move |result: Result<Changed>| {
            file.state.end_write(number, result.as_ref().ok());
            done.tell(result.and_then(Changed::whole).map(drop));
        });
        let limits = Limits { epoch: Some(self.epoch), ..self.core.limits(caller.cancel.clone()) };
        self.chunks().write_within(limits, self.inode(), &layout, offset, data, changed);
    }

    /// # Errors
    /// See `write`.
    pub fn write_wait(self: &Arc<Self>, caller: &Caller, offset: u64, data: Vec<Bytes>) -> Result<()> {
        wait(caller.cancel.as_ref(), |done| self.write(caller, offset, data, done))
    }
}
