//! What every transport offers. Callers above see only these types, so that TCP, verbs and the in-process
//! twin can replace each other.

use crate::Incoming;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use wire::{MessageKind, Result};

/// Calls without an answer on one connection, on either side. 64 channels of each of 16 chains fit; beyond
/// it a caller is refused (`Overloaded`) and a server stops reading, so that neither side's tables and
/// buffers grow without end.
pub const CALLS_IN_FLIGHT_MAX: usize = 1024;

/// One request on its way out. The message's header must name the request id that is passed beside it.
pub struct Outgoing {
    pub kind: MessageKind,
    pub message: Vec<u8>,
    /// Sent as they are, one after the other; never copied in user space on TCP.
    pub payload: Vec<Bytes>,
    pub timeout: Duration,
}

/// An answer. It may carry an error in its header: `wire::request::decode_reply` tells.
#[derive(Debug)]
pub struct Reply {
    pub message: Bytes,
    /// In a pooled buffer, which is free again when the last clone is dropped.
    pub payload: Bytes,
}

/// Runs exactly once, on the connection's reader thread, the timer thread, or in `call` itself. It must not
/// block: the answers of all other calls of the connection wait behind it.
pub type Done = Box<dyn FnOnce(Result<Reply>) + Send>;

pub trait Connection: Send + Sync {
    /// Never the same twice on one connection.
    fn next_request_id(&self) -> u64;

    /// Sends a request; `done` gets the reply, or `TimedOut`, `ConnectionLost`, `Overloaded`. After
    /// `TimedOut` the peer may still have carried it out. Waits while the send queue is full, except on a
    /// transport's own threads.
    fn call(&self, request_id: u64, out: Outgoing, done: Done);

    /// Sends and forgets.
    ///
    /// # Errors
    /// `ConnectionLost`; no error does not mean that it arrived.
    fn send_one_way(&self, out: Outgoing) -> Result<()>;

    fn is_open(&self) -> bool;

    /// Every call in flight ends with `ConnectionLost`. Writers that wait are released.
    fn close(&self);

    fn peer(&self) -> String;
}

/// Receives what the peer sends on a connection.
pub trait Handler: Send + Sync + 'static {
    /// On the connection's reader thread, in the order of arrival. While it runs nothing else of this
    /// connection is read: that is the back-pressure (P24), so work that takes long belongs on another
    /// thread, with `Incoming::replier`.
    fn handle(&self, incoming: Incoming<'_>);

    /// Once, after the last `handle` of a connection.
    fn closed(&self, _peer: &str) {}
}

pub trait Transport: Send + Sync {
    /// Dropping the connection closes it.
    ///
    /// # Errors
    /// `Unreachable`: refused, no such address, or no answer within `timeout`.
    fn connect(
        &self,
        address: &str,
        timeout: Duration,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<dyn Connection>>;

    /// Port 0 takes a free one; `Listener::address` tells which.
    ///
    /// # Errors
    /// `AlreadyRunning` if the address is taken.
    fn listen(&self, address: &str, handler: Arc<dyn Handler>) -> Result<Box<dyn Listener>>;
}

pub trait Listener: Send + Sync {
    fn address(&self) -> String;

    /// Accepts no more, closes every accepted connection, and returns when no handler runs any more. Not to
    /// be called from a handler. Dropping does the same.
    fn close(&self);
}
