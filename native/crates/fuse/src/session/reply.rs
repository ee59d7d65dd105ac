//! The right to answer one request, once, from any thread. Dropped without an answer it answers EIO, so that
//! no caller hangs.

use super::pending::Pending;
use crate::protocol::Answer;
use rustix::io::Errno;
use std::marker::PhantomData;
use std::sync::Arc;

pub struct Reply<T> {
    pending: Arc<Pending>,
    answer: PhantomData<fn(T)>,
}

impl<T: Answer> Reply<T> {
    pub(super) fn new(pending: Arc<Pending>) -> Self {
        Reply { pending, answer: PhantomData }
    }

    /// Whether the kernel took the answer. If not, the caller was interrupted or is gone: what it got (an
    /// open handle, a lookup) is nobody's, and nobody will give it back.
    pub fn send(self, result: Result<T, Errno>) -> bool {
        match result {
            Ok(answer) => answer.with_pieces(|pieces| self.pending.answer(Ok(pieces))),
            Err(errno) => self.pending.answer(Err(errno)),
        }
    }

    /// From now on an interrupt answers EINTR by itself; a later `send` says false.
    pub fn answer_interrupts(&self) {
        self.pending.answer_interrupts();
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if !self.pending.is_answered() {
            self.pending.answer(Err(Errno::IO));
        }
    }
}

/// Who asks.
pub struct Request {
    pub unique: u64,
    pub uid: u32,
    pub gid: u32,
    /// The calling thread, in the mounting process's pid namespace; 0 if it is not in there, or for the
    /// kernel itself.
    pub pid: u32,
    pub(super) pending: Arc<Pending>,
}

impl Request {
    pub fn is_interrupted(&self) -> bool {
        self.pending.is_interrupted()
    }

    /// Runs `hook` when the caller gives up waiting (at once if it has already). It must not block; it should
    /// make the operation answer EINTR soon.
    pub fn on_interrupt(&self, hook: impl FnOnce() + Send + 'static) {
        self.pending.on_interrupt(Box::new(hook));
    }
}
