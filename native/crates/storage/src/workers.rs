//! Fixed threads for work that waits for disks. Lanes keep the order of what has the same key, and send the
//! messages of a few tasks together when many wait; a pool does neither. Queues are bounded by who fills
//! them: the replica's limits of pending updates, and the requests in flight of all connections.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::thread::JoinHandle;

pub type Task = Box<dyn FnOnce() + Send>;

/// Tasks of one lane whose messages go out together: a few, because the first waits for the last.
const TOGETHER_MAX: usize = 8;

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

    /// Runs up to `at_once` tasks, and then sends what they had to send.
    fn work(&self, at_once: usize) {
        let mut tasks = Vec::with_capacity(at_once);
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return;
            }
            let count = state.tasks.len().min(at_once);
            if count == 0 {
                self.arrived.wait(&mut state);
                continue;
            }
            tasks.extend(state.tasks.drain(..count));
            state.running += count;
            drop(state);
            match count {
                1 => tasks.pop().expect("there is one")(),
                _ => transport::together(|| tasks.drain(..).for_each(|task| task())),
            }
            state = self.state.lock();
            state.running -= count;
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

/// Threads over one or more queues. Dropping it forgets what did not begin.
pub struct Workers {
    queues: Vec<Arc<Queue>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    hasher: RandomState,
}

impl Workers {
    /// One queue per thread: tasks of one key run in their order.
    pub fn lanes(name: &str, threads: usize) -> Self {
        Workers::start(name, (0..threads).map(|_| Arc::default()).collect(), 1, TOGETHER_MAX)
    }

    /// One queue for all threads.
    pub fn pool(name: &str, threads: usize) -> Self {
        Workers::start(name, vec![Arc::default()], threads, 1)
    }

    fn start(name: &str, queues: Vec<Arc<Queue>>, threads_per_queue: usize, at_once: usize) -> Self {
        let mut threads = Vec::new();
        for queue in &queues {
            for _ in 0..threads_per_queue {
                let queue = queue.clone();
                let builder = std::thread::Builder::new().name(name.to_string());
                threads.push(builder.spawn(move || queue.work(at_once)).expect("a thread can be started"));
            }
        }
        Workers { queues, threads: Mutex::new(threads), hasher: RandomState::new() }
    }

    pub fn push(&self, key: impl Hash, task: impl FnOnce() + Send + 'static) {
        let hash = self.hasher.hash_one(key);
        let lane = hash as usize % self.queues.len();
        self.queues[lane].push(Box::new(task));
    }

    /// Until nothing is queued or running, for a moment at least.
    pub fn wait_idle(&self) {
        self.queues.iter().for_each(|queue| queue.wait_idle());
    }

    /// What runs is finished, what waits is forgotten. Not to be called by a task.
    pub fn close(&self) {
        self.queues.iter().for_each(|queue| queue.close());
        let own = std::thread::current().id();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.thread().id() != own {
                // A task that panicked is our own bug; its thread is gone already.
                let _ = thread.join();
            }
        }
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

    #[test]
    fn one_key_keeps_its_order() {
        let workers = Workers::lanes("test", 3);
        let seen: Arc<Mutex<Vec<Vec<u32>>>> = Arc::new(Mutex::new(vec![Vec::new(); 5]));
        for number in 0..500u32 {
            let seen = seen.clone();
            let key = number as usize % 5;
            workers.push(key, move || {
                if number % 7 == 0 {
                    std::thread::yield_now();
                }
                seen.lock()[key].push(number);
            });
        }
        workers.wait_idle();
        for (key, numbers) in seen.lock().iter().enumerate() {
            let expected: Vec<u32> = (0..500).filter(|number| *number as usize % 5 == key).collect();
            assert_eq!(*numbers, expected);
        }
    }

    #[test]
    fn closing_forgets_what_waits_and_finishes_what_runs() {
        let workers = Workers::pool("test", 1);
        let (started, done) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(Vec::new())));
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let (starting, passing, doing) = (started.clone(), gate.clone(), done.clone());
        workers.push(0, move || {
            *starting.lock() = true;
            drop(passing.lock());
            doing.lock().push("first");
        });
        let second = done.clone();
        workers.push(0, move || second.lock().push("second"));
        while !*started.lock() {
            std::thread::yield_now();
        }
        workers.queues[0].close();
        drop(held);
        workers.close();
        assert_eq!(*done.lock(), vec!["first"]);
    }
}
