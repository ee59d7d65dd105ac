//! Threads that store: tasks of one key run in their order, those of others beside them. One thread works as long as
//! it keeps up, and sends the messages of the tasks that it finds waiting together: a thread more means a switch
//! more for each small update, and fewer updates whose messages share a system call. The others are woken when
//! more waits than one thread takes at once, or when it waits for the disk. Bounded by who fills them: the
//! replica's limits of pending updates.

use crate::threads::Threads;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::cell::Cell;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Task = Box<dyn FnOnce(&Turn<'_>) + Send>;

/// Tasks that a thread takes at once: a few, because the messages of the first wait for the last.
const TOGETHER_MAX: usize = 8;

/// Bytes that a thread takes at once: of larger ones the messages gain nothing by going together.
const TOGETHER_BYTES_MAX: usize = 64 << 10;

/// Threads that took tasks this long ago and have not come back wait for the disk.
const STUCK: Duration = Duration::from_millis(1);

/// Keys of one lane wait for each other, so there are many more lanes than threads.
const LANES: usize = 256;

struct Waiting {
    task: Task,
    bytes: usize,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// Who has a task of it: a thread, and whoever a task left it to.
    holders: u32,
}

struct State {
    lanes: Vec<Lane>,
    /// Lanes that no thread has taken and where something waits, the one that waits longest first.
    ready: VecDeque<usize>,
    load: Load,
    /// Lanes that somebody else works for.
    kept: usize,
    /// Threads that were woken and have not noticed yet.
    woken: usize,
    /// When a thread took tasks last.
    taken_at: Instant,
    closed: bool,
}

/// What waits, and who works.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    tasks: usize,
    bytes: usize,
    /// Threads that have tasks, or were woken for some.
    working: usize,
}

impl Load {
    fn wants_another(&self, threads: usize, taken_for: impl Fn() -> Duration) -> bool {
        let working = self.working;
        working < threads
            && (working == 0
                || self.tasks > TOGETHER_MAX * working
                || self.bytes > TOGETHER_BYTES_MAX * working
                || taken_for() > STUCK)
    }
}

struct Shared {
    state: Mutex<State>,
    threads: usize,
    arrived: Condvar,
    finished: Condvar,
}

/// Of a task: its lane, in which nothing else runs meanwhile.
pub struct Turn<'a> {
    shared: &'a Arc<Shared>,
    lane: usize,
    kept: Cell<bool>,
}

impl Turn<'_> {
    /// The lane stays taken, also when the task ends: what must wait for others goes on elsewhere, and holds up
    /// neither the thread nor the tasks that it took together with this one.
    pub fn keep(&self) -> Kept {
        self.kept.set(true);
        let mut state = self.shared.state.lock();
        state.kept += 1;
        state.lanes[self.lane].holders += 1;
        Kept { shared: self.shared.clone(), lane: self.lane }
    }
}

/// Dropping it lets the lane's next tasks run.
pub struct Kept {
    shared: Arc<Shared>,
    lane: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.kept -= 1;
        state.release(self.lane);
        if state.is_idle() {
            self.shared.finished.notify_all();
        } else if state.load.tasks > 0 && !state.closed {
            self.shared.wake(state);
        }
    }
}

/// What a thread took: tasks in the order of their lanes, and how many of each lane.
#[derive(Default)]
struct Batch {
    tasks: VecDeque<Waiting>,
    lanes: VecDeque<(usize, usize)>,
    /// Lanes that are done with, and what was taken of them and did not run: a task before it kept the lane.
    done: Vec<(usize, Vec<Waiting>)>,
}

impl Batch {
    fn run(&mut self, shared: &Arc<Shared>) {
        match self.tasks.len() {
            1 => self.run_all(shared),
            _ => transport::together(|| self.run_all(shared)),
        }
    }

    fn run_all(&mut self, shared: &Arc<Shared>) {
        while let Some((lane, mut left)) = self.lanes.pop_front() {
            let turn = Turn { shared, lane, kept: Cell::new(false) };
            while left > 0 && !turn.kept.get() {
                let waiting = self.tasks.pop_front().expect("as many as were taken of the lanes");
                (waiting.task)(&turn);
                left -= 1;
            }
            self.done.push((lane, self.tasks.drain(..left).collect()));
        }
    }
}

impl State {
    fn take(&mut self, batch: &mut Batch) {
        let mut bytes = 0;
        while batch.tasks.len() < TOGETHER_MAX && bytes < TOGETHER_BYTES_MAX {
            let Some(number) = self.ready.pop_front() else { break };
            let lane = &mut self.lanes[number];
            lane.holders = 1;
            let before = batch.tasks.len();
            while batch.tasks.len() < TOGETHER_MAX && bytes < TOGETHER_BYTES_MAX {
                let Some(waiting) = lane.waiting.pop_front() else { break };
                bytes += waiting.bytes;
                batch.tasks.push_back(waiting);
            }
            batch.lanes.push_back((number, batch.tasks.len() - before));
        }
        self.load.tasks -= batch.tasks.len();
        self.load.bytes -= bytes;
    }

    fn give_back(&mut self, batch: &mut Batch) {
        for (number, left) in batch.done.drain(..) {
            for waiting in left.into_iter().rev() {
                self.load.tasks += 1;
                self.load.bytes += waiting.bytes;
                self.lanes[number].waiting.push_front(waiting);
            }
            self.release(number);
        }
    }

    fn release(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        lane.holders -= 1;
        if lane.holders == 0 && !lane.waiting.is_empty() {
            self.ready.push_back(number);
        }
    }

    fn is_idle(&self) -> bool {
        self.load.working == 0 && self.load.tasks == 0 && self.kept == 0
    }
}

impl Shared {
    fn push(&self, number: usize, waiting: Waiting) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.load.tasks += 1;
        state.load.bytes += waiting.bytes;
        let lane = &mut state.lanes[number];
        let first = lane.waiting.is_empty() && lane.holders == 0;
        lane.waiting.push_back(waiting);
        if first {
            state.ready.push_back(number);
        }
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let taken_at = state.taken_at;
        if state.load.wants_another(self.threads, || taken_at.elapsed()) {
            state.load.working += 1;
            state.woken += 1;
            drop(state);
            self.arrived.notify_one();
        }
    }

    fn work(self: &Arc<Self>) {
        let mut batch = Batch::default();
        let mut state = self.state.lock();
        while !state.closed {
            if state.woken == 0 {
                self.arrived.wait(&mut state);
                continue;
            }
            state.woken -= 1;
            while !state.closed {
                state.take(&mut batch);
                if batch.tasks.is_empty() {
                    break;
                }
                state.taken_at = Instant::now();
                drop(state);
                batch.run(self);
                state = self.state.lock();
                state.give_back(&mut batch);
            }
            state.load.working -= 1;
            if state.is_idle() {
                self.finished.notify_all();
            }
        }
    }

    fn wait_idle(&self) {
        let mut state = self.state.lock();
        while !state.closed && !state.is_idle() {
            self.finished.wait(&mut state);
        }
    }

    fn close(&self) {
        let dropped = {
            let mut state = self.state.lock();
            state.closed = true;
            state.ready.clear();
            let dropped = state.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.waiting));
            dropped.collect::<Vec<_>>()
        };
        drop(dropped);
        self.arrived.notify_all();
        self.finished.notify_all();
    }
}

/// Dropping it forgets what did not begin.
pub struct Lanes {
    shared: Arc<Shared>,
    threads: Threads,
    hasher: RandomState,
}

impl Lanes {
    pub fn start(name: &str, threads: usize) -> Lanes {
        let state = State {
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            ready: VecDeque::new(),
            load: Load::default(),
            kept: 0,
            woken: 0,
            taken_at: Instant::now(),
            closed: false,
        };
        let (arrived, finished) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { state: Mutex::new(state), threads, arrived, finished });
        let work = shared.clone();
        let threads = Threads::start(name, threads, move || work.work());
        Lanes { shared, threads, hasher: RandomState::new() }
    }

    /// Behind what was pushed before under the same key. `bytes`: how much there is to store.
    pub fn push(&self, key: impl Hash, bytes: usize, task: impl FnOnce(&Turn<'_>) + Send + 'static) {
        let lane = self.hasher.hash_one(key) as usize % LANES;
        self.shared.push(lane, Waiting { task: Box::new(task), bytes });
    }

    /// Now and then: what was pushed just before a thread got stuck is not left to wait for it.
    pub fn look(&self) {
        let state = self.shared.state.lock();
        if state.load.tasks > 0 && !state.closed {
            self.shared.wake(state);
        }
    }

    /// Until nothing is queued or running, for a moment at least.
    pub fn wait_idle(&self) {
        self.shared.wait_idle();
    }

    /// What runs is finished, what waits is forgotten. Not to be called by a task.
    pub fn close(&self) {
        self.shared.close();
        self.threads.join();
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn one_key_keeps_its_order_and_every_task_runs_once() {
        for (threads, keys) in [(1, 5), (3, 5), (3, 1_000)] {
            let lanes = Lanes::start("test", threads);
            let seen: Arc<Mutex<Vec<Vec<u32>>>> = Arc::new(Mutex::new(vec![Vec::new(); keys]));
            for number in 0..5_000u32 {
                let seen = seen.clone();
                let key = number as usize % keys;
                lanes.push(key, number as usize % 3 * 40_000, move |_| {
                    if number % 7 == 0 {
                        std::thread::yield_now();
                    }
                    seen.lock()[key].push(number);
                });
            }
            lanes.wait_idle();
            for (key, numbers) in seen.lock().iter().enumerate() {
                let expected: Vec<u32> = (0..5_000).filter(|number| *number as usize % keys == key).collect();
                assert_eq!(*numbers, expected);
            }
        }
    }

    /// Keys of lanes that differ from each other and from the first one's.
    fn keys(lanes: &Lanes, count: usize) -> Vec<u64> {
        let mut taken = std::collections::HashSet::new();
        (0..).filter(|key| taken.insert(lanes.hasher.hash_one(key) as usize % LANES)).take(count).collect()
    }

    #[test]
    fn what_waits_behind_a_thread_that_waits_is_done_by_others() {
        for (count, bytes) in [(2 * TOGETHER_MAX + 1, 0), (2, TOGETHER_BYTES_MAX + 1)] {
            let lanes = Lanes::start("test", 2);
            let (started, starts) = mpsc::channel();
            let (opens, gate) = mpsc::channel::<()>();
            let keys = keys(&lanes, count);
            let (done, all_done) = mpsc::channel();
            let first_done = done.clone();
            lanes.push(keys[0], 0, move |_| {
                started.send(()).unwrap();
                gate.recv().unwrap();
                first_done.send("first").unwrap();
            });
            starts.recv().unwrap();
            let second_done = done.clone();
            lanes.push(keys[0], 0, move |_| second_done.send("second").unwrap());
            for key in &keys[1..] {
                let done = done.clone();
                lanes.push(key, bytes, move |_| done.send("other").unwrap());
            }
            for _ in &keys[1..] {
                assert_eq!(all_done.recv(), Ok("other"));
            }
            opens.send(()).unwrap();
            assert_eq!([all_done.recv(), all_done.recv()], [Ok("first"), Ok("second")]);
        }
    }

    #[test]
    fn what_came_just_before_a_thread_got_stuck_is_done_by_another() {
        let lanes = Lanes::start("test", 2);
        let (started, starts) = mpsc::channel();
        let (opens, gate) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let keys = keys(&lanes, 2);
        lanes.push(keys[0], 0, move |_| {
            started.send(()).unwrap();
            gate.recv().unwrap();
        });
        starts.recv().unwrap();
        lanes.push(keys[1], 0, move |_| done.send(()).unwrap());
        while is_done.try_recv().is_err() {
            lanes.look();
        }
        opens.send(()).unwrap();
    }

    #[test]
    fn a_thread_more_is_for_much_work_or_for_one_that_is_stuck() {
        let wants = |tasks, bytes, working, taken_for: u64| {
            Load { tasks, bytes, working }.wants_another(3, || Duration::from_micros(taken_for))
        };
        assert!(wants(1, 0, 0, 0));
        assert!(!wants(TOGETHER_MAX, TOGETHER_BYTES_MAX, 1, 1_000));
        assert!(wants(TOGETHER_MAX + 1, 0, 1, 0) && !wants(TOGETHER_MAX + 1, 0, 2, 0));
        assert!(wants(1, TOGETHER_BYTES_MAX + 1, 1, 0) && !wants(1, TOGETHER_BYTES_MAX + 1, 2, 0));
        assert!(wants(1, 0, 2, 1_001));
        assert!(!wants(1_000, 1 << 30, 3, 1 << 30), "there is none more");
    }

    #[test]
    fn closing_forgets_what_waits_and_finishes_what_runs() {
        let lanes = Lanes::start("test", 1);
        let (started, starts) = mpsc::channel();
        let (opens, gate) = mpsc::channel::<()>();
        let done = Arc::new(Mutex::new(Vec::new()));
        let (first, second) = (done.clone(), done.clone());
        lanes.push(1, 0, move |_| {
            started.send(()).unwrap();
            gate.recv().unwrap();
            first.lock().push("first");
        });
        starts.recv().unwrap();
        lanes.push(2, 0, move |_| second.lock().push("second"));
        lanes.shared.close();
        opens.send(()).unwrap();
        lanes.close();
        lanes.push(3, 0, |_| unreachable!("it is closed"));
        assert_eq!(*done.lock(), vec!["first"]);
    }

    #[test]
    fn a_lane_that_a_task_kept_goes_on_in_its_order_when_it_is_let_go_and_the_others_at_once() {
        let lanes = Lanes::start("test", 1);
        let keys = keys(&lanes, 3);
        let (started, starts) = mpsc::channel();
        let (opens, gate) = mpsc::channel::<()>();
        lanes.push(keys[0], 0, move |_| {
            started.send(()).unwrap();
            gate.recv().unwrap();
        });
        starts.recv().unwrap();
        // The thread takes these together.
        let (keeps, kept) = mpsc::channel();
        let (done, all_done) = mpsc::channel();
        lanes.push(keys[1], 0, move |turn: &Turn<'_>| keeps.send(turn.keep()).unwrap());
        for number in 0..3 {
            let done = done.clone();
            lanes.push(keys[1], 10, move |_| done.send(number).unwrap());
        }
        let other = done.clone();
        lanes.push(keys[2], 0, move |_| other.send(100).unwrap());
        opens.send(()).unwrap();
        let kept = kept.recv().unwrap();
        assert_eq!(all_done.recv(), Ok(100));
        let last = done.clone();
        lanes.push(keys[1], 0, move |_| last.send(3).unwrap());
        // A thread looks whether there is something to do.
        lanes.push(keys[2], 0, move |_| done.send(101).unwrap());
        assert_eq!(all_done.recv(), Ok(101));
        assert!(all_done.try_recv().is_err());
        drop(kept);
        assert_eq!(all_done.iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        lanes.wait_idle();
        let load = lanes.shared.state.lock().load;
        assert_eq!((load.tasks, load.bytes, load.working), (0, 0, 0));
    }

    #[test]
    fn lanes_are_idle_only_when_no_task_keeps_one() {
        let lanes = Lanes::start("test", 1);
        let (keeps, kept) = mpsc::channel();
        lanes.push(1, 0, move |turn: &Turn<'_>| keeps.send(turn.keep()).unwrap());
        let kept = kept.recv().unwrap();
        std::thread::scope(|scope| {
            let idle = scope.spawn(|| lanes.wait_idle());
            assert!(!lanes.shared.state.lock().is_idle());
            drop(kept);
            idle.join().unwrap();
        });
    }
}
