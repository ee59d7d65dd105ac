//! A server whose behaviour each test writes as a closure, and bytes whose every position can be checked.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use transport::{Connection, Handler, Incoming, Listener, Transport};
use wire::message::EchoRequest;
use wire::{BufferPool, Result};

/// Far above what any step takes: no test depends on it but to end.
pub const LONG: Duration = Duration::from_secs(60);

pub struct Server<F> {
    pub closed: AtomicUsize,
    pub pool: BufferPool,
    act: F,
}

impl<F: Fn(&BufferPool, Incoming<'_>) + Send + Sync + 'static> Handler for Server<F> {
    fn handle(&self, incoming: Incoming<'_>) {
        (self.act)(&self.pool, incoming);
    }
    fn closed(&self, _peer: &str) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

pub fn server<F: Fn(&BufferPool, Incoming<'_>) + Send + Sync + 'static>(act: F) -> Arc<Server<F>> {
    Arc::new(Server { closed: AtomicUsize::new(0), pool: BufferPool::new(64 << 20), act })
}

/// For connections that only call.
pub fn no_requests() -> Arc<dyn Handler> {
    server(|_, mut incoming| incoming.refuse_unknown())
}

pub struct Pair {
    pub listener: Box<dyn Listener>,
    pub connection: Arc<dyn Connection>,
}

pub fn pair(transport: &dyn Transport, handler: Arc<dyn Handler>) -> Pair {
    let listener = transport.listen("127.0.0.1:0", handler).unwrap();
    let connection = transport.connect(&listener.address(), LONG, no_requests()).unwrap();
    Pair { listener, connection }
}

/// Different at every position and for every seed, so that a shifted, torn or foreign payload shows.
pub fn pattern(seed: u64, length_bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length_bytes + 8);
    while bytes.len() < length_bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length_bytes);
    Bytes::from(bytes)
}

pub fn echo(reply_bytes: usize) -> EchoRequest {
    EchoRequest { reply_bytes: u32::try_from(reply_bytes).unwrap(), ..Default::default() }
}

/// Calls and waits.
pub fn ask(connection: &dyn Connection, request: EchoRequest, payload: Vec<Bytes>) -> Result<Bytes> {
    transport::call_wait(connection, request, payload, LONG).map(|(_, payload)| payload)
}

/// Waits until it holds; the test's own time limit ends a wait for ever.
pub fn until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
