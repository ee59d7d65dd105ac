//! Threads that do one work until it ends, and are waited for at the end.

use parking_lot::Mutex;
use std::thread::JoinHandle;

pub struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    pub fn start(name: &str, count: usize, work: impl Fn() + Clone + Send + 'static) -> Threads {
        let start = |_| {
            let builder = std::thread::Builder::new().name(name.to_string());
            builder.spawn(work.clone()).expect("a thread can be started")
        };
        Threads(Mutex::new((0..count).map(start).collect()))
    }

    /// Their work has been told to end. One of them does not wait for itself.
    pub fn join(&self) {
        let own = std::thread::current().id();
        for thread in std::mem::take(&mut *self.0.lock()) {
            if thread.thread().id() != own {
                // A task that panicked is our own bug; its thread is gone already.
                let _ = thread.join();
            }
        }
    }
}
