//! Counts what one connection still owes its caller: requests without an answer, and bytes of answers that
//! were promised and are not written yet. At a limit the reader waits, which holds back the caller and
//! nobody else.

use crate::CALLS_IN_FLIGHT_MAX;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

#[derive(Default)]
struct State {
    used: usize,
    answer_bytes: usize,
    closed: bool,
}

#[derive(Default)]
pub(crate) struct Slots {
    state: Mutex<State>,
    freed: Condvar,
}

impl Slots {
    /// Takes one; `false` if that is not possible without waiting.
    pub fn try_take(&self) -> bool {
        let mut state = self.state.lock();
        let free = state.used < CALLS_IN_FLIGHT_MAX;
        state.used += usize::from(free);
        free
    }

    /// Takes one, waiting for it. Returns without one when the connection closes.
    pub fn take(&self) {
        let mut state = self.state.lock();
        while state.used >= CALLS_IN_FLIGHT_MAX && !state.closed {
            self.freed.wait(&mut state);
        }
        state.used += 1;
    }

    pub fn give_back(&self) {
        let mut state = self.state.lock();
        state.used = state.used.checked_sub(1).expect("a slot is given back once");
        self.freed.notify_all();
    }

    /// Waits until less than `limit_bytes` are owed (`before_wait` runs once before that), then owes `bytes`
    /// more.
    pub fn owe(self: &Arc<Self>, bytes: usize, limit_bytes: usize, before_wait: impl FnOnce()) -> Owed {
        let mut state = self.state.lock();
        let fits = |state: &State| {
            state.closed || state.answer_bytes == 0 || state.answer_bytes + bytes <= limit_bytes
        };
        if !fits(&state) {
            drop(state);
            before_wait();
            state = self.state.lock();
            while !fits(&state) {
                self.freed.wait(&mut state);
            }
        }
        state.answer_bytes += bytes;
        Owed { slots: self.clone(), bytes }
    }

    pub fn close(&self) {
        self.state.lock().closed = true;
        self.freed.notify_all();
    }
}

/// Bytes of an answer that are not written yet; dropped with the frame that carries them.
pub(crate) struct Owed {
    slots: Arc<Slots>,
    bytes: usize,
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.slots.state.lock().answer_bytes -= self.bytes;
        self.slots.freed.notify_all();
    }
}
