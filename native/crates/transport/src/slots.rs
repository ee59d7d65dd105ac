//! Counts the requests of one connection that a server has not answered yet. At the limit the reader waits, which holds
//! back the caller.

use crate::CALLS_IN_FLIGHT_MAX;
use parking_lot::{Condvar, Mutex};

#[derive(Default)]
struct State {
    used: usize,
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
        self.freed.notify_one();
    }

    pub fn close(&self) {
        self.state.lock().closed = true;
        self.freed.notify_all();
    }
}
