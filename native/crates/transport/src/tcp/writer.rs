//! The send queue of one link. Whoever sends first writes, without waiting for the socket, also what others
//! queue meanwhile (their frames share its system call); when the socket is full, or pages of a file are next, a
//! thread of the link takes over. So no caller ever waits for a slow peer in here, except for room in the queue,
//! and answers never do.

use super::out_frame::OutFrame;
use crate::threads::{self, SendQueue};
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

/// Bytes queued before callers wait: enough to keep the socket busy while they prepare the next frames.
/// Answers are not held back by it: they are bounded by the requests in flight and the pools of their
/// payloads.
const QUEUED_BYTES_MAX: usize = 8 << 20;

/// Slices in one system call; IOV_MAX is 1024, and more than this saves nothing.
const SLICES_MAX: usize = 64;

/// Frames of a thread that has more to send at once wait for each other (`threads::together`), up to this
/// many and this long: one system call and one wake-up of the peer for all of them. Large payloads gain
/// nothing by it.
const HELD_FRAMES_MAX: usize = 16;
const HELD_BYTES_MAX: usize = 64 << 10;

/// System calls that a caller makes for others before the thread takes over.
const ROUNDS_MAX: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    Caller,
    Thread,
}

struct State {
    queue: VecDeque<OutFrame>,
    queued_bytes: usize,
    owner: Owner,
    thread_runs: bool,
    closed: bool,
}

pub(super) struct Writer {
    socket: Arc<TcpStream>,
    state: Mutex<State>,
    room: Condvar,
    work: Condvar,
}

impl SendQueue for Writer {
    fn flush(self: Arc<Self>) {
        let mut state = self.state.lock();
        if state.owner == Owner::Nobody && !state.queue.is_empty() {
            state.owner = Owner::Caller;
            drop(state);
            self.write_as_caller();
        }
    }
}

enum Written {
    All,
    /// The socket is full, or pages are next: a socket that may wait cannot be told not to take them.
    MustWait,
    Failed,
}

impl Writer {
    pub fn new(socket: Arc<TcpStream>) -> Self {
        let state = State {
            queue: VecDeque::new(),
            queued_bytes: 0,
            owner: Owner::Nobody,
            thread_runs: false,
            closed: false,
        };
        Writer { socket, state: Mutex::new(state), room: Condvar::new(), work: Condvar::new() }
    }

    /// A request: waits for room in the queue, except on threads that must not. False if the link is closed.
    pub fn send(self: &Arc<Self>, frame: OutFrame) -> bool {
        self.queue(frame, threads::may_wait())
    }

    /// An answer: never waits. False if the link is closed.
    pub fn send_answer(self: &Arc<Self>, frame: OutFrame) -> bool {
        self.queue(frame, false)
    }

    fn queue(self: &Arc<Self>, frame: OutFrame, may_wait: bool) -> bool {
        let mut state = self.state.lock();
        if may_wait && state.queued_bytes > QUEUED_BYTES_MAX {
            drop(state);
            threads::flush_held();
            state = self.state.lock();
            while state.queued_bytes > QUEUED_BYTES_MAX && !state.closed {
                self.room.wait(&mut state);
            }
        }
        if state.closed {
            return false;
        }
        state.queued_bytes += frame.left_bytes();
        state.queue.push_back(frame);
        let small = state.queue.len() < HELD_FRAMES_MAX && state.queued_bytes < HELD_BYTES_MAX;
        if state.owner == Owner::Nobody && !(small && threads::may_hold(self)) {
            state.owner = Owner::Caller;
            drop(state);
            self.write_as_caller();
        }
        true
    }

    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
        self.room.notify_all();
        self.work.notify_all();
    }

    fn write_as_caller(self: &Arc<Self>) {
        for _ in 0..ROUNDS_MAX {
            let Some(mut batch) = self.next_batch() else { return };
            match self.write(&mut batch, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Written::All => {}
                Written::MustWait => {
                    let mut state = self.state.lock();
                    while let Some(frame) = batch.pop_back() {
                        state.queue.push_front(frame);
                    }
                    break;
                }
                Written::Failed => return self.fail(),
            }
        }
        self.hand_over();
    }

    /// What is queued; nothing ends the ownership.
    fn next_batch(&self) -> Option<VecDeque<OutFrame>> {
        let mut state = self.state.lock();
        if state.queue.is_empty() || state.closed {
            state.owner = Owner::Nobody;
            return None;
        }
        Some(std::mem::take(&mut state.queue))
    }

    fn hand_over(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.owner = Owner::Thread;
        if !state.thread_runs && !state.closed {
            state.thread_runs = true;
            let writer = self.clone();
            let started = std::thread::Builder::new()
                .name("frame-writer".into())
                .spawn(move || writer.write_as_thread());
            if started.is_err() {
                drop(state);
                return self.fail();
            }
        }
        self.work.notify_one();
    }

    fn write_as_thread(self: &Arc<Self>) {
        loop {
            {
                let mut state = self.state.lock();
                while state.owner != Owner::Thread && !state.closed {
                    self.work.wait(&mut state);
                }
                if state.closed {
                    return;
                }
            }
            while let Some(mut batch) = self.next_batch() {
                // Full after the socket's write timeout: the peer takes nothing any more.
                if !matches!(self.write(&mut batch, SendFlags::NOSIGNAL), Written::All) {
                    return self.fail();
                }
            }
        }
    }

    /// The reader thread finds the socket closed, and ends the calls.
    fn fail(&self) {
        // An error says that it is closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.close();
    }

    fn write(&self, batch: &mut VecDeque<OutFrame>, flags: SendFlags) -> Written {
        while let Some(first) = batch.front_mut() {
            if first.has_pages() && flags.contains(SendFlags::DONTWAIT) {
                return Written::MustWait;
            }
            if let Some((pages, more)) = first.next_pages() {
                match pages.send(&*self.socket, more) {
                    Ok(written) => {
                        self.account(written);
                        first.advance_pages(written);
                    }
                    Err(Errno::INTR) => {}
                    Err(_) => return Written::Failed,
                }
            } else if let Err(outcome) = self.write_memory(batch, flags) {
                return outcome;
            }
            if batch.front().is_some_and(|frame| frame.left_bytes() == 0) {
                batch.pop_front();
            }
        }
        Written::All
    }

    /// One system call for all that lies in memory before the next pages.
    fn write_memory(
        &self,
        batch: &mut VecDeque<OutFrame>,
        mut flags: SendFlags,
    ) -> std::result::Result<(), Written> {
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(SLICES_MAX.min(3 * batch.len() + 8));
        let complete = batch.iter().all(|frame| frame.slices(&mut slices, SLICES_MAX));
        if !complete {
            flags |= SendFlags::MORE;
        }
        let mut written = match sendmsg(&*self.socket, &slices, &mut SendAncillaryBuffer::default(), flags) {
            Ok(written) => written,
            Err(Errno::INTR) => return Ok(()),
            Err(Errno::AGAIN) => return Err(Written::MustWait),
            Err(_) => return Err(Written::Failed),
        };
        drop(slices);
        self.account(written);
        while let Some(frame) = batch.front_mut() {
            written = frame.advance(written);
            if frame.left_bytes() > 0 {
                break;
            }
            batch.pop_front();
        }
        Ok(())
    }

    fn account(&self, written_bytes: usize) {
        let mut state = self.state.lock();
        let was_full = state.queued_bytes > QUEUED_BYTES_MAX;
        state.queued_bytes -= written_bytes;
        if was_full && state.queued_bytes <= QUEUED_BYTES_MAX {
            drop(state);
            self.room.notify_all();
        }
    }
}
