//! The in-process twin: frames pass through queues in memory, payloads are copied only when they are pulled,
//! as on verbs. Addresses are names in a table that clones of one `InProcessTransport` share.

use crate::dispatch::{Core, Ending, dispatch};
use crate::incoming::{AnswerPath, PayloadSource};
use crate::owned::Owned;
use crate::slots::{Owed, Slots};
use crate::timer::Timer;
use crate::{Connection, Done, Handler, Listener, Outgoing, Transport, threads};
use bytes::{Buf, Bytes};
use pages::Part;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use wire::{BufferPool, Code, Error, Flags, FrameHeader, Result};

/// Bytes queued in one direction before callers wait: as on TCP.
const QUEUED_BYTES_MAX: usize = 8 << 20;

/// Unused reply buffers kept: as on TCP.
const IDLE_REPLY_BYTES_MAX: usize = 64 << 20;

#[derive(Clone)]
pub struct InProcessTransport {
    listeners: Arc<Mutex<HashMap<String, Arc<Listening>>>>,
    timer: Arc<Timer>,
    pool: BufferPool,
}

impl InProcessTransport {
    pub fn new() -> Self {
        let pool = BufferPool::new(IDLE_REPLY_BYTES_MAX);
        InProcessTransport { listeners: Arc::default(), timer: Arc::default(), pool }
    }

    fn link(&self, peer: &str, incoming: &Arc<Pipe>, outgoing: &Arc<Pipe>) -> Arc<MemoryLink> {
        let core = Core::new(peer.to_string(), self.pool.clone(), self.timer.clone());
        Arc::new(MemoryLink { core, incoming: incoming.clone(), outgoing: outgoing.clone() })
    }
}

impl Default for InProcessTransport {
    fn default() -> Self {
        InProcessTransport::new()
    }
}

struct MemoryFrame {
    header: FrameHeader,
    message: Bytes,
    payload: VecDeque<Bytes>,
    owed: Option<Owed>,
}

impl MemoryFrame {
    fn new(kind: u8, flags: Flags, message: Vec<u8>, payload: Vec<Bytes>) -> Self {
        let payload_bytes: usize = payload.iter().map(Bytes::len).sum();
        let length = |bytes: usize| u32::try_from(bytes).expect("a length below 4 GiB");
        let header = FrameHeader {
            kind,
            flags,
            message_bytes: length(message.len()),
            payload_bytes: length(payload_bytes),
        };
        // The same limits as on a wire.
        header.encode();
        MemoryFrame { header, message: Bytes::from(message), payload: payload.into(), owed: None }
    }

    fn length_bytes(&self) -> usize {
        self.header.message_bytes as usize + self.header.payload_bytes as usize
    }
}

#[derive(Default)]
struct PipeState {
    queue: VecDeque<MemoryFrame>,
    queued_bytes: usize,
    closed: bool,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    state: Mutex<PipeState>,
    arrived: Condvar,
    room: Condvar,
}

impl Pipe {
    /// `may_wait`: requests wait for room, answers never do.
    fn push(&self, frame: MemoryFrame, may_wait: bool) -> bool {
        let mut state = self.state.lock();
        if may_wait {
            while state.queued_bytes > QUEUED_BYTES_MAX && !state.closed {
                self.room.wait(&mut state);
            }
        }
        if state.closed {
            return false;
        }
        state.queued_bytes += frame.length_bytes();
        state.queue.push_back(frame);
        drop(state);
        self.arrived.notify_one();
        true
    }

    fn pop(&self) -> Option<MemoryFrame> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(frame) = state.queue.pop_front() {
                state.queued_bytes -= frame.length_bytes();
                drop(state);
                self.room.notify_all();
                return Some(frame);
            }
            self.arrived.wait(&mut state);
        }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
        self.arrived.notify_all();
        self.room.notify_all();
    }
}

struct MemoryLink {
    core: Core,
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

impl MemoryLink {
    fn start(self: &Arc<Self>, handler: Arc<dyn Handler>) -> JoinHandle<()> {
        let link = self.clone();
        std::thread::Builder::new()
            .name("memory-reader".into())
            .spawn(move || link.read(&*handler))
            .expect("a thread can be started")
    }

    fn read(self: &Arc<Self>, handler: &dyn Handler) {
        threads::become_reader_of(threads::next_link_number());
        let ending = Ending { link: &**self, handler };
        while let Some(MemoryFrame { header, message, payload, owed: _owed }) = self.incoming.pop() {
            let mut source = MemorySource(payload);
            if let Err(error) = dispatch(&self.core, self, handler, header, message, &mut source) {
                log::warn!(target: "transport", peer = self.core.peer.as_str(), error:% = error; "connection.refused");
                break;
            }
        }
        drop(ending);
    }
}

struct MemorySource(VecDeque<Bytes>);

impl PayloadSource for MemorySource {
    fn read(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            let part = self.0.front_mut().expect("the payload is as long as its frame says");
            let count = part.len().min(buffer.len());
            part.copy_to_slice(&mut buffer[..count]);
            buffer = &mut buffer[count..];
            if part.is_empty() {
                self.0.pop_front();
            }
        }
        Ok(())
    }

    fn discard(&mut self, _length_bytes: usize) -> Result<()> {
        Ok(())
    }

    fn before_wait(&mut self) {}
}

impl Connection for MemoryLink {
    fn next_request_id(&self) -> u64 {
        self.core.next_request_id()
    }

    fn call(&self, request_id: u64, out: Outgoing, done: Done) {
        if self.core.begin(request_id, &out, done)
            && !self.outgoing.push(
                MemoryFrame::new(out.kind as u8, Flags::NONE, out.message, out.payload),
                threads::may_wait(),
            )
        {
            self.close();
        }
    }

    fn send_one_way(&self, out: Outgoing) -> Result<()> {
        let frame = MemoryFrame::new(out.kind as u8, Flags::ONE_WAY, out.message, out.payload);
        if self.outgoing.push(frame, threads::may_wait()) { Ok(()) } else { Err(self.core.calls.lost()) }
    }

    fn is_open(&self) -> bool {
        self.core.calls.is_open()
    }

    fn close(&self) {
        self.incoming.close();
        self.outgoing.close();
        self.core.slots.close();
        self.core.calls.close();
    }

    fn peer(&self) -> String {
        self.core.peer.clone()
    }
}

impl AnswerPath for MemoryLink {
    fn answer(&self, kind: u8, message: Vec<u8>, payload: Vec<Part>, owed: Option<Owed>) {
        let bytes = |part: Part| part.into_bytes().expect("pages that were filled can be read");
        let payload = payload.into_iter().map(bytes).collect();
        let frame = MemoryFrame::new(kind, Flags::REPLY, message, payload);
        self.outgoing.push(MemoryFrame { owed, ..frame }, false);
    }

    fn slots(&self) -> &Arc<Slots> {
        &self.core.slots
    }

    fn release(&self) {
        self.core.slots.give_back();
    }
}

struct Listening {
    handler: Arc<dyn Handler>,
    accepted: Mutex<Vec<(Arc<MemoryLink>, JoinHandle<()>)>>,
}

struct MemoryListener {
    transport: InProcessTransport,
    listening: Arc<Listening>,
    address: String,
}

impl Transport for InProcessTransport {
    fn connect(
        &self,
        address: &str,
        _timeout: Duration,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<dyn Connection>> {
        let listeners = self.listeners.lock();
        let Some(listening) = listeners.get(address) else {
            return Err(Error::new(Code::Unreachable, format!("{address}: nobody listens in this process")));
        };
        let (there, back) = (Arc::default(), Arc::default());
        let near = self.link(address, &back, &there);
        let far = self.link("in-process", &there, &back);
        let mut accepted = listening.accepted.lock();
        accepted.retain(|(_, thread)| !thread.is_finished());
        let thread = far.start(listening.handler.clone());
        accepted.push((far, thread));
        near.start(handler);
        Ok(Arc::new(Owned(near)))
    }

    fn listen(&self, address: &str, handler: Arc<dyn Handler>) -> Result<Box<dyn Listener>> {
        let mut listeners = self.listeners.lock();
        let mut bound = address.to_string();
        if let Some(host) = address.strip_suffix(":0") {
            let free = (1..).map(|port| format!("{host}:{port}")).find(|name| !listeners.contains_key(name));
            bound = free.expect("numbers do not end");
        }
        if listeners.contains_key(&bound) {
            return Err(Error::new(
                Code::AlreadyRunning,
                format!("listen on {bound}: in use in this process"),
            ));
        }
        let listening = Arc::new(Listening { handler, accepted: Mutex::default() });
        listeners.insert(bound.clone(), listening.clone());
        Ok(Box::new(MemoryListener { transport: self.clone(), listening, address: bound }))
    }
}

impl Listener for MemoryListener {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn close(&self) {
        let links = {
            let mut listeners = self.transport.listeners.lock();
            if listeners.get(&self.address).is_some_and(|listening| Arc::ptr_eq(listening, &self.listening)) {
                listeners.remove(&self.address);
            }
            std::mem::take(&mut *self.listening.accepted.lock())
        };
        for (link, _) in &links {
            link.close();
        }
        for (_, thread) in links {
            // A reader that panicked serves nobody any more.
            let _ = thread.join();
        }
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.close();
    }
}
