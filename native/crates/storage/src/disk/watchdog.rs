//! Looks at every disk of the server, again and again, without touching one: a disk that does not answer takes its
//! targets offline. It is the first thread of a server and the last: also whoever starts or ends the server must hear
//! that a disk hangs.

use super::DiskShare;
use super::progress::WATCH_PAUSE;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Hears that a disk hangs, again and again as long as it does.
type Hung = Box<dyn Fn(&DiskShare) + Send>;

#[derive(Default)]
struct State {
    hung: Option<Hung>,
    stopped: bool,
}

pub struct Watchdog {
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Watchdog {
    pub fn start(disks: Vec<Arc<DiskShare>>) -> Watchdog {
        let shared: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let watching = shared.clone();
        let builder = std::thread::Builder::new().name("disk-watchdog".into());
        let thread = builder.spawn(move || watch(&disks, &watching)).expect("a thread can be started");
        Watchdog { shared, thread: Mutex::new(Some(thread)) }
    }

    pub fn tell(&self, hung: impl Fn(&DiskShare) + Send + 'static) {
        self.shared.0.lock().hung = Some(Box::new(hung));
    }

    pub fn stop(&self) {
        self.shared.0.lock().stopped = true;
        self.shared.1.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic there is a bug of ours that was reported already.
            let _ = thread.join();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop();
    }
}

fn watch(disks: &[Arc<DiskShare>], (state, stop): &(Mutex<State>, Condvar)) {
    let mut state = state.lock();
    while !state.stopped {
        stop.wait_for(&mut state, WATCH_PAUSE);
        for disk in disks {
            if disk.watch()
                && let Some(hung) = &state.hung
            {
                hung(disk);
            }
            disk.follow_hang();
        }
    }
}
