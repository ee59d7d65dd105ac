//! Fixed threads over one queue, for work that waits for disks and needs no order. Bounded by who fills it: the
//! requests in flight of all connections, and what the replica has under way.

use crate::threads::Threads;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;

pub type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    tasks: VecDeque<Task>,
    running: usize,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    finished: Condvar,
}

impl Queue {
    fn push(&self, task: Task) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.tasks.push_back(task);
        drop(state);
        self.arrived.notify_one();
    }

    fn work(&self) {
        let mut state = self.state.lock();
        while !state.closed {
            let Some(task) = state.tasks.pop_front() else {
                self.arrived.wait(&mut state);
                continue;
            };
            state.running += 1;
            drop(state);
            task();
            state = self.state.lock();
            state.running -= 1;
            if state.running == 0 && state.tasks.is_empty() {
                self.finished.notify_all();
            }
        }
    }

    fn wait_idle(&self) {
        let mut state = self.state.lock();
        while !state.closed && (state.running > 0 || !state.tasks.is_empty()) {
            self.finished.wait(&mut state);
        }
    }

    fn close(&self) {
        let dropped = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.tasks)
        };
        drop(dropped);
        self.arrived.notify_all();
        self.finished.notify_all();
    }
}

/// Dropping it forgets what did not begin.
pub struct Workers {
    queue: Arc<Queue>,
    threads: Threads,
}

impl Workers {
    pub fn start(name: &str, threads: usize) -> Self {
        let queue: Arc<Queue> = Arc::default();
        let work = queue.clone();
        let threads = Threads::start(name, threads, move || work.work());
        Workers { queue, threads }
    }

    pub fn push(&self, task: impl FnOnce() + Send + 'static) {
        self.queue.push(Box::new(task));
    }

    /// Until nothing is queued or running, for a moment at least.
    pub fn wait_idle(&self) {
        self.queue.wait_idle();
    }

    /// What runs is finished, what waits is forgotten. Not to be called by a task.
    pub fn close(&self) {
        self.queue.close();
        self.threads.join();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn every_task_runs_once_and_some_beside_each_other() {
        let workers = Workers::start("test", 2);
        let (count, both) = (Arc::new(Mutex::new(0)), Arc::new(Barrier::new(2)));
        for _ in 0..2 {
            let both = both.clone();
            workers.push(move || {
                both.wait();
            });
        }
        for _ in 0..500 {
            let count = count.clone();
            workers.push(move || *count.lock() += 1);
        }
        workers.wait_idle();
        assert_eq!(*count.lock(), 500);
    }

    #[test]
    fn closing_forgets_what_waits_and_finishes_what_runs() {
        let workers = Workers::start("test", 1);
        let (started, done) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(Vec::new())));
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let (starting, passing, doing) = (started.clone(), gate.clone(), done.clone());
        workers.push(move || {
            *starting.lock() = true;
            drop(passing.lock());
            doing.lock().push("first");
        });
        let second = done.clone();
        workers.push(move || second.lock().push("second"));
        while !*started.lock() {
            std::thread::yield_now();
        }
        workers.queue.close();
        drop(held);
        workers.close();
        assert_eq!(*done.lock(), vec!["first"]);
    }
}
