//! Later work on one thread: retries after a pause. A parked task also runs as soon as the routing table
//! changes. Tasks start sends and return; each belongs to an operation whose number is bounded elsewhere
//! (channels, write budget).

use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Task = Box<dyn FnOnce() + Send>;

struct Entry {
    task: Task,
    parked: bool,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<(Instant, u64), Entry>,
    next_number: u64,
    stopped: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Clone, Default)]
pub(crate) struct Timer(Arc<Shared>);

impl Timer {
    pub fn start(&self) -> JoinHandle<()> {
        let timer = self.clone();
        std::thread::Builder::new()
            .name("client-timer".into())
            .spawn(move || timer.run())
            .expect("a thread can be started")
    }

    /// Runs `task` after `delay`.
    pub fn after(&self, delay: Duration, task: impl FnOnce() + Send + 'static) {
        self.insert(delay, Entry { task: Box::new(task), parked: false });
    }

    /// Runs `task` after `delay`, or at the next `wake_parked`.
    pub fn park(&self, delay: Duration, task: impl FnOnce() + Send + 'static) {
        self.insert(delay, Entry { task: Box::new(task), parked: true });
    }

    pub fn wake_parked(&self) {
        let mut state = self.0.state.lock();
        let now = Instant::now();
        let parked: Vec<_> = state.entries.extract_if(.., |_, entry| entry.parked).collect();
        for ((_, number), entry) in parked {
            state.entries.insert((now, number), entry);
        }
        self.0.wake.notify_one();
    }

    /// Tasks that have not run are dropped; what they would complete is told by their owners' `stop`.
    pub fn stop(&self) {
        let entries = {
            let mut state = self.0.state.lock();
            state.stopped = true;
            std::mem::take(&mut state.entries)
        };
        self.0.wake.notify_one();
        // Outside of the lock: what a task owns may complete when it is dropped.
        drop(entries);
    }

    fn insert(&self, delay: Duration, entry: Entry) {
        let mut state = self.0.state.lock();
        if state.stopped {
            drop(state);
            drop(entry);
            return;
        }
        state.next_number += 1;
        let key = (Instant::now() + delay, state.next_number);
        state.entries.insert(key, entry);
        self.0.wake.notify_one();
    }

    fn run(&self) {
        let mut state = self.0.state.lock();
        while !state.stopped {
            let Some((&key, _)) = state.entries.first_key_value() else {
                self.0.wake.wait(&mut state);
                continue;
            };
            if key.0 > Instant::now() {
                self.0.wake.wait_until(&mut state, key.0);
                continue;
            }
            let entry = state.entries.remove(&key).expect("it was there under this lock");
            drop(state);
            // A server that takes nothing must not hold the retries to all others.
            transport::never_wait(entry.task);
            state = self.0.state.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn tasks_run_in_the_order_of_their_time_and_parked_ones_when_woken() {
        let timer = Timer::default();
        let thread = timer.start();
        let (sender, receiver) = mpsc::channel();
        let send = |text: &'static str| {
            let sender = sender.clone();
            move || sender.send(text).unwrap()
        };
        timer.park(Duration::from_secs(3600), send("parked"));
        timer.after(Duration::from_secs(3600), send("never"));
        timer.after(Duration::from_millis(20), send("second"));
        timer.after(Duration::from_millis(1), send("first"));
        assert_eq!(receiver.recv(), Ok("first"));
        assert_eq!(receiver.recv(), Ok("second"));
        timer.wake_parked();
        assert_eq!(receiver.recv(), Ok("parked"));
        timer.stop();
        thread.join().unwrap();
        drop(sender);
        assert!(receiver.recv().is_err());
    }
}
