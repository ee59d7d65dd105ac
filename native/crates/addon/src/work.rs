//! Threads for calls that wait (names, chunk removal): started when they are needed, ended when they idle.
//! Node's own pool of four must not be used: a call may wait a minute for a server, and Node's file access
//! would wait with it.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

type Task = Box<dyn FnOnce() + Send>;

/// Calls that may wait at once. More queue up; each belongs to a promise that somebody awaits.
const THREADS_MAX: usize = 32;
const IDLE: Duration = Duration::from_secs(5);

struct State {
    tasks: VecDeque<Task>,
    threads: usize,
    idle: usize,
}

static STATE: Mutex<State> = Mutex::new(State { tasks: VecDeque::new(), threads: 0, idle: 0 });
static WAKE: Condvar = Condvar::new();

pub fn run(task: impl FnOnce() + Send + 'static) {
    let mut state = STATE.lock();
    state.tasks.push_back(Box::new(task));
    if state.tasks.len() > state.idle && state.threads < THREADS_MAX {
        state.threads += 1;
        std::thread::Builder::new().name("addon-work".into()).spawn(work).expect("a thread can be started");
    } else {
        WAKE.notify_one();
    }
}

fn work() {
    let mut state = STATE.lock();
    loop {
        if let Some(task) = state.tasks.pop_front() {
            drop(state);
            task();
            state = STATE.lock();
            continue;
        }
        state.idle += 1;
        let late = WAKE.wait_for(&mut state, IDLE).timed_out();
        state.idle -= 1;
        if late && state.tasks.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

/// Tasks that run one after the other, in their order: the writes of one file.
#[derive(Clone, Default)]
pub struct Strand(Arc<Mutex<StrandState>>);

#[derive(Default)]
struct StrandState {
    tasks: VecDeque<Task>,
    running: bool,
}

impl Strand {
    pub fn run(&self, task: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        state.tasks.push_back(Box::new(task));
        if !std::mem::replace(&mut state.running, true) {
            let strand = self.clone();
            run(move || strand.drain());
        }
    }

    fn drain(&self) {
        loop {
            let task = {
                let mut state = self.0.lock();
                match state.tasks.pop_front() {
                    Some(task) => task,
                    None => {
                        state.running = false;
                        return;
                    }
                }
            };
            task();
        }
    }
}
