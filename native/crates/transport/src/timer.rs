//! One thread per transport that ends calls whose time is over. A connection has one entry here however many
//! calls it has in flight, so that arming costs nothing on the hot path.

use crate::calls::Calls;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

#[derive(Default)]
struct State {
    entries: BTreeMap<(Instant, u64), Weak<Calls>>,
    next_number: u64,
    running: bool,
    stopped: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

/// Dropping it ends the thread.
#[derive(Default)]
pub(crate) struct Timer(Arc<Shared>);

impl Timer {
    pub fn arm(&self, at: Instant, calls: &Arc<Calls>) {
        let mut state = self.0.state.lock();
        state.next_number += 1;
        let key = (at, state.next_number);
        state.entries.insert(key, Arc::downgrade(calls));
        if !state.running {
            state.running = true;
            let shared = self.0.clone();
            std::thread::Builder::new()
                .name("call-timer".into())
                .spawn(move || run(&shared))
                .expect("a thread can be started");
        } else if state.entries.first_key_value().is_some_and(|(&first, _)| first == key) {
            self.0.wake.notify_one();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.state.lock().stopped = true;
        self.0.wake.notify_one();
    }
}

fn run(shared: &Shared) {
    crate::threads::become_timer();
    let mut state = shared.state.lock();
    while !state.stopped {
        let Some((&key, _)) = state.entries.first_key_value() else {
            shared.wake.wait(&mut state);
            continue;
        };
        if key.0 > Instant::now() {
            shared.wake.wait_until(&mut state, key.0);
            continue;
        }
        let calls = state.entries.remove(&key).and_then(|calls| calls.upgrade());
        let Some(calls) = calls else { continue };
        drop(state);
        let next = calls.expire(key.0, Instant::now());
        state = shared.state.lock();
        if let Some(next) = next {
            state.next_number += 1;
            let key = (next, state.next_number);
            state.entries.insert(key, Arc::downgrade(&calls));
        }
    }
}
