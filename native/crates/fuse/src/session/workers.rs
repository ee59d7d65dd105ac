//! The threads that read requests. Methods of the file system may block, so there are as many as are busy
//! plus a reader, up to a limit; at the limit the last reader hands requests to a queue and keeps reading, so
//! that INTERRUPT and FORGET get through. Requests that wait for the metadata service may take only a part of
//! the threads: when it stands still, what is open is read and written all the same. Requests that wait for
//! chains have threads beside these: a chain that stands still holds up nothing that is for another (P25).

use super::channel::Channel;
use super::dispatch::{Dispatcher, Packet, WaitsFor};
use super::handshake::buffer_bytes;
use crate::protocol::abi;
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use wire::Buffer;
use zerocopy::FromBytes;

/// Readers that stay when there is nothing to do.
const READERS_MAX: usize = 8;

/// Requests that wait for a worker, and their bytes. Waiting processes on this host bound them anyway; the
/// limits keep a host with thousands of stuck writers from filling our memory. At the limit the kernel keeps
/// the rest.
const QUEUED_MAX: usize = 4096;
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Threads that may wait for chains, and the bytes of their requests: as many callers may be stuck on chains
/// that stand still before those of healthy chains wait behind them.
const ON_CHAINS_MAX: usize = 1024;
const ON_CHAINS_BYTES_MAX: usize = 256 << 20;

#[derive(Default)]
struct State {
    threads: usize,
    /// Threads that read, or are about to.
    readers: usize,
    /// Threads that handle a request which waits for the metadata service.
    on_names: usize,
    /// And those for chains, with the bytes of their requests.
    on_chains: usize,
    on_chains_bytes: usize,
    /// Not empty only while every thread but the last reader is busy.
    queue: VecDeque<Packet>,
    /// Requests for the metadata service: not empty only while it has all the threads that it may have, or
    /// every thread but the last reader is busy.
    name_queue: VecDeque<Packet>,
    /// Requests for chains, beyond the limits for them.
    chain_queue: VecDeque<Packet>,
    /// Of all queues.
    queued_bytes: usize,
}

/// What a thread handles, as it counts.
#[derive(Clone, Copy)]
struct Load {
    waits_for: WaitsFor,
    bytes: usize,
}

fn load(packet: &Packet) -> Load {
    Load { waits_for: packet.waits_for(), bytes: packet.header.len as usize }
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        let queued = self.queue.len() + self.name_queue.len() + self.chain_queue.len();
        queued < QUEUED_MAX && (queued == 0 || self.queued_bytes + bytes <= QUEUED_BYTES_MAX)
    }

    fn push(&mut self, packet: Packet) {
        self.queued_bytes += packet.header.len as usize;
        let queue = match packet.waits_for() {
            WaitsFor::Nothing => &mut self.queue,
            WaitsFor::Names => &mut self.name_queue,
            WaitsFor::Chains => &mut self.chain_queue,
        };
        queue.push_back(packet);
    }

    fn may_begin(&self, load: Load, on_names_max: usize) -> bool {
        match load.waits_for {
            WaitsFor::Nothing => true,
            WaitsFor::Names => self.on_names < on_names_max,
            WaitsFor::Chains => {
                self.on_chains < ON_CHAINS_MAX && self.on_chains_bytes + load.bytes <= ON_CHAINS_BYTES_MAX
            }
        }
    }

    /// Whether a thread may be started beside those that there are, when one of them begins this.
    fn may_start(&self, load: Load, threads_max: usize) -> bool {
        load.waits_for == WaitsFor::Chains || self.threads - self.on_chains < threads_max
    }

    /// The next one that a thread may handle; it counts as being handled.
    fn pop(&mut self, on_names_max: usize) -> Option<Packet> {
        let may = |queue: &VecDeque<Packet>| {
            queue.front().is_some_and(|packet| self.may_begin(load(packet), on_names_max))
        };
        let packet = if may(&self.queue) {
            self.queue.pop_front()
        } else if may(&self.name_queue) {
            self.name_queue.pop_front()
        } else if may(&self.chain_queue) {
            self.chain_queue.pop_front()
        } else {
            None
        }?;
        let load = load(&packet);
        self.queued_bytes -= load.bytes;
        self.begin(load);
        Some(packet)
    }

    fn begin(&mut self, load: Load) {
        match load.waits_for {
            WaitsFor::Nothing => {}
            WaitsFor::Names => self.on_names += 1,
            WaitsFor::Chains => {
                self.on_chains += 1;
                self.on_chains_bytes += load.bytes;
            }
        }
    }

    fn end(&mut self, load: Load) {
        match load.waits_for {
            WaitsFor::Nothing => {}
            WaitsFor::Names => self.on_names -= 1,
            WaitsFor::Chains => {
                self.on_chains -= 1;
                self.on_chains_bytes -= load.bytes;
            }
        }
    }
}

pub struct Workers {
    pub dispatcher: Dispatcher,
    threads_max: usize,
    on_names_max: usize,
    state: Mutex<State>,
    ended: Condvar,
    room: Condvar,
}

impl Workers {
    pub fn new(dispatcher: Dispatcher, threads_max: usize) -> Arc<Self> {
        let (state, ended, room) = (Mutex::default(), Condvar::new(), Condvar::new());
        // The last reader only reads: a single thread would never get to work.
        let threads_max = threads_max.max(2);
        // A quarter is enough for reads and writes: they hold a thread for as long as it takes to send them.
        let on_names_max = (threads_max - threads_max / 4).min(threads_max - 1);
        Arc::new(Workers { dispatcher, threads_max, on_names_max, state, ended, room })
    }

    /// Starts the first thread; more follow as they are needed.
    pub fn start(self: &Arc<Self>, channel: Arc<dyn Channel>) -> std::io::Result<()> {
        let mut state = self.state.lock();
        state.threads += 1;
        state.readers += 1;
        drop(state);
        self.spawn(channel).inspect_err(|_| {
            let mut state = self.state.lock();
            state.threads -= 1;
            state.readers -= 1;
        })
    }

    fn spawn(self: &Arc<Self>, channel: Arc<dyn Channel>) -> std::io::Result<()> {
        let workers = self.clone();
        let builder = std::thread::Builder::new().name("fuse-worker".into());
        builder.spawn(move || {
            let _ended = Ended(&workers);
            workers.run(&channel);
        })?;
        Ok(())
    }

    /// Waits until all threads have ended, at most until `deadline`; whether they have.
    pub fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while state.threads > 0 {
            match deadline {
                None => self.ended.wait(&mut state),
                Some(deadline) if self.ended.wait_until(&mut state, deadline).timed_out() => {
                    return state.threads == 0;
                }
                Some(_) => {}
            }
        }
        true
    }

    fn run(self: &Arc<Self>, channel: &Arc<dyn Channel>) {
        let mut spare = None;
        while let Some(packet) = self.receive(channel, spare.take()) {
            if packet.is_urgent() {
                spare = self.dispatcher.dispatch(packet);
                continue;
            }
            let mut next = self.admit(packet, channel);
            if next.is_none() {
                continue;
            }
            while let Some(packet) = next {
                let handled = load(&packet);
                spare = self.dispatcher.dispatch(packet);
                match self.next_step(handled) {
                    Step::Handle(packet) => next = Some(packet),
                    Step::Read => next = None,
                    Step::End => return,
                }
            }
        }
        self.dispatcher.table.interrupt_all();
        self.state.lock().readers -= 1;
    }

    fn receive(&self, channel: &Arc<dyn Channel>, spare: Option<Buffer>) -> Option<Packet> {
        let mut buffer = spare.unwrap_or_else(|| self.dispatcher.pool.take(buffer_bytes()));
        loop {
            match channel.receive(&mut buffer) {
                Ok(length) => match abi::InHeader::read_from_prefix(&buffer[..length]) {
                    Ok((header, _)) if header.len as usize == length => {
                        return Some(Packet { header, buffer, channel: channel.clone(), pending: None });
                    }
                    _ => log::error!(target: "fuse", bytes = length; "request.truncated"),
                },
                Err(Errno::NODEV | Errno::CONNABORTED) => return None,
                Err(errno) => {
                    log::error!(target: "fuse", errno = errno.raw_os_error(); "receive.failed");
                    return None;
                }
            }
        }
    }

    /// The caller handles the packet that comes back; otherwise it stays the last reader.
    fn admit(self: &Arc<Self>, packet: Packet, channel: &Arc<dyn Channel>) -> Option<Packet> {
        let load = load(&packet);
        let mut may_start = true;
        let mut state = self.state.lock();
        loop {
            let may_handle = state.may_begin(load, self.on_names_max);
            if may_handle && state.readers > 1 {
                state.readers -= 1;
                state.begin(load);
                return Some(packet);
            }
            if may_handle && may_start && state.may_start(load, self.threads_max) {
                state.threads += 1;
                state.begin(load);
                drop(state);
                // The new thread is the reader in this one's place.
                if self.add_reader(channel) {
                    return Some(packet);
                }
                may_start = false;
                state = self.state.lock();
                state.threads -= 1;
                state.end(load);
            } else if state.threads == 1 {
                // Nobody else would ever take it from the queue.
                state.readers -= 1;
                state.begin(load);
                return Some(packet);
            } else if state.has_room(load.bytes) {
                let packet = self.dispatcher.postpone(packet);
                state.push(packet);
                return None;
            } else {
                self.room.wait(&mut state);
            }
        }
    }

    fn add_reader(self: &Arc<Self>, channel: &Arc<dyn Channel>) -> bool {
        let started = channel.another().map_err(std::io::Error::from).and_then(|channel| self.spawn(channel));
        if let Err(error) = &started {
            log::warn!(target: "fuse", error = error.to_string().as_str(); "worker.not_started");
        }
        started.is_ok()
    }

    /// In one step, so that no packet is queued behind the back of a thread that goes to read.
    fn next_step(&self, handled: Load) -> Step {
        let mut state = self.state.lock();
        state.end(handled);
        if let Some(packet) = state.pop(self.on_names_max) {
            self.room.notify_one();
            return Step::Handle(packet);
        }
        if state.readers >= READERS_MAX {
            return Step::End;
        }
        state.readers += 1;
        Step::Read
    }
}

enum Step {
    Handle(Packet),
    Read,
    /// There are readers enough.
    End,
}

/// A thread's end is counted also when a method of the file system panics.
struct Ended<'a>(&'a Workers);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state.lock().threads -= 1;
        self.0.ended.notify_all();
    }
}
